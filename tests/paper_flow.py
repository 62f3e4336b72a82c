"""`synthetic_flow` with the diagnostics that are measured on request, for the figures of papers; and what a figure draws."""

import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from synthetic_flow import PLAIN, _group, synthetic_flow

from rgprobe.plots.paper import paper_style
from rgprobe.rg_flow import RGFlow

HOSTILE = (
    " 你好",
    "🦜",
    " שלום",
    "\u202eabc",
    "\x00\x1b",
    "$x_1^2$",
    "$$",
    " \\frac{a}{b}",
    "_",
    "<b>&",
    "\n\t",
    " ",
    "",
)
GAINS = {f"{prefix}_{kind}": "nats" for prefix in ("gain", "end") for kind in ("pca", "token", "order", "random")}
ON_REQUEST = {
    "correlation_length": ("state", {"xi": "tokens", "eta": "1", "power_evidence": "1"}),
    "operator_gain": ("state", GAINS),
    "lyapunov": ("block", dict.fromkeys(("exponent", "angular_exponent", "norm_exponent"), "nats/layer")),
    "energy_landscape": ("block", {"basins": "1"}),
}


def paper_flow(*, tokens=PLAIN, name="standard-small", prompts=3, blocks=5, heads=3, nulls=3, positions=7, seed=0):
    """A made-up flow that every figure can be drawn from."""
    flow = synthetic_flow(
        tokens=tokens,
        name=name,
        prompts=prompts,
        blocks=blocks,
        heads=heads,
        nulls=nulls,
        positions=positions,
        seed=seed,
    )
    rng = np.random.default_rng(seed)
    groups = {
        diagnostic: _group(rng, diagnostic, dim, False, False, units, prompts, blocks, heads, nulls)
        for diagnostic, (dim, units) in ON_REQUEST.items()
    }
    groups["correlation_length"]["value"][0, :2] = np.nan
    groups["correlation_length"]["law"] = ("state", np.resize(["", "exponential", "power"], blocks + 1))
    _directions(groups["operator_gain"], rng)
    for spectrum in ("exponents", "angular_exponents"):
        groups["lyapunov"][spectrum] = (("prompt", "tangent"), rng.normal(size=(prompts, 4)))
    _landscape(groups["energy_landscape"], rng, prompts, blocks, positions)
    tree = flow.to_xarray().copy()
    for diagnostic, arrays in groups.items():
        tree[diagnostic] = xr.DataTree(arrays)
    return RGFlow(tree)


def drawn_texts(figure):
    """(text, box) of everything that is written, in pixels; tick labels outside the axes' limits are not."""
    written, draw = [], Text.draw

    def note(self, renderer, *args, **kwargs):
        if self.get_visible() and self.get_text().strip():
            # of an annotation the words alone, not its line
            written.append((self.get_text(), Text.get_window_extent(self, renderer)))
        return draw(self, renderer, *args, **kwargs)

    with paper_style():
        canvas = FigureCanvasAgg(figure)
        Text.draw = note
        try:
            canvas.draw()
        finally:
            Text.draw = draw
    return written


def misplaced(figure, slack=0.5):
    """Texts that overlap another one, or leave the canvas; in pixels of 1/100 inch."""
    texts, canvas = drawn_texts(figure), figure.bbox
    found = [
        f"{text!r} leaves the canvas" for text, box in texts
        if min(box.x0 - canvas.x0, box.y0 - canvas.y0, canvas.x1 - box.x1, canvas.y1 - box.y1) < -slack
    ]  # fmt: skip
    for index, (text, box) in enumerate(texts):
        for other, beside in texts[:index]:
            wide = min(box.x1, beside.x1) - max(box.x0, beside.x0)
            high = min(box.y1, beside.y1) - max(box.y0, beside.y0)
            if wide > slack and high > slack:
                found.append(f"{text!r} overlaps {other!r} by {wide:.1f} x {high:.1f}")
    return found


def _directions(arrays, rng):
    names = ["pca_1", "pca_2", "token_1", "order_1", "random_1", "random_2"]
    slope = rng.normal(size=len(names))
    arrays["slope"] = ("direction", slope)
    arrays["slope_low"] = ("direction", slope - 0.3)
    arrays["slope_high"] = ("direction", slope + 0.3)
    arrays["label"] = ("direction", np.resize(["relevant", "marginal", "irrelevant"], len(names)))
    arrays.coords["direction"] = names


def _landscape(arrays, rng, prompts, blocks, positions):
    grid, shape, dims = np.linspace(-1, 1, 9), (prompts, blocks), ("prompt", "block")
    bowl = grid[:, None] ** 2 + grid**2
    arrays["beta"] = (dims, np.ones(shape))
    arrays["slice_axis"] = ((*dims, "first"), np.broadcast_to(grid, (*shape, 9)).copy())
    arrays["slice_free_energy"] = ((*dims, "second", "first"), np.broadcast_to(3 * bowl, (*shape, 9, 9)).copy())
    places = rng.uniform(-0.8, 0.8, (*shape, positions, 2))
    for name in ("token_on_plane", "minimum_on_plane"):
        arrays[name] = ((*dims, "position", "component"), places)
    arrays["basin_of_token"] = (
        (*dims, "position"),
        np.broadcast_to(np.arange(positions) % 2, (*shape, positions)).copy(),
    )
