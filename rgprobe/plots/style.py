"""House style of the interactive figures: palette, templates for light and dark paper, depth axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

__all__ = [
    "DIVERGING",
    "MEASURED",
    "NULL_COLOURS",
    "SEQUENTIAL",
    "SOURCES",
    "depth_axis",
    "new_figure",
    "shade",
    "template",
]

# Okabe and Ito's colour-blind-safe hues, lightness moved so that each has contrast 3:1 on white and on near-black.
MEASURED = "#2b7bba"
SOURCES = ("#2b7bba", "#d1662c", "#16907a", "#b0609a", "#8c7a1f")
NULL_COLOURS = ("#868b93", "#c98a1b", "#9a6fb8", "#3f9a78", "#b5534f")
SEQUENTIAL = "Cividis"
# Blue, grey, orange: survives all three kinds of colour blindness; the middle is neutral on either paper.
DIVERGING = (
    (0.0, "#16598f"), (0.25, "#6ea2cb"), (0.5, "#dcdbd6"), (0.75, "#e0975a"), (1.0, "#a64a12"),
)  # fmt: skip

FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
DASHES = (
    "dash",
    "dashdot",
    "longdash",
    "longdashdot",
    "5px,2px,1px,2px,1px,2px",
)  # of null models; dots are the other sink policy


def template(dark: bool = False) -> go.layout.Template:
    """Plotly template for light or dark paper; the paper itself is transparent.

    Example:
        >>> template().layout.font.color, template(dark=True).layout.font.color
        ('#33373d', '#d5d6d8')
    """
    ink, rule, paper = ("#d5d6d8", "#34383f", "#1b1e23") if dark else ("#33373d", "#e3e1da", "#ffffff")
    axis = {
        "gridcolor": rule, "linecolor": rule, "zerolinecolor": rule, "tickcolor": rule, "ticks": "outside", "ticklen": 4,
        "zeroline": False, "automargin": True, "title": {"standoff": 8},
    }  # fmt: skip
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 12, "color": ink},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": list(SOURCES),
            "xaxis": {**axis, "showgrid": False},
            "yaxis": axis,
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
            "hoverlabel": {"bgcolor": paper, "bordercolor": rule, "font": {"family": FONT, "color": ink}},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": rule, "activecolor": ink},
            "margin": {"l": 56, "r": 16, "t": 36, "b": 48},
            "coloraxis": {"colorbar": {"outlinewidth": 0, "thickness": 12, "ticks": "outside", "ticklen": 3}},
        }
    )


def new_figure(height: int = 320) -> go.Figure:
    """Empty figure in house style."""
    return go.Figure(layout={"template": template(), "height": height})


def shade(colour: str, opacity: float) -> str:
    """A hex colour as rgba.

    Example:
        >>> shade("#2b7bba", 0.2)
        'rgba(43,123,186,0.2)'
    """
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def depth_axis(dim: str, depths: Sequence[float] | np.ndarray) -> dict[str, object]:
    """Layout of a depth axis whose two ends are named: authors disagree on which end is the ultraviolet one."""
    last = len(depths) - 1
    step = max(1, -(-last // 8))
    ticks = sorted({*range(0, last - step // 2, step), last}) if last > 0 else [0]
    text = [str(depths[k]) for k in ticks]
    text[0] += "<br>input end"
    if last > 0:
        text[-1] += "<br>output end"
    return {"title": {"text": dim}, "tickvals": [depths[k] for k in ticks], "ticktext": text, "tickangle": 0}
