"""Axis ranges that keep the measured values legible: logarithmic where they span decades, bands cut where they run off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

__all__ = ["fit_values", "fitted_axis", "is_wide", "log_ticks", "value_limits"]

WIDE = 30.0  # ratio of largest to smallest from which an axis of positive values is logarithmic
SMALLEST = 1e-8  # of the largest value: a probability of 1e-50 runs off the frame rather than flatten the rest
OVERSHOOT = 0.35  # how far a band may stretch a linear axis, in units of the span of the lines


def is_wide(values: np.ndarray) -> bool:
    """Whether all values are positive and span more than a decade and a half.

    Example:
        >>> is_wide(np.array([0.5, 40.0, np.nan])), is_wide(np.array([0.0, 40.0])), is_wide(np.array([]))
        (True, False, False)
    """
    finite = values[np.isfinite(values)]
    return bool(len(finite) and finite.min() > 0 and finite.max() / finite.min() >= WIDE)


def log_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Round numbers between two positive ones: their base-10 logarithms and their text.

    Example:
        >>> log_ticks(0.4, 30.0)[1]
        ['0.5', '1', '2', '5', '10', '20']
    """
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    digits = (1, 2, 5) if len(decades) <= 4 else (1,)
    every = -(-len(decades) // 8)
    ticks = [digit * 10.0**decade for decade in decades[::every] for digit in digits]
    kept = [tick for tick in ticks if low <= tick <= high]
    return [float(np.log10(tick)) for tick in kept], [f"{tick:g}" for tick in kept]


def fit_values(figure: go.Figure, *, logarithmic: bool = True) -> None:
    """Set the value axis of a figure as `fitted_axis` says."""
    title = figure.layout.yaxis.title.text
    figure.update_yaxes(**fitted_axis(figure.data, title=title, logarithmic=logarithmic))


def fitted_axis(traces: Sequence[go.Scatter], *, title: str, logarithmic: bool = True) -> dict[str, object]:
    """Layout of the value axis of some traces, of which those without a line are bands; bands may be cut.

    Lines and dots decide the range. A band, which two null seeds can make enormous, stretches it only a little and is cut
    at the frame; on a logarithmic axis, which positive values over decades get unless told otherwise, its part below zero
    is cut, too.
    """
    bands = [trace for trace in traces if trace.line.width == 0]
    lines = _values([trace for trace in traces if trace.line.width != 0])
    limits = value_limits(lines, _values(bands), logarithmic=logarithmic)
    if limits is None:
        return {"title": {"text": title}}
    is_log, low, high = limits
    if is_log:
        for band in bands:
            band.y = np.maximum(band.y, 1.3 * low / 10)
        ticks, text = log_ticks(low, high)
        return {"type": "log", "range": [np.log10(low), np.log10(high)], "ticktext": text,
                "title": {"text": title.replace(")", ", log)")}, "tickvals": [10**tick for tick in ticks]}  # fmt: skip
    return {"title": {"text": title}, "range": [low, high]}


def value_limits(lines: np.ndarray, bands: np.ndarray, *, logarithmic: bool = True) -> tuple[bool, float, float] | None:
    """Whether the axis of these values is logarithmic, and its ends; None where everything fits or nothing is there.

    Args:
        lines: what is measured; NaN is left out.
        bands: the bounds of intervals, which may be cut.

    Example:
        >>> value_limits(np.array([1.0, 2.0]), np.array([-9.0, 9.0]))
        (False, 0.565..., 2.435...)
        >>> value_limits(np.array([1.0, 2.0]), np.array([0.9, 2.1])) is None
        True
    """
    lines, bands = lines[np.isfinite(lines)], bands[np.isfinite(bands)]
    if len(lines) == 0:
        return None
    low, high = lines.min(), lines.max()
    if logarithmic and is_wide(lines):
        low = max(low, high * SMALLEST)
        return True, float(low / 1.3), float(high * 1.3)
    reach = np.concatenate([lines, bands])
    # values that hardly differ leave room for what is uncertain about them, rather than fill the frame with their differences
    span = max(high - low, 0.2 * max(abs(high), abs(low)), 1e-12)
    bottom, top = max(reach.min(), low - OVERSHOOT * span), min(reach.max(), high + OVERSHOOT * span)
    if bottom <= reach.min() and top >= reach.max():
        return None
    pad = 0.05 * (top - bottom)
    return False, float(bottom - pad), float(top + pad)


def _values(traces: Sequence[go.Scatter]) -> np.ndarray:
    joined = np.concatenate([np.empty(0), *(np.asarray(trace.y, dtype=float) for trace in traces)])
    return joined[np.isfinite(joined)]
