"""Interactive drawings (plotly) of the arrays in a flow: each function takes a flow or a tree and returns a Figure.

Nothing is computed here that a result file does not hold: what a figure shows can be read off `RGFlow.to_xarray`.
"""

from __future__ import annotations

from rgprobe.plots.comparison_panels import side_by_side
from rgprobe.plots.consensus_matrix import consensus
from rgprobe.plots.dendrogram import tree
from rgprobe.plots.depth import flow_over_depth
from rgprobe.plots.elimination_curves import elimination
from rgprobe.plots.energy_landscape import energy_landscape
from rgprobe.plots.heads import head_map
from rgprobe.plots.style import template

__all__ = [
    "consensus",
    "elimination",
    "energy_landscape",
    "flow_over_depth",
    "head_map",
    "side_by_side",
    "template",
    "tree",
]
