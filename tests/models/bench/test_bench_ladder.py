"""The whole ladder at toy sizes."""

import pytest
import torch

from rgprobe.models.bench import ladder, timing
from rgprobe.models.bench.ladder import measure_ladder, reference_rows, weight_error
from rgprobe.models.bench.options import LadderOptions
from rgprobe.models.bench.problem import draw_problem
from rgprobe.models.bench.result import LadderResult
from rgprobe.models.bench.rungs import LADDER, rung

TOY = {"points": ((5, 2), (3, 2), (7, 2)), "rounds": 1, "growth_dim": 2, "growth_tokens": 5, "panel": (7, 2)}


@pytest.fixture
def no_process(monkeypatch):
    monkeypatch.setattr(timing, "MOST_REPEATS", 1)
    monkeypatch.setattr(ladder, "measure_apart", lambda requests, options, on_done: dict.fromkeys(requests, 100))


@pytest.mark.usefixtures("no_process")
def test_every_method_at_every_point():
    told = []
    result = measure_ladder(LadderOptions(**TOY), on_progress=lambda *step: told.append(step))
    assert [(cell.point, cell.method) for cell in result.cells] == [
        (point, method.name) for point in TOY["points"] for method in LADDER
    ]
    assert all(cell.forward and cell.both and not cell.omitted for cell in result.cells)
    assert all(cell.forward.median > 0 and cell.forward_memory == 100 for cell in result.cells)
    assert all((cell.error is None) == cell.method.startswith("dot-product") for cell in result.cells)
    own_frame = ("common-frame", "frames-given", "parts")
    assert all(cell.error < 1e-4 for cell in result.cells if cell.method in own_frame)
    assert all(cell.error < 1e-2 for cell in result.cells if rung(cell.method).claim.exact)
    assert {g.axis for g in result.growth} == {"tokens"}
    assert LadderResult.from_json(result.to_json()).cells == result.cells
    assert all(0 <= done <= total for done, total, _ in told)


@pytest.mark.usefixtures("no_process")
def test_what_is_over_the_budget_is_left_out_and_said():
    result = measure_ladder(LadderOptions(**TOY, budget=1e-6))
    for cell in result.cells:
        refused = rung(cell.method).claim.work is not None and cell.point != (3, 2)
        assert (cell.forward is None) == refused
        assert ("forward left out: one call would take some" in cell.omitted) == refused
    loop = next(verdict for verdict in result.verdicts if verdict.method == "loop")
    assert loop.omitted == ((5, 2), (7, 2))


@pytest.mark.usefixtures("no_process")
def test_threads_are_put_back():
    before = torch.get_num_threads()
    measure_ladder(LadderOptions(points=((3, 2),), rounds=1, panel=(3, 2)))
    assert torch.get_num_threads() == before


def test_errors_are_against_evenly_spaced_rows_of_float64():
    problem = draw_problem(150, 2)
    rows, expected = reference_rows(problem)
    assert (len(rows), rows[0], rows[-1], expected.dtype) == (64, 0, 149, torch.float64)
    assert 1e-9 < weight_error(rung("common-frame"), problem, rows, expected) < 1e-4
    assert weight_error(rung("dot-product-dim"), problem, rows, expected) is None
