"""Figures of quantities over depth: the summary of a flow, elimination, correlation length, Lyapunov exponents, gains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rgprobe.errors import OptionError
from rgprobe.plots.arrays import node, quantity_label, select
from rgprobe.plots.depth_series import Band, DepthSeries, depth_series
from rgprobe.plots.paper.series import depth_axis, draw_series, label_ends, null_label, null_style, refused, value_axis
from rgprobe.plots.paper.style import (
    DOUBLE,
    FINE,
    GUIDE,
    RULE,
    SINGLE,
    finished,
    note,
    panel_letters,
    paper_figure,
    paper_style,
)
from rgprobe.plots.style import MEASURED, NULL_COLOURS, SOURCES
from rgprobe.rg_flow import RGFlow

__all__ = ["KL_TO_OUTPUT", "ROUNDING", "SUMMARY", "correlation_length", "defined", "draw_panel", "elimination", "flow_summary",
           "key", "lyapunov_spectrum", "operator_gains"]  # fmt: skip

KL_TO_OUTPUT = "KL to output"
ROUNDING = 1e-9  # bits
# What tells the story of a flow, in this order; the first six that were measured are drawn.
SUMMARY = (
    ("elimination", "kl_to_output", KL_TO_OUTPUT),
    ("consensus", "jeffreys", "Jeffreys divergence"),
    ("condensation", "quarter_loss", "loss at N/4, of D(1)"),
    ("temperature", "theta", "reduced temperature θ"),
    ("plateau", "angle", "step angle"),
    ("collapse", "participation_ratio", "participation ratio"),
    ("free_energy", "entropy_deficit", "entropy deficit"),
    ("correlation_length", "eta", "correlation exponent η"),
    ("modularity", "modularity", "modularity"),
)
KINDS = {"pca": "principal", "token": "token swap", "order": "order swap", "random": "random"}


def flow_summary(flow: RGFlow) -> Figure:
    """Up to six quantities over depth, each with its interval and the bands of its null models (two columns wide).

    Raises:
        OptionError: the flow holds none of them.
    """
    chosen = defined(flow, SUMMARY)[:6]
    if not chosen:
        raise OptionError("diagnostic", expected=" or ".join(name for name, *_ in SUMMARY), received="none of them",
                          remedy="run rgprobe run with its default diagnostics")  # fmt: skip
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    with paper_style():
        figure = paper_figure(DOUBLE * columns / 3 if columns < 3 else DOUBLE, 0.35 + 1.62 * rows)
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (diagnostic, quantity, label) in zip(panels, chosen, strict=False):
            draw_panel(axes, depth_series(select(flow, diagnostic, quantity)), label)
        for axes in panels[len(chosen) :]:
            axes.set_visible(False)
        panel_letters(list(panels[: len(chosen)]))
        key(figure, [depth_series(select(flow, diagnostic, quantity)) for diagnostic, quantity, _ in chosen])
        return finished(figure)


def elimination(flow: RGFlow) -> Figure:
    """KL from the final prediction to the one at each state, over the entropy of the prediction; bits (one column)."""
    panels = defined(flow, [("elimination", "kl_to_output", KL_TO_OUTPUT), ("elimination", "entropy", "entropy")])
    return _stacked(flow, panels)


def correlation_length(flow: RGFlow) -> Figure:
    """Correlation length xi in tokens, and exponent eta of the power law, by state; crosses where refused (one column)."""
    wanted = [("correlation_length", "xi", "ξ"), ("correlation_length", "eta", "η")]
    laws = node(flow, "correlation_length").get("law")
    with paper_style():
        drawn = [depth_series(select(flow, diagnostic, quantity)) for diagnostic, quantity, _ in wanted]
        shares = [1.0 if np.isfinite(series.value).any() else 0.4 for series in drawn]
        figure = paper_figure(SINGLE, 0.6 + 1.5 * sum(shares))
        panels = figure.subplots(2, 1, sharex=True, height_ratios=shares)
        for axes, series, (_, quantity, label) in zip(panels, drawn, wanted, strict=True):
            draw_panel(axes, series, label)
            refused(axes, series)
            if not np.isfinite(series.value).any():
                note(axes, _why_undefined(quantity, laws))
                axes.set_yticks([])
            _named(axes, series)
        panels[0].set_xlabel("")
        panel_letters(list(panels))
        return finished(figure)


def lyapunov_spectrum(flow: RGFlow) -> Figure:
    """Finite-time Lyapunov exponents from the input end to each block, and the spectrum at the output end (two columns).

    The spectrum has a dot per prompt and tangent, and their mean with its 95% t interval over prompts.
    """
    arrays = node(flow, "lyapunov")
    with paper_style():
        figure = paper_figure(DOUBLE, 2.15)
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 1.0, 0.9))
        for axes, quantity, label in (
            (left, "exponent", "Lyapunov exponent"),
            (middle, "angular_exponent", "angular exponent"),
        ):
            series = depth_series(select(flow, "lyapunov", quantity))
            draw_panel(axes, series, label, logarithmic=False)
            axes.axhline(0, color=GUIDE, lw=0.6, zorder=0)
        _spectrum(right, arrays)
        panel_letters([left, middle, right])
        key(figure, [depth_series(select(flow, "lyapunov", "exponent"))])
        return finished(figure)


def operator_gains(flow: RGFlow) -> Figure:
    """Gain of each kind of perturbation over depth, and the slope of every direction with its interval (two columns)."""
    arrays = node(flow, "operator_gain")
    kinds = [kind for kind in KINDS if np.isfinite(select(flow, "operator_gain", f"gain_{kind}")["value"]).any()]
    with paper_style():
        figure = paper_figure(DOUBLE, 2.5)
        left, right = figure.subplots(1, 2, width_ratios=(1.15, 1.0))
        drawn, ends = [], {}
        for index, kind in enumerate(kinds):
            series = depth_series(select(flow, "operator_gain", f"gain_{kind}"))
            colour = _kind_colour(kind, index)
            nulls = ["random_init"] if kind == "random" else []
            draw_series(left, series, colour=colour, nulls=nulls, tints=(NULL_COLOURS[0],) * 4)
            drawn.append(series)
            ends[KINDS[kind]] = (_last_finite(series.value), colour)
            if nulls and "random_init" in series.nulls:
                ends["random, at initialisation"] = (_last_finite(series.nulls["random_init"].mean), NULL_COLOURS[0])
        if not kinds:
            note(left, "undefined: see the caption")
        else:
            depth_axis(left, drawn[0].dim, drawn[0].depths)
            value_axis(left, drawn, "ln gain", logarithmic=False)
            label_ends(left, ends)
        left.axhline(0, color=GUIDE, lw=0.6, zorder=0)
        _slopes(right, arrays)
        panel_letters([left, right])
        return finished(figure)


def defined(flow: RGFlow, wanted: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Those of the wanted quantities that the flow holds and that have a value anywhere."""
    held = set(flow.diagnostics)
    return [
        entry for entry in wanted
        if entry[0] in held and entry[1] in node(flow, entry[0])["quantity"].values
        and np.isfinite(select(flow, entry[0], entry[1])["value"]).any()
    ]  # fmt: skip


def draw_panel(axes: Axes, series: DepthSeries, label: str, *, logarithmic: bool = True) -> DepthSeries:
    """Draw one quantity, and return what was drawn."""
    if label == KL_TO_OUTPUT:
        series = _without_zeros(series)
    draw_series(axes, series)
    depth_axis(axes, series.dim, series.depths, ticks=6)
    value_axis(axes, [series], label, logarithmic=logarithmic)
    return series


def _without_zeros(series: DepthSeries) -> DepthSeries:
    """What is 0 by construction left out, so that a logarithmic axis can show the rest."""
    blank = np.where(series.value > ROUNDING, 0.0, np.nan)
    return replace(
        series, value=series.value + blank, low=series.low + blank, high=series.high + blank,
        other_sinks={name: y + blank for name, y in series.other_sinks.items()},
        nulls={name: Band(band.mean + blank, band.low + blank, band.high + blank) for name, band in series.nulls.items()},
    )  # fmt: skip


def _stacked(flow: RGFlow, wanted: Sequence[tuple[str, str, str]]) -> Figure:
    """Panels above one another on one depth axis, lines named at their ends."""
    with paper_style():
        figure = paper_figure(SINGLE, 0.5 + 1.5 * len(wanted))
        panels = figure.subplots(len(wanted), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (diagnostic, quantity, label) in zip(panels, wanted, strict=True):
            series = draw_panel(axes, depth_series(select(flow, diagnostic, quantity)), label)
            if axes.get_yscale() == "linear":
                axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
            _named(axes, series)
            if axes is not panels[-1]:
                axes.set_xlabel("")
        panel_letters(list(panels))
        return finished(figure)


def _named(axes: Axes, series: DepthSeries) -> None:
    """The lines of a panel, named at their right ends."""
    ends = {"measured": (_last_finite(series.value), MEASURED)}
    for index, (name, band) in enumerate(series.nulls.items()):
        ends[null_label(name)] = (_last_finite(band.mean), null_style(index)[0])
    label_ends(axes, ends)


def _last_finite(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if len(finite) else float("nan")


def _why_undefined(quantity: str, laws: xr.DataArray | None) -> str:
    words = [] if laws is None else [str(law) for law in laws.values if str(law)]
    if words and all(word in ("constant", "floored exponential") for word in words):
        return "undefined at every state:\ncorrelations keep a floor, or there are none"
    if quantity == "xi" and words and all(word != "exponential" for word in words):
        return "undefined at every state:\na power law fits better, or nothing does"
    return "undefined at every state (crosses): see the caption"


def _kind_colour(kind: str, index: int) -> str:
    return RULE if kind == "random" else SOURCES[index % len(SOURCES)]


def _slopes(axes: Axes, arrays: xr.Dataset) -> None:
    """A row per direction: the slope of ln gain, its interval, and the word for it."""
    names = [str(name) for name in arrays["direction"].values]
    slope, low, high = (arrays[key].values.astype(float) for key in ("slope", "slope_low", "slope_high"))
    words = arrays["label"].values.astype(str)
    rows = np.arange(len(names))[::-1]
    kinds = [name.rsplit("_", 1)[0] for name in names]
    order = {kind: index for index, kind in enumerate(KINDS)}
    axes.axvline(0, color=GUIDE, lw=0.6, zorder=0)
    for row, kind, value, below, above, word in zip(rows, kinds, slope, low, high, words, strict=True):
        colour = _kind_colour(kind, order.get(kind, 0))
        axes.plot([below, above], [row, row], color=colour, lw=1.2, solid_capstyle="butt")
        axes.plot(value, row, "o", mfc="white" if word in ("marginal", "") else colour, mec=colour, mew=0.8)
        axes.annotate(word, (1.0, row), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
                      fontsize=FINE, color=RULE, va="center", ha="left", annotation_clip=False)  # fmt: skip
    labels = [f"{KINDS.get(kind, kind)} {name.rsplit('_', 1)[-1]}" for kind, name in zip(kinds, names, strict=True)]
    axes.set_yticks(rows, labels=labels)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_xlabel("slope of ln gain (nats per layer)")
    if not np.isfinite(slope).any():
        note(axes, "undefined: see the caption")
    axes.margins(x=0.08)


def _spectrum(axes: Axes, arrays: xr.Dataset) -> None:
    """Exponents of each tangent at the output end: dots are prompts, bars their mean with its interval."""
    kinds = (("exponents", "all", MEASURED, -0.16), ("angular_exponents", "angular", SOURCES[1], 0.16))
    count = 0
    for name, _, colour, shift in kinds:
        by_prompt = arrays[name].transpose("prompt", "tangent").values.astype(float)
        count = by_prompt.shape[1]
        places = np.arange(1, count + 1) + shift
        jitter = np.linspace(-0.07, 0.07, len(by_prompt))[:, None] if len(by_prompt) > 1 else np.zeros((1, 1))
        axes.plot((places + jitter).ravel(), by_prompt.ravel(), "o", ms=1.5, mew=0, color=colour, alpha=0.35)
        finite = np.isfinite(by_prompt).any(0)
        if finite.any():
            axes.plot(places[finite], np.nanmean(by_prompt[:, finite], 0), "_", color=colour, ms=8, mew=1.4, zorder=4)
    axes.axhline(0, color=GUIDE, lw=0.6, zorder=0)
    axes.set_xticks(range(1, count + 1))
    axes.set_xlim(0.4, count + 0.6)
    axes.set_xlabel("tangent")
    axes.set_ylabel("exponent at the output\n(nats/layer)")
    ends = {
        word: (float(np.nanmean(last)) if np.isfinite(last := arrays[name].values[:, -1]).any() else np.nan, colour)
        for name, word, colour, _ in kinds
    }
    label_ends(axes, ends)


def key(figure: Figure, drawn: Sequence[DepthSeries]) -> None:
    """One line below all panels that says what a line, a band and a dot is."""
    nulls = list(dict.fromkeys(name for series in drawn for name in series.nulls))
    entries: list[tuple[Line2D | Patch | tuple[Patch, Line2D], str]] = [
        ((Patch(fc=MEASURED, alpha=0.28, lw=0), Line2D([], [], color=MEASURED)), "measured, 95% interval")
    ]
    if any(series.verdict is not None for series in drawn) and nulls:
        entries.append((Line2D([], [], ls="", marker="o", color=MEASURED), "beats random init."))
    for name in nulls:
        index = next(list(series.nulls).index(name) for series in drawn if name in series.nulls)
        tint, dashes = null_style(index)
        swatch = (Patch(fc=tint, alpha=0.25, lw=0), Line2D([], [], color=tint, ls=dashes, lw=0.9))
        entries.append((swatch, quantity_label(name)))
    if any(series.heads is not None for series in drawn):
        entries.append((Line2D([], [], ls="", marker="o", ms=1.8, mew=0, color=MEASURED, alpha=0.5), "one head"))
    if other := next((name for series in drawn for name in series.other_sinks), None):
        entries.append((Line2D([], [], color=MEASURED, ls=(0, (1, 1)), lw=0.8), f"measured, sink {other}"))
    handles, words = zip(*entries, strict=True)
    figure.legend(handles, words, loc="outside lower center", ncols=min(len(entries), 4), frameon=False, fontsize=FINE,
                  handlelength=2.2, columnspacing=1.4, borderaxespad=0.1)  # fmt: skip
