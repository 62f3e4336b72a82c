"""The ladder of attention methods, measured: times, memory, errors and growth."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version

import torch
from torch import Tensor

from rgprobe.models.bench.findings import fit_growth, judge
from rgprobe.models.bench.memory import Request, measure_apart
from rgprobe.models.bench.options import LadderOptions
from rgprobe.models.bench.problem import Problem, draw_problem
from rgprobe.models.bench.result import EXACT_FORM, Cell, LadderResult, Method, Timing
from rgprobe.models.bench.rung import Rung
from rgprobe.models.bench.rungs import LADDER, rung
from rgprobe.models.bench.timing import take_turns
from rgprobe.threads import torch_threads

__all__ = ["OnProgress", "measure_ladder", "reference_rows", "weight_error"]

OnProgress = Callable[[int, int, str], None]
DIRECTIONS = ("forward", "both")
# Queries whose weights are compared with float64.
ROWS = 64
# The same exact form, without a step that the others pay for: not a rival.
SPARED = ("frames-given", "parts")


def measure_ladder(
    options: LadderOptions | None = None, *, on_progress: OnProgress = lambda done, total, running: None
) -> LadderResult:
    """Time all methods at all points, one torch thread, float32, then measure their memory.

    Args:
        options: sizes and effort; default `LadderOptions()`.
        on_progress: called with steps done, steps in all, and what is running.

    Raises:
        EnvironmentFault: the process that measures memory died.
    """
    options = options or LadderOptions()
    points = sorted(options.points, key=lambda point: point[0] ** 2 * point[1] ** 3)
    steps = _Steps(on_progress, 2 * len(points) * len(LADDER))
    cells: list[Cell] = []
    with torch_threads(1):
        for n, k in points:
            cells += _measure_point(n, k, options, cells, steps)
    cells = _with_memory(cells, options, steps)
    order = {method.name: place for place, method in enumerate(LADDER)}
    cells.sort(key=lambda cell: (options.points.index(cell.point), order[cell.method]))
    return LadderResult(
        options=asdict(options),
        versions=_versions(),
        methods=tuple(Method(r.name, r.claim.title, r.claim.exact) for r in LADDER),
        cells=tuple(cells),
        growth=fit_growth(cells, options),
        verdicts=judge(cells, EXACT_FORM, spared=SPARED),
    )


class _Steps:
    """Counts what has been begun."""

    def __init__(self, report: OnProgress, total: int) -> None:
        self._report, self._total, self._begun = report, total, 0.0

    def __call__(self, running: str, steps: float = 1.0) -> None:
        self._report(min(round(self._begun), self._total), self._total, running)
        self._begun += steps


def _measure_point(n: int, k: int, options: LadderOptions, earlier: list[Cell], steps: _Steps) -> Iterator[Cell]:
    problem = draw_problem(
        n, k, seed=options.seed, kappa=options.kappa, window=options.window, rank=max(1, k // options.rank_divisor)
    )
    for method in LADDER:
        method.inputs(problem)  # drawn, factored, padded now: not while the clock runs
    rows, expected = reference_rows(problem)
    predicted = {(r.name, d): _predicted(r, n, k, d, earlier) for r in LADDER for d in DIRECTIONS}
    admitted = [key for key, seconds in predicted.items() if seconds <= options.budget]
    calls = {
        (r.name, d): partial(getattr(r, d), problem) for r in LADDER for d in DIRECTIONS if (r.name, d) in admitted
    }
    times = take_turns(
        calls,
        rounds=options.rounds,
        patience=options.patience,
        on_call=lambda key: steps(f"{key[0]} {key[1]}, N={n}, K={k}", 0.5),
    )
    for r in LADDER:
        timed = (r.name, "forward") in times
        yield Cell(
            r.name,
            n,
            k,
            forward=times.get((r.name, "forward")),
            both=times.get((r.name, "both")),
            error=weight_error(r, problem, rows, expected) if timed else None,
            omitted=_omission({d: predicted[r.name, d] for d in DIRECTIONS if (r.name, d) not in times}, options),
        )


def _predicted(method: Rung, n: int, k: int, direction: str, earlier: list[Cell]) -> float:
    """CPU seconds of one call, from the most expensive point measured so far; 0 where nothing is known."""
    work = method.claim.work
    if work is None:
        return 0.0
    known = [(work(*c.point), getattr(c, direction)) for c in earlier if c.method == method.name]
    known = [(amount, timing) for amount, timing in known if timing is not None]
    if not known:
        return 0.0
    amount, timing = max(known, key=lambda pair: pair[0])
    return timing.median * work(n, k) / amount


def _omission(seconds: dict[str, float], options: LadderOptions) -> str:
    """Why something was left out."""
    names = {"forward": "forward", "both": "forward with backward"}
    return "; ".join(
        f"{names[d]} left out: one call would take some {s:.2g} CPU seconds, the budget is {options.budget:g}"
        for d, s in seconds.items()
    )


def reference_rows(problem: Problem) -> tuple[list[int], Tensor]:
    """Weights of evenly spaced queries, the last included, in float64 from the same float32 numbers, pair by pair."""
    n = problem.n_tokens
    rows = sorted({round(row) for row in torch.linspace(0, n - 1, min(ROWS, n)).tolist()})
    expected = rung("cached").weights(problem.to(torch.float64), rows)
    if expected is None:
        raise TypeError("the reference has weights")
    return rows, expected


def weight_error(method: Rung, problem: Problem, rows: list[int], expected: Tensor) -> float | None:
    """Largest absolute error of the weights of some queries; NaN where a weight is."""
    got = method.weights(problem, rows)
    return None if got is None else (got.double() - expected).abs().max().item()


def _with_memory(cells: list[Cell], options: LadderOptions, steps: _Steps) -> list[Cell]:
    """Peak bytes, of calls short enough that running them again twice does not exceed the budget."""
    requests: list[Request] = [
        (c.method, *c.point, d) for c in cells for d in DIRECTIONS if _affordable(c, getattr(c, d), options)
    ]
    share = len(cells) / max(1, len(requests))
    found = measure_apart(
        requests, options, on_done=lambda r: steps(f"memory of {r[0]} {r[3]}, N={r[1]}, K={r[2]}", share)
    )
    return [
        replace(
            c,
            forward_memory=found.get((c.method, *c.point, "forward")),
            both_memory=found.get((c.method, *c.point, "both")),
        )
        for c in cells
    ]


def _affordable(cell: Cell, timing: Timing | None, options: LadderOptions) -> bool:
    most = rung(cell.method).claim.profiled
    if most is not None and cell.tokens > most:
        return False
    return timing is not None and 4.0 * timing.median <= options.budget


def _versions() -> dict[str, str]:
    """What the numbers depend on, and nothing that names the machine."""
    return {
        "rgprobe": version("rgprobe"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": "1",
    }
