"""What follows from measured cells: growth exponents, and where a method is dominated. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rgprobe.models.bench.options import LadderOptions
from rgprobe.models.bench.result import Cell, Growth, Timing, Verdict

__all__ = ["ROUNDING", "fit_growth", "judge", "slope"]

# Errors of weights up to this count as rounding of float32: a method below it is as accurate as another.
ROUNDING = 1e-4
# A method is faster where it takes less than this share of the exact form's time: less is the noise of a busy machine.
NOTICEABLE = 0.9
QUANTITIES = ("forward", "both", "forward_memory", "both_memory")
FEWEST = 3


def slope(sizes: Sequence[float | int], amounts: Sequence[float | int]) -> float:
    """Least-squares slope of log amount against log size.

    Example:
        >>> round(slope([1, 2, 4], [3, 12, 48]), 12)
        2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(amounts), 1)[0])


def fit_growth(cells: Sequence[Cell], options: LadderOptions) -> tuple[Growth, ...]:
    """Exponents of every quantity of every method in N and in K, from all points of the two lines; three at least."""
    found = []
    for method in dict.fromkeys(cell.method for cell in cells):
        own = [cell for cell in cells if cell.method == method]
        for quantity in QUANTITIES:
            lines = (
                ("tokens", options.growth_dim, [(c.tokens, c) for c in own if c.dim == options.growth_dim]),
                ("dim", options.growth_tokens, [(c.dim, c) for c in own if c.tokens == options.growth_tokens]),
            )
            for axis, fixed, line in lines:
                points = sorted((size, amount) for size, cell in line if (amount := _amount(cell, quantity)))
                if len(points) >= FEWEST:
                    sizes, amounts = zip(*points, strict=True)
                    exponent = slope(sizes, amounts)
                    found.append(Growth(method, quantity, axis, fixed, exponent, sizes[0], sizes[-1], len(sizes)))
    return tuple(found)


def _amount(cell: Cell, quantity: str) -> float | int | None:
    value = getattr(cell, quantity)
    return value.median if isinstance(value, Timing) else value


def judge(cells: Sequence[Cell], exact_form: str, *, spared: Sequence[str] = ()) -> tuple[Verdict, ...]:
    """Where each method is dominated by the exact form.

    Args:
        cells: measured.
        exact_form: the method to compare with.
        spared: methods that are not judged.
    """
    against = {cell.point: cell for cell in cells if cell.method == exact_form}
    verdicts = []
    for method in dict.fromkeys(cell.method for cell in cells if cell.error is not None or cell.omitted):
        if method == exact_form or method in spared:
            continue
        own = {cell.point: cell for cell in cells if cell.method == method}
        timed = {point: cell for point, cell in own.items() if cell.forward is not None}
        faster = [point for point, cell in timed.items() if _faster(cell, against[point])]
        dominated = [p for p, cell in timed.items() if p not in faster and not _sharper(cell, against[p])]
        verdicts.append(Verdict(method, tuple(dominated), tuple(faster), tuple(p for p in own if p not in timed)))
    return tuple(verdicts)


def _faster(cell: Cell, exact: Cell) -> bool:
    pairs = ((cell.forward, exact.forward), (cell.both, exact.both))
    return any(a is not None and b is not None and a.median < NOTICEABLE * b.median for a, b in pairs)


def _sharper(cell: Cell, exact: Cell) -> bool:
    ours = math.inf if cell.error is None or math.isnan(cell.error) else cell.error
    theirs = math.inf if exact.error is None or math.isnan(exact.error) else exact.error
    return ours < theirs and theirs > ROUNDING
