"""The figure of the ladder: every method named, ratios drawn, equal results in equal bytes."""

from dataclasses import replace

import pytest
from ladder_cases import made_up_result

from rgprobe.plots.paper import attention_ladder, rendered
from rgprobe.plots.paper.ladder import LOOKS, pareto_frontier


def words(axes):
    return [text.get_text().strip() for text in axes.texts]


def test_every_method_is_named_at_its_line():
    left, right = attention_ladder(made_up_result()).axes
    assert sorted({look[0] for look in LOOKS.values()} - {*words(left)}) == []
    assert len(words(left)) == len({*words(left)})
    assert "exact, common frame" in words(right)
    assert "textbook loop" not in words(right)  # over the budget there


def test_times_are_relative_to_the_exact_form():
    left, right = attention_ladder(made_up_result()).axes
    exact = max(left.lines, key=lambda line: line.get_linewidth())
    assert list(exact.get_xdata()) == [4, 8, 16]
    assert list(exact.get_ydata()) == pytest.approx([1.0, 2.0, 4.0])
    (point,) = [line for line in right.lines if line.get_markersize() == 4.5]
    assert point.get_xdata()[0] == pytest.approx(1.0)


def test_approximations_are_dashed_on_the_left_and_hollow_on_the_right():
    left, right = attention_ladder(made_up_result()).axes
    dashed = [line for line in left.lines if line.get_linestyle() == "--"]
    hollow = [line for line in right.lines if line.get_markerfacecolor() == "white"]
    assert len(dashed) == sum(look[2] == "--" for look in LOOKS.values())
    assert 0 < len(hollow) <= len(dashed)


def test_one_size_can_be_drawn():
    result = made_up_result()
    left, _ = attention_ladder(replace(result, cells=tuple(c for c in result.cells if c.tokens == 16))).axes
    assert {tuple(line.get_xdata()) for line in left.lines} == {(16,)}


def test_frontier_ignores_differences_of_rounding():
    points = {"a": (1.0, 2e-6), "b": (2.0, 1e-6), "c": (0.5, 0.1), "d": (0.7, 0.2)}
    assert pareto_frontier(points) == ("c", "a")


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_equal_results_make_equal_bytes(suffix):
    one, two = (rendered(attention_ladder(made_up_result()), suffix) for _ in range(2))
    assert one == two
