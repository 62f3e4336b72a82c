"""One style for papers: column widths, type sizes, colours, panel letters; never a global setting.

Sizes are those of a two-column journal: 3.35 in for one column, 6.9 in for two; type 7 pt, panel letters 8 pt bold. Fonts
are DejaVu Sans, which comes with matplotlib, so that equal flows give equal files everywhere. In PDF they are embedded as
TrueType (Type 42, which can be edited and searched; many journals refuse Type 3); in SVG letters are outlines, since a page
that lacks the font would move every label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.style import context
from matplotlib.text import Text

from rgprobe.plots.style import DIVERGING

__all__ = [
    "DOUBLE",
    "FINE",
    "GUIDE",
    "INK",
    "LETTER",
    "RULE",
    "SINGLE",
    "diverging",
    "finished",
    "note",
    "panel_letters",
    "paper_figure",
    "paper_style",
    "spread",
]

SINGLE, DOUBLE = 3.35, 6.9  # inches
TEXT, FINE, LETTER = 7.0, 6.0, 8.0  # points
INK, RULE, GUIDE = "#1f2328", "#6a7078", "#b9bcc2"
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": TEXT,
    "axes.labelsize": TEXT,
    "axes.titlesize": TEXT,
    "axes.titlelocation": "left",
    "axes.titlepad": 4.0,
    "axes.labelpad": 2.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "text.color": INK,
    "text.parse_math": False,
    "text.usetex": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.2,
    "xtick.labelsize": FINE + 0.5,
    "ytick.labelsize": FINE + 0.5,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.hspace": 0.06,
    "figure.constrained_layout.wspace": 0.06,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "rgprobe",
    "hatch.linewidth": 0.5,
}


@contextmanager
def paper_style() -> Iterator[None]:
    """The settings of the figures, for the time of the block; the person's own are untouched before and after."""
    with context(["default", STYLE]):
        yield


def paper_figure(width: float, height: float) -> Figure:
    """An empty figure, inches; to be made, drawn and saved inside `paper_style`."""
    return Figure(figsize=(width, height), layout="constrained")


def finished(figure: Figure) -> Figure:
    """Lay the figure out, and take every `$` in it literally, that of tick labels too, wherever it is saved later.

    Example:
        >>> with paper_style():
        ...     figure = paper_figure(SINGLE, 2.0)
        ...     _ = figure.subplots().set_title("a$b$c")
        >>> {text.get_parse_math() for text in finished(figure).findobj(Text)}
        {False}
    """
    with paper_style():
        figure.draw_without_rendering()
        for text in figure.findobj(Text):
            text.set_parse_math(False)
        figure.draw_without_rendering()
    return figure


def panel_letters(axes: Sequence[Axes]) -> None:
    """a, b, c, ... in bold before the panels' titles."""
    for letter, each in zip("abcdefghijklmnopqrstuvwxyz", axes, strict=False):
        title = each.get_title(loc="left")
        each.set_title("", loc="left")
        for words, shift, weight, size in ((letter, 0.0, "bold", LETTER), (title, 12.0, "normal", TEXT)):
            if words:
                each.annotate(
                    words, (0, 1), xycoords="axes fraction", xytext=(shift, 3.5), textcoords="offset points", fontsize=size,
                    fontweight=weight, ha="left", va="baseline", annotation_clip=False,
                )  # fmt: skip


def note(axes: Axes, words: str) -> None:
    """A remark in the middle of a panel that has nothing else to show."""
    axes.text(
        0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", fontsize=FINE, color=RULE, linespacing=1.4
    )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places moved apart to at least a gap, each crowd around its own middle, for labels beside lines.

    Example:
        >>> [round(place, 3) for place in spread([0.1, 0.5, 0.5], 0.1)]
        [0.1, 0.45, 0.55]
    """
    crowds: list[tuple[float, int]] = []  # middle and size
    for place in places:
        crowds.append((place, 1))
        while len(crowds) > 1 and _first(crowds[-1], gap) - _last(crowds[-2], gap) < gap - 1e-12:
            (a, m), (b, n) = crowds[-2:]
            crowds[-2:] = [((a * m + b * n) / (m + n), m + n)]
    return [_first(crowd, gap) + k * gap for crowd in crowds for k in range(crowd[1])]


def diverging(low: float, high: float, midpoint: float) -> Colormap:
    """Blue, grey, orange, the grey at the midpoint of an axis from low to high; only the part that the axis uses."""
    reach = max(high - midpoint, midpoint - low, 1e-12)
    whole = LinearSegmentedColormap.from_list("rgprobe", [*DIVERGING])
    first, last = ((end - midpoint) / (2 * reach) + 0.5 for end in (low, high))
    return LinearSegmentedColormap.from_list("rgprobe", whole(np.linspace(first, last, 64)))


def _first(crowd: tuple[float, int], gap: float) -> float:
    return crowd[0] - 0.5 * gap * (crowd[1] - 1)


def _last(crowd: tuple[float, int], gap: float) -> float:
    return crowd[0] + 0.5 * gap * (crowd[1] - 1)
