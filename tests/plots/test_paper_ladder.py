"""The figure of the ladder: every method named, ratios drawn, equal results in equal bytes."""

from dataclasses import replace

import pytest
from ladder_cases import made_up_result

from rgprobe.plots.attention_ladder import LOOKS, draw_ladder, pareto_frontier, save_ladder


def words(axes):
    return [text.get_text().strip() for text in axes.texts]


def test_every_method_is_named_at_its_line():
    left, right = draw_ladder(made_up_result()).axes
    assert sorted(words(left)) == sorted(look[0] for look in LOOKS.values())
    assert "exact, common frame" in words(right)
    assert "textbook loop" not in words(right)  # over the budget there


def test_times_are_relative_to_the_exact_form():
    left, right = draw_ladder(made_up_result()).axes
    exact = max(left.lines, key=lambda line: line.get_linewidth())
    assert list(exact.get_xdata()) == [4, 8, 16]
    assert list(exact.get_ydata()) == pytest.approx([1.0, 2.0, 4.0])
    (point,) = [line for line in right.lines if line.get_markersize() == 7]
    assert point.get_xdata()[0] == pytest.approx(1.0)


def test_one_size_can_be_drawn():
    result = made_up_result()
    draw_ladder(replace(result, cells=tuple(c for c in result.cells if c.tokens == 16)))


def test_frontier_ignores_differences_of_rounding():
    points = {"a": (1.0, 2e-6), "b": (2.0, 1e-6), "c": (0.5, 0.1), "d": (0.7, 0.2)}
    assert pareto_frontier(points) == ("c", "a")


def test_equal_results_make_equal_bytes(tmp_path):
    for directory in ("one", "two"):
        (tmp_path / directory).mkdir()
        save_ladder(made_up_result(), [tmp_path / directory / f"ladder.{s}" for s in ("svg", "pdf")])
    for name in ("ladder.svg", "ladder.pdf"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
