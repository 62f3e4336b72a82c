"""A ladder result without measuring: times follow N^2 for pairs and N for the common frame."""

from rgprobe.models.bench.findings import fit_growth, judge
from rgprobe.models.bench.options import LadderOptions
from rgprobe.models.bench.result import Cell, LadderResult, Method, Timing
from rgprobe.models.bench.rungs import LADDER

OPTIONS = LadderOptions(points=((4, 2), (8, 2), (16, 2)), growth_dim=2, growth_tokens=8, panel=(16, 2))
ERRORS = {True: 1e-6, False: 0.3}


def timing(seconds):
    return Timing(float(seconds), float(seconds), float(seconds), 3)


def made_up_result():
    """`loop` misses the largest point; the pairs take N^2, all others N times a constant."""
    cells = []
    for n, k in OPTIONS.points:
        for place, rung in enumerate(LADDER):
            exact = rung.claim.exact
            if rung.name == "loop" and n == 16:
                cells.append(Cell("loop", n, k, omitted="forward left out: over the budget"))
                continue
            seconds = float(n * n) if rung.claim.work else 0.1 * n * (20 - place)
            cells.append(
                Cell(
                    rung.name, n, k, timing(seconds), timing(3 * seconds), 1000 * n, 4000 * n,
                    None if exact is None else ERRORS[exact],
                )
            )  # fmt: skip
    return LadderResult(
        {"growth_dim": 2, "growth_tokens": 8, "panel": (16, 2)},
        {"torch": "2"},
        tuple(Method(r.name, r.claim.title, r.claim.exact) for r in LADDER),
        tuple(cells),
        fit_growth(cells, OPTIONS),
        judge(cells, "common-frame", spared=("frames-given", "parts")),
    )
