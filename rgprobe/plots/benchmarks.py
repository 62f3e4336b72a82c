"""Benchmarks on paper: what a run costs in plain forward passes, and what a sweep adds to an item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.style import context

from rgprobe.benchmarks.run_cost import BARS, RunResult
from rgprobe.benchmarks.sweep_overhead import BAR, PEER, SweepResult
from rgprobe.plots.style import MEASURED, NULL_COLOURS, SOURCES

__all__ = ["draw_runs", "draw_sweep", "save_figure"]

INK, RULE = "#33373d", "#d9d7d0"
GREY = NULL_COLOURS[0]
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
WAYS = {"run": ("default diagnostics", MEASURED), "attention": ("attention diagnostics", SOURCES[1])}


def draw_runs(result: RunResult) -> Figure:
    """Time and peak memory over those of a plain forward pass, against tokens; dashed: what they may be at most."""
    with context(["default", STYLE]):
        figure = Figure(figsize=(7.6, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _lines(left, {way: result.ratios("tokens", way) for way in WAYS}, "CPU time, plain forward pass = 1")
        _lines(right, {way: result.memory(way) for way in WAYS}, "peak of resident memory, plain forward pass = 1")
        for way, (_, colour) in WAYS.items():
            left.axhline(BARS[way], color=colour, ls="--", lw=0.8)
        right.axhline(BARS["memory"], color=GREY, ls="--", lw=0.8)
        left.set_title("Time of a run")
        right.set_title("Memory of a run")
    return figure


def _lines(axes: Axes, lines: Mapping[str, Mapping[int, float]], unit: str) -> None:
    axes.set_xscale("log", base=2)
    sizes: list[int] = []
    for way, line in lines.items():
        label, colour = WAYS[way]
        sizes = [*line] or sizes
        axes.plot([*line], [*line.values()], color=colour, marker="o", ms=3, lw=1.4, label=label)
    axes.axhline(1.0, color=GREY, lw=0.8)
    axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("tokens")
    axes.set_ylabel(unit)
    axes.legend(frameon=False, fontsize=7)


def draw_sweep(result: SweepResult) -> Figure:
    """Milliseconds that a sweep adds to an item, against the number of items: clock (line), processor (dotted)."""
    with context(["default", STYLE]):
        figure = Figure(figsize=(4.8, 3.4), layout="constrained")
        axes = figure.subplots()
        ways = [*dict.fromkeys(timing.way for timing in result.timings)]
        for way, colour in zip(ways, (MEASURED, SOURCES[1], SOURCES[2], GREY), strict=False):
            line = result.of(way)
            items = [timing.items for timing in line]
            axes.plot(items, [1000 * t.wall for t in line], color=colour, marker="o", ms=3, label=way)
            if way != PEER:
                axes.plot(items, [1000 * t.processor for t in line], color=colour, ls=":", marker=".", ms=3)
        axes.axhline(1000 * BAR, color=GREY, ls="--", lw=0.8)
        axes.set_ylim(bottom=0.0)
        axes.set_xlabel("items")
        axes.set_ylabel("ms per item: clock; dotted: processor")
        axes.set_title("What a sweep adds to an item")
        axes.legend(frameon=False, fontsize=7)
    return figure


def save_figure(figure: Figure, paths: Sequence[Path]) -> None:
    """To files, in the format that each suffix names; equal results make equal bytes.

    Raises:
        OSError: a file cannot be written.
    """
    with context(["default", STYLE]):
        for path in paths:
            dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix[1:], {})
            figure.savefig(path, dpi=200, metadata=dates)
