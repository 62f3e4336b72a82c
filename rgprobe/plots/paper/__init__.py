"""Figures for papers (matplotlib): one style, vector files, a caption with the facts beside each.

    import rgprobe as rg

    flow = rg.open_flow("rgprobe-out/standard-small.nc")
    rg.plots.paper.export(flow, "figures/", formats=("pdf", "svg"))

`export` writes every figure that the result has the numbers for. The functions of single figures take a flow, a
comparison, a rate-distortion curve or an attention ladder and return a matplotlib `Figure`; draw and save them inside
`paper_style` to keep fonts and bytes. Their interactive twins in `rgprobe.plots` are drawn from the same arrays.
"""

from __future__ import annotations

from rgprobe.plots.paper.comparison import families_compared
from rgprobe.plots.paper.exporting import FORMATS, Exported, Skipped, export, rendered
from rgprobe.plots.paper.ladder import attention_ladder
from rgprobe.plots.paper.landscape import energy_landscape
from rgprobe.plots.paper.lineage import cross_layer_genealogy
from rgprobe.plots.paper.maps import temperature_map
from rgprobe.plots.paper.over_depth import (
    correlation_length,
    elimination,
    flow_summary,
    lyapunov_spectrum,
    operator_gains,
)
from rgprobe.plots.paper.rates import faithfulness_by_depth, information_curves, rate_distortion
from rgprobe.plots.paper.style import paper_style
from rgprobe.plots.paper.trees import consensus_tree

__all__ = [
    "FORMATS",
    "Exported",
    "Skipped",
    "attention_ladder",
    "consensus_tree",
    "correlation_length",
    "cross_layer_genealogy",
    "elimination",
    "energy_landscape",
    "export",
    "faithfulness_by_depth",
    "families_compared",
    "flow_summary",
    "information_curves",
    "lyapunov_spectrum",
    "operator_gains",
    "paper_style",
    "rate_distortion",
    "rendered",
    "temperature_map",
]
