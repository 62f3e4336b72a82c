"""Interactive drawings (plotly) of the arrays in a flow: each function takes a flow or a tree and returns a Figure.

Nothing is computed here that a result file does not hold: what a figure shows can be read off `RGFlow.to_xarray`.
`paper` has their counterparts for print (matplotlib), drawn from the same arrays.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rgprobe.plots.comparison_panels import side_by_side
from rgprobe.plots.consensus_matrix import consensus
from rgprobe.plots.dendrogram import tree
from rgprobe.plots.depth import flow_over_depth
from rgprobe.plots.elimination_curves import elimination
from rgprobe.plots.energy_landscape import energy_landscape
from rgprobe.plots.explorer import explore
from rgprobe.plots.genealogy import genealogy
from rgprobe.plots.heads import head_map
from rgprobe.plots.style import template

if TYPE_CHECKING:
    from rgprobe.plots import paper as paper
    from rgprobe.plots.training_steps import over_steps as over_steps
    from rgprobe.plots.training_steps import step_map as step_map

__all__ = [
    "consensus",
    "elimination",
    "energy_landscape",
    "explore",
    "flow_over_depth",
    "genealogy",
    "head_map",
    "over_steps",
    "paper",
    "side_by_side",
    "step_map",
    "template",
    "tree",
]


def __getattr__(name: str) -> Any:
    """What only some need is imported when it is asked for: `paper` takes matplotlib, drawings of sweeps the sweeps."""
    if name == "paper":
        return import_module("rgprobe.plots.paper")
    if name in ("over_steps", "step_map"):
        return getattr(import_module("rgprobe.plots.training_steps"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
