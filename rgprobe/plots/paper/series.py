"""A quantity over depth on paper: value with its interval, null bands, what beats the null; axes with their units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from rgprobe.plots.arrays import quantity_label
from rgprobe.plots.depth_series import DepthSeries
from rgprobe.plots.paper.style import FINE, RULE, spread
from rgprobe.plots.scales import log_ticks, value_limits
from rgprobe.plots.style import MEASURED, NULL_COLOURS

__all__ = ["depth_axis", "draw_series", "label_ends", "log_axis", "null_label", "null_style", "refused", "value_axis"]

NULL_DASHES = ((0, (4, 2)), (0, (1, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (7, 2)), (0, (5, 1.5, 1, 1.5, 1, 1.5)))
NULL_WORDS = {"random_init": "random init.", "scaled_init": "scaled init.",
              "shuffled_tokens": "shuffled", "random_directions": "random dir."}  # fmt: skip
LONGEST_MARKED = 40  # depths up to which every one has a dot
LONGEST_LABEL = 25  # characters beside a panel
LINE = 7.5  # points between two labels beside lines


def draw_series(
    axes: Axes, series: DepthSeries, *, colour: str = MEASURED, nulls: Sequence[str] | None = None, x: np.ndarray | None = None,
    tints: Sequence[str] = NULL_COLOURS, heads: bool = True,
) -> None:  # fmt: skip
    """Back to front: null bands and their means, the interval, heads, the other sink policy, the value.

    A dot is filled where the value beats random initialisation, hollow where it does not or could not be tested; a
    quantity of heads has no dots on its mean.

    Args:
        axes: where.
        series: what.
        colour: of the value.
        nulls: names of the null models to draw; all of them by default.
        x: places of the depths; their labels by default.
        tints: colours of the null models.
        heads: whether each head is a small dot.
    """
    at = np.asarray(series.depths, dtype=float) if x is None else x
    for index, (name, band) in enumerate(series.nulls.items()):
        if nulls is not None and name not in nulls:
            continue
        tint, dashes = null_style(index, tints)
        axes.fill_between(at, band.low, band.high, color=tint, alpha=0.2, lw=0, zorder=1)
        axes.plot(at, band.mean, color=tint, ls=dashes, lw=0.9, zorder=2)
    axes.fill_between(at, series.low, series.high, color=colour, alpha=0.28, lw=0, zorder=3)
    alone = _alone(series.low + series.high)
    if alone.any():
        axes.vlines(at[alone], series.low[alone], series.high[alone], color=colour, alpha=0.28, lw=3, zorder=3)
    if series.heads is not None and heads:
        count = series.heads.shape[1]
        axes.plot(np.repeat(at, count), series.heads.ravel(), "o", ms=1.6, mew=0, color=colour, alpha=0.35, zorder=3)
    for y in series.other_sinks.values():
        axes.plot(at, y, color=colour, ls=(0, (1, 1)), lw=0.8, zorder=3)
    axes.plot(at, series.value, color=colour, zorder=4)
    if series.verdict is not None and len(at) <= LONGEST_MARKED:
        beats = series.verdict == "beats null"
        for chosen, fill in ((beats, colour), (~beats, "white")):
            axes.plot(at[chosen], series.value[chosen], "o", mfc=fill, mec=colour, mew=0.8, zorder=5)


def _alone(values: np.ndarray) -> np.ndarray:
    """Where a value has no neighbour, so that an area between curves would not show its interval."""
    known = np.concatenate([[False], np.isfinite(values), [False]])
    return known[1:-1] & ~known[:-2] & ~known[2:]


def null_label(name: str) -> str:
    """A null model in the two words that fit beside the end of a line.

    Example:
        >>> null_label("random_init"), null_label("permuted_rows")
        ('random init.', 'permuted rows')
    """
    return NULL_WORDS.get(name, quantity_label(name))


def null_style(index: int, tints: Sequence[str] = NULL_COLOURS) -> tuple[str, object]:
    """Colour and dashes of the null model that is listed at this place."""
    return tints[index % len(tints)], NULL_DASHES[index % len(NULL_DASHES)]


def value_axis(axes: Axes, series: Sequence[DepthSeries], label: str, *, logarithmic: bool = True) -> None:
    """Limits that keep the values legible, a logarithmic scale where they span decades, and the label with its units."""
    lines = np.concatenate(
        [y.ravel() for each in series for y in (each.value, *each.other_sinks.values(),
         *(band.mean for band in each.nulls.values()), *(() if each.heads is None else (each.heads,)))]
    )  # fmt: skip
    bounds = [y for each in series for y in (each.low, each.high)]
    bounds += [y for each in series for band in each.nulls.values() for y in (band.low, band.high)]
    units = f"({series[0].units})"
    axes.set_ylabel(f"{label} {units}" if len(label) + len(units) < LONGEST_LABEL else f"{label}\n{units}")
    limits = value_limits(lines, np.concatenate(bounds), logarithmic=logarithmic)
    if limits is None:
        axes.margins(y=0.08)
    elif limits[0]:
        log_axis(axes, limits[1], limits[2])
    else:
        axes.set_ylim(limits[1], limits[2])


def log_axis(axes: Axes, low: float, high: float, *, which: str = "y") -> None:
    """A logarithmic axis with round numbers written out, without mathematics."""
    ticks, words = log_ticks(low, high)
    getattr(axes, f"set_{which}scale")("log")
    getattr(axes, f"set_{which}lim")(low, high)
    axis = getattr(axes, f"{which}axis")
    axis.set_minor_locator(NullLocator())
    axis.set_ticks([10**tick for tick in ticks], labels=words)


def depth_axis(axes: Axes, dim: str, depths: np.ndarray, *, ticks: int = 8) -> None:
    """A depth axis with whole numbers, whose direction is written out: authors disagree on which end is which."""
    last = len(depths) - 1
    step = max(1, -(-last // ticks))
    places = sorted({*range(0, last - step // 2, step), last}) if last > 0 else [0]
    axes.xaxis.set_major_locator(FixedLocator([float(depths[k]) for k in places]))
    axes.set_xticks([float(depths[k]) for k in places], labels=[str(depths[k]) for k in places])
    pad = 0.04 * max(float(depths[-1]) - float(depths[0]), 1.0)
    axes.set_xlim(float(depths[0]) - pad, float(depths[-1]) + pad)
    axes.set_xlabel(f"{quantity_label(dim)} (input → output)")


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, str]], *, size: float = FINE) -> None:
    """Name lines beside their right ends instead of in a legend; names keep a line's distance from one another.

    Call it when the limits of the axes are set.

    Args:
        axes: where.
        ends: label -> (value at the right end, colour); a value that is not finite is left out.
        size: of the type, points.
    """
    to_axes = axes.transScale + axes.transLimits
    placed = []
    for label, (value, colour) in ends.items():
        if not np.isfinite(value) or (axes.get_yscale() == "log" and value <= 0):
            continue
        height = float(np.clip(to_axes.transform((axes.get_xlim()[1], value))[1], 0.0, 1.0))
        placed.append((height, label, colour))
    placed.sort(key=lambda entry: entry[0])
    tall = axes.get_window_extent().height / axes.figure.dpi * 72
    gap = LINE * size / FINE / max(tall * 0.8, 1.0)  # the layout will still make the axes smaller
    places = _inside(spread([height for height, _, _ in placed], gap), gap)
    for place, (_, label, colour) in zip(places, placed, strict=True):
        axes.annotate(
            label, (1.0, place), xycoords="axes fraction", xytext=(4, 0), textcoords="offset points", color=colour,
            fontsize=size, ha="left", va="center", annotation_clip=False, linespacing=1.0,
        )  # fmt: skip


def refused(axes: Axes, series: DepthSeries) -> None:
    """A cross on the lower edge wherever the quantity is undefined."""
    missing = ~np.isfinite(series.value)
    if missing.any():
        at = np.asarray(series.depths, dtype=float)[missing]
        axes.plot(at, np.full(len(at), 0.03), "x", transform=axes.get_xaxis_transform(), color=RULE, ms=3, mew=0.8,
                  clip_on=False, zorder=6)  # fmt: skip


def _inside(places: Sequence[float], gap: float) -> list[float]:
    """Places moved down together where they stand above the axes."""
    over = max(0.0, (places[-1] if places else 0.0) - 1.0 - gap)
    return [place - over for place in places]
