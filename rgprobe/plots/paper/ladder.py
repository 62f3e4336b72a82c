"""The attention ladder at the width of a page: time against tokens, and error against time, as ratios."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from rgprobe.models.bench.findings import ROUNDING
from rgprobe.models.bench.result import EXACT_FORM, Cell, LadderResult
from rgprobe.plots.paper.series import log_axis
from rgprobe.plots.paper.style import (
    DOUBLE,
    FINE,
    GUIDE,
    RULE,
    finished,
    panel_letters,
    paper_figure,
    paper_style,
    spread,
)
from rgprobe.plots.style import MEASURED, NULL_COLOURS, SOURCES

__all__ = ["LOOKS", "attention_ladder", "pareto_frontier"]

DECADES = tuple(10.0**k for k in range(-12, 13))
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
GREY, PAIRS, CUT = NULL_COLOURS[0], SOURCES[1], SOURCES[2]
# name: label, colour, dashes, width. Colour says what a method is: transported pairs, the common frame, a part of it
# left out, or no beliefs at all; a dashed line is an approximation.
LOOKS: Mapping[str, tuple[str, str, str, float]] = {
    "loop": ("textbook loop", PAIRS, "-", 1.2),
    "pairs": ("pairs", PAIRS, "-", 1.2),
    "cached": ("pairs, cached exp", PAIRS, "-", 1.2),
    "first-order": ("pairs, first order", PAIRS, "--", 1.2),
    "diagonal": ("pairs, diagonal", PAIRS, "--", 1.2),
    "window-pairs": ("pairs, window", PAIRS, "--", 1.2),
    "low-rank": ("low rank", CUT, "--", 1.2),
    "window": ("window", CUT, "--", 1.2),
    "common-frame": ("exact, common frame", MEASURED, "-", 2.4),
    "parts": ("exact, frames given", MEASURED, "-", 1.2),
    "dot-product-width": ("dot product, equal width", GREY, "-", 1.2),
    "dot-product-dim": ("dot product, width K", GREY, ":", 1.2),
}
# Group elements are given to it, which all others work out: not a rival.
SPARED = "parts"


def attention_ladder(result: LadderResult) -> Figure:
    """Forward time of every form of attention against N, and error of its weights against its time (two columns wide).

    Times are ratios: in a to the exact form at the fewest tokens, in b to the exact form at that size. Dashed lines and
    hollow points are approximations; the line in b is the Pareto frontier.
    """
    with paper_style():
        figure = paper_figure(DOUBLE, 3.1)
        left, right = figure.subplots(1, 2, width_ratios=(1.05, 1.0))
        _time(left, result)
        _error(right, result)
        panel_letters([left, right])
        return finished(figure)


def pareto_frontier(points: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    """Names of those (time, error) that no other undercuts in both, fastest first; rounding of float32 counts as none.

    Example:
        >>> pareto_frontier({"fast": (1.0, 0.5), "exact": (2.0, 1e-6), "slow": (3.0, 1e-7), "bad": (4.0, 0.1)})
        ('fast', 'exact')
    """
    chosen: list[str] = []
    least = math.inf
    for name, (_, error) in sorted(points.items(), key=lambda item: item[1]):
        if max(error, ROUNDING) < least:
            chosen.append(name)
            least = max(error, ROUNDING)
    return tuple(chosen)


def _growth_line(result: LadderResult, name: str, dim: int) -> list[tuple[int, float]]:
    """(tokens, seconds of the forward pass) of a method at one K, where it was measured."""
    return sorted((c.tokens, c.forward.median) for c in result.cells if c.method == name and c.dim == dim and c.forward)


def _time(axes: Axes, result: LadderResult) -> None:
    dim = int(result.options["growth_dim"])
    lines = {name: line for name in LOOKS if (line := _growth_line(result, name, dim))}
    fewest, unit = min(lines[EXACT_FORM])
    ends: dict[str, tuple[float, float]] = {}
    for name, line in lines.items():
        _, colour, dashes, width = LOOKS[name]
        sizes, times = np.array(line, dtype=float).T
        axes.plot(sizes, times / unit, dashes, color=colour, lw=0.7 * width, marker="o", ms=2)
        ends[name] = (float(sizes[-1]), float(times[-1] / unit))
    ticks = sorted({n for line in lines.values() for n, _ in line})
    heights = [seconds / unit for line in lines.values() for _, seconds in line]
    log_axis(axes, min(heights) / 2, max(heights) * 2)
    axes.set_xscale("log", base=2)
    axes.set_xlim(ticks[0] / 1.3, ticks[-1] * 2.6)  # room for the names of what ends early
    axes.set_xticks(ticks, labels=[str(n) for n in ticks])
    axes.minorticks_off()
    axes.set_xlabel(f"tokens N (number), at K = {dim}")
    axes.set_ylabel(f"CPU time, forward (exact form at N = {fewest} is 1)")
    _label_early(axes, ends, ticks)
    _name_points(axes, {name: end for name, end in ends.items() if end[0] == ticks[-1]})


def _label_early(axes: Axes, ends: Mapping[str, tuple[float, float]], ticks: list[int]) -> None:
    """Methods that the budget left out of the largest sizes are named at their last point, on the side that is free."""
    low, high = np.log(axes.get_ylim())
    for size in sorted({x for x, _ in ends.values() if x < ticks[-1]}):
        here = sorted((float(np.log(y)), name) for name, (x, y) in ends.items() if x == size)
        places = spread([(y - low) / (high - low) for y, _ in here], 0.045)
        leftwards = size < ticks[max(len(ticks) - 2, 0)]
        for place, (_, name) in zip(places, here, strict=True):
            axes.annotate(
                LOOKS[name][0], (size, float(np.exp(low + place * (high - low)))), xytext=(-4 if leftwards else 4, 0),
                textcoords="offset points", ha="right" if leftwards else "left", va="center", color=LOOKS[name][1],
                fontsize=FINE - 0.5, annotation_clip=False, path_effects=[withStroke(linewidth=1.6, foreground="white")],
            )  # fmt: skip


def _error(axes: Axes, result: LadderResult) -> None:
    n, k = result.options["panel"]
    cells = {c.method: c for c in result.cells if c.point == (n, k) and c.method in LOOKS and c.forward}
    unit = _seconds(cells[EXACT_FORM])
    points = {name: (_seconds(c) / unit, float(c.error)) for name, c in cells.items() if c.error}
    floors = {name: _seconds(c) / unit for name, c in cells.items() if c.error is None}
    times, errors = (np.array(values) for values in zip(*points.values(), strict=True))
    spent = [*times, *floors.values()]
    log_axis(axes, min(spent) / 6, max(spent) * 2, which="x")
    _decades(axes, errors.min() / 4, 3.0)
    axes.axhspan(axes.get_ylim()[0], ROUNDING, color=GUIDE, alpha=0.25, lw=0)
    axes.text(0.03, 0.02, "rounding of float32", transform=axes.transAxes, fontsize=FINE - 0.5, color=RULE)
    frontier = pareto_frontier({name: point for name, point in points.items() if name != SPARED})
    axes.step(*_staircase([points[name] for name in frontier], axes), where="post", color=MEASURED, lw=0.8, alpha=0.6)
    for name, (time, error) in points.items():
        _, colour, dashes, width = LOOKS[name]
        axes.plot(time, error, "o", ms=4.5 if width > 2 else 3.2, color=colour, mew=0.8,
                  mfc=colour if dashes == "-" else "white", zorder=3)  # fmt: skip
    for index, (name, time) in enumerate(floors.items()):
        word, colour, dashes, _ = LOOKS[name]
        axes.axvline(time, color=colour, ls=dashes, lw=0.8, zorder=0)
        axes.annotate(
            word, (time, 0.74 - 0.42 * (index % 2)), xycoords=("data", "axes fraction"), xytext=(-2, 0),
            textcoords="offset points", rotation=90, ha="right", va="center", color=colour, fontsize=FINE - 0.5,
        )  # fmt: skip
    _name_points(axes, points)
    axes.set_xlabel(f"CPU time, forward (exact form is 1), N = {n}, K = {k}")
    axes.set_ylabel("largest error of a weight (dimensionless)")


def _decades(axes: Axes, low: float, high: float) -> None:
    """A logarithmic axis over many decades, powers of ten written out."""
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.minorticks_off()
    kept = [tick for tick in DECADES if low <= tick <= high]
    axes.set_yticks(kept, labels=[_power(tick) for tick in kept])


def _power(decade: float) -> str:
    """A power of ten, without mathematics: 10⁻³; 0.1, 1 and 10 as they are."""
    exponent = round(np.log10(decade))
    return f"{decade:g}" if abs(exponent) <= 1 else f"10{str(exponent).translate(SUPERSCRIPT)}"


def _name_points(axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Names in a column beside the panel, in the order of their heights, each with a line to its point."""
    low, high = np.log(axes.get_ylim())
    rows = sorted((float((np.log(height) - low) / (high - low)), name) for name, (_, height) in points.items())
    places = spread([row for row, _ in rows], 0.05)
    lift = max(0.0, places[-1] - 1.0)
    for place, (_, name) in zip(places, rows, strict=True):
        word, colour, _, width = LOOKS[name]
        axes.annotate(
            word, points[name], xytext=(1.04, place - lift), textcoords="axes fraction", color=colour, fontsize=FINE - 0.5,
            va="center", ha="left", fontweight="bold" if width > 2 else "normal", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": GUIDE, "shrinkA": 1, "shrinkB": 2, "relpos": (0, 0.5)},
            zorder=2,
        )  # fmt: skip


def _staircase(frontier: list[tuple[float, float]], axes: Axes) -> tuple[list[float], list[float]]:
    """Below and to the left of which nothing was found."""
    times = [time for time, _ in frontier]
    return [times[0], *times, axes.get_xlim()[1]], [axes.get_ylim()[1], *(e for _, e in frontier), frontier[-1][1]]


def _seconds(cell: Cell) -> float:
    return math.nan if cell.forward is None else cell.forward.median
