"""The attention ladder on paper: time against the number of tokens, and error against time, as ratios."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.style import context

from rgprobe.models.bench.findings import ROUNDING
from rgprobe.models.bench.result import EXACT_FORM, Cell, LadderResult
from rgprobe.plots.style import MEASURED, NULL_COLOURS, SOURCES

__all__ = ["FORMATS", "LOOKS", "SPARED", "draw_ladder", "growth_line", "pareto_frontier", "save_ladder"]

FORMATS = ("svg", "pdf", "png")
INK, RULE = "#33373d", "#d9d7d0"
GREY = NULL_COLOURS[0]
PAIRS, CUT = SOURCES[1], SOURCES[2]
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
STYLE = {
    "font.size": 8.0,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.0,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.minor.visible": False,
    "svg.hashsalt": "rgprobe",
    "pdf.fonttype": 42,
}
# Where a name stands from its point in the right panel, where not to the upper right.
ASIDE: Mapping[str, tuple[tuple[float, float], str]] = {
    "cached": ((-6, 4), "right"),
    "parts": ((5, -11), "right"),
    "window": ((-6, 4), "right"),
    "low-rank": ((-6, 4), "right"),
    "common-frame": ((7, -10), "left"),
}
# Group elements are given to it, which all others work out: not a rival.
SPARED = "parts"
# Height of a label on a logarithmic axis, as a share of the axis.
LABEL = 0.042


def draw_ladder(result: LadderResult) -> Figure:
    """Two panels: forward time against N, and error of the weights against forward time at one size.

    Times are ratios: left to the exact form at the fewest tokens, right to the exact form. A method that the budget left
    out is not drawn.

    Args:
        result: of `measure_ladder`.
    """
    with _style():
        figure = Figure(figsize=(9.6, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.15, 1.0))
        _time_against_tokens(left, result)
        _error_against_time(right, result)
    return figure


def save_ladder(result: LadderResult, paths: Sequence[Path]) -> None:
    """Draw to files, in the format that each suffix names; equal results make equal bytes.

    Raises:
        OSError: a file cannot be written.
    """
    figure = draw_ladder(result)
    with _style():
        for path in paths:
            dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix[1:], {})
            figure.savefig(path, dpi=200, metadata=dates)


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


@contextmanager
def _style() -> Iterator[None]:
    with context(["default", STYLE]):
        yield


def _time_against_tokens(axes: Axes, result: LadderResult) -> None:
    dim = result.options["growth_dim"]
    lines = {name: growth_line(result, name, dim) for name in LOOKS}
    lines = {name: line for name, line in lines.items() if line}
    unit = min(lines[EXACT_FORM])[1]
    ends = {}
    for name, line in lines.items():
        _, colour, dashes, width = LOOKS[name]
        sizes, times = zip(*((n, seconds / unit) for n, seconds in line), strict=True)
        axes.plot(sizes, times, dashes, color=colour, lw=width, marker="o", ms=2.5)
        ends[name] = (float(sizes[-1]), times[-1])
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({n for line in lines.values() for n, _ in line})
    axes.set_xlim(ticks[0] / 1.2, 2 * ticks[-1] * (ticks[-1] / ticks[0]) ** 0.35)  # room for the labels
    axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axes.set_xlabel("tokens N")
    axes.set_ylabel(f"CPU time, forward (exact form at N = {min(lines[EXACT_FORM])[0]} is 1)")
    axes.set_title(f"Time against tokens, K = {dim}")
    _label_ends(axes, ends)


def growth_line(result: LadderResult, name: str, dim: int) -> list[tuple[int, float]]:
    """(tokens, seconds of the forward pass) of a method at one K, where it was measured."""
    return sorted((c.tokens, c.forward.median) for c in result.cells if c.method == name and c.dim == dim and c.forward)


def _label_ends(axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """Each line is named at its end: above it, or beside it where the panel ends, where names are moved apart."""
    low, high = (math.log(y) for y in axes.get_ylim())
    last = max(x for x, _ in ends.values())
    for size in sorted({x for x, _ in ends.values()}):
        here = sorted((math.log(y), name) for name, (x, y) in ends.items() if x == size)
        places = _spread([(y - low) / (high - low) for y, _ in here], LABEL)
        for (_, name), place in zip(here, places, strict=True):
            label, colour, _, width = LOOKS[name]
            height = math.exp(low + (place + (0 if size == last else LABEL)) * (high - low))
            axes.annotate(
                label, (size * 1.12 if size == last else size, height), color=colour, va="center", fontsize=7,
                ha="left" if size == last else "center",
                fontweight="bold" if width > 2 else "normal", annotation_clip=False,
            )  # fmt: skip


def _spread(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places at least a gap apart, each group of neighbours around its own middle.

    Example:
        >>> [round(x, 3) for x in _spread([0.1, 0.5, 0.5], 0.1)]
        [0.1, 0.45, 0.55]
    """
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _bounds(groups[-1], gap)[0] - _bounds(groups[-2], gap)[1] < gap:
            last = groups.pop()
            groups[-1] += last
    return [_bounds(group, gap)[0] + k * gap for group in groups for k in range(len(group))]


def _bounds(group: Sequence[float], gap: float) -> tuple[float, float]:
    middle, half = sum(group) / len(group), 0.5 * gap * (len(group) - 1)
    return middle - half, middle + half


def _error_against_time(axes: Axes, result: LadderResult) -> None:
    n, k = result.options["panel"]
    cells = {c.method: c for c in result.cells if c.point == (n, k) and c.method in LOOKS and c.forward}
    unit = _seconds(cells[EXACT_FORM])
    points = {name: (_seconds(c) / unit, c.error) for name, c in cells.items() if c.error is not None and c.error > 0.0}
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.axhspan(1e-9, ROUNDING, color=RULE, alpha=0.35, lw=0)
    times, errors = zip(*points.values(), strict=True)
    floors = {name: _seconds(c) / unit for name, c in cells.items() if c.error is None}
    axes.set_xlim(min(*times, *floors.values()) / 1.6, max(times) * 6)
    axes.set_ylim(min(errors) / 5, 3.0)
    axes.text(0.99, 0.015, "rounding of float32", transform=axes.transAxes, ha="right", fontsize=7, color=GREY)
    undercut_by_none = pareto_frontier({name: point for name, point in points.items() if name != SPARED})
    frontier = [points[name] for name in undercut_by_none]
    axes.plot(*_steps(frontier, axes), color=MEASURED, lw=1.0, alpha=0.6, zorder=1)
    for name, (time, error) in points.items():
        label, colour, dashes, width = LOOKS[name]
        offset, side = ASIDE.get(name, ((6, 4), "left"))
        axes.plot(
            time, error, "o", ms=7 if width > 2 else 5, color=colour, mfc=colour if dashes == "-" else "white", zorder=3
        )
        axes.annotate(
            label, (time, error), xytext=offset, textcoords="offset points", color=colour, fontsize=7, ha=side,
            fontweight="bold" if name in undercut_by_none else "normal",
        )  # fmt: skip
    for name, time in floors.items():
        label, colour, dashes, _ = LOOKS[name]
        axes.axvline(time, color=colour, ls=dashes, lw=1.0, zorder=0)
        axes.text(time, 0.5, f"{label} ", transform=axes.get_xaxis_transform(), rotation=90, ha="right", va="center",
                  color=colour, fontsize=7)  # fmt: skip
    axes.set_xlabel("CPU time, forward (exact form is 1)")
    axes.set_ylabel("largest error of an attention weight")
    axes.set_title(f"Error against time, N = {n}, K = {k}; line: Pareto frontier")


def _steps(frontier: Sequence[tuple[float, float]], axes: Axes) -> tuple[list[float], list[float]]:
    """The staircase below and to the left of which nothing was found."""
    x, y = [frontier[0][0]], [axes.get_ylim()[1]]
    for time, error in frontier:
        x += [time, time]
        y += [y[-1], error]
    return [*x, axes.get_xlim()[1]], [*y, y[-1]]


def _seconds(cell: Cell) -> float:
    return math.nan if cell.forward is None else cell.forward.median
