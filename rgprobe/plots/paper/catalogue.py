"""Which figures there are: what each is called, what it needs, and the sentences of its caption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from rgprobe.plots.paper.landscape import energy_landscape
from rgprobe.plots.paper.lineage import cross_layer_genealogy
from rgprobe.plots.paper.maps import temperature_map
from rgprobe.plots.paper.over_depth import (
    SUMMARY,
    correlation_length,
    elimination,
    flow_summary,
    lyapunov_spectrum,
    operator_gains,
)
from rgprobe.plots.paper.rates import information_curves
from rgprobe.plots.paper.trees import consensus_tree

__all__ = ["FIGURES", "FlowFigure"]

BEATS = (
    "A filled dot beats random initialisation (Benjamini-Hochberg, 5%; 20 prompts and 5 seeds at least), a hollow one "
    "does not."
)


@dataclass(frozen=True)
class FlowFigure:
    """A figure that is drawn from one flow.

    Attributes:
        name: of its files.
        title: first line of its caption.
        draw: `RGFlow -> Figure`.
        needs: diagnostics it cannot do without; of `any_of`, one is enough.
        told: what is drawn, in sentences.
        of_prompt: whether it shows one prompt, which `draw` then takes as an option.
        any_of: see `needs`.
    """

    name: str
    title: str
    draw: Callable[..., Figure]
    needs: tuple[str, ...]
    told: str
    of_prompt: bool = False
    any_of: tuple[str, ...] = ()


FIGURES = (
    FlowFigure(
        "flow-summary", "What the forward pass does to token beliefs, layer by layer", flow_summary, (),
        "Measured values (blue, mean over prompts) and null models over depth, input end to output end. Where a "
        "quantity belongs to heads, the line is the mean over heads, small dots are heads, and bands are means of "
        f"the heads' bands. {BEATS} KL to the output is 0 at the output end by construction and left out there.",
        any_of=tuple(dict.fromkeys(name for name, *_ in SUMMARY)),
    ),
    FlowFigure(
        "temperature-map", "Reduced temperature of attention heads", temperature_map, ("temperature",),
        "sqrt(2 ln n) over the standard deviation that Gaussian scores of the observed entropy would have (theta_entropy; "
        "where a result does not hold it, theta, without words), mean over prompts, head against block, logarithmic scale "
        "with 1 in grey. The words beside the scale are conventions (exploration above 1.3, condensed below 0.75), not phases "
        "of matter. A ring marks a head that does not beat random initialisation, where others do.",
    ),
    FlowFigure(
        "correlation-length", "Correlation length and exponent by layer", correlation_length, ("correlation_length",),
        "a: length xi of an exponential law of the connected correlation C(r). b: exponent eta of a power law. "
        "Crosses on the axis mark states at which the number is refused, because another law fits better, "
        f"correlations keep a floor, the range is too short or nothing exceeds the noise. {BEATS}",
    ),
    FlowFigure(
        "operator-gains", "Which perturbations grow along the flow", operator_gains, ("operator_gain",),
        "a: ln gain of perturbations put in at the input end, in units of the spread between prompts, by kind of "
        "direction; dashed: random directions in random initialisations. b: slope of ln gain of each direction with "
        "its 95% t interval over prompts; above 0 relevant, below 0 irrelevant, marginal (hollow) where the "
        f"interval holds 0. In a, {BEATS[0].lower()}{BEATS[1:]}",
    ),
    FlowFigure(
        "elimination", "Elimination of hypotheses", elimination, ("elimination",),
        "a: KL divergence of the final prediction from the prediction at each state, bits, logarithmic where it "
        "spans decades; 0 at the output end by construction and left out there. b: entropy of the prediction, bits; "
        f"entropy alone is no test of elimination. {BEATS}",
    ),
    FlowFigure(
        "consensus-tree", "Divergences between tokens, in the order of their condensation tree", consensus_tree,
        ("consensus", "condensation"),
        "Left: condensation tree, height is the information lost so far. Right: Jeffreys divergence between the "
        "beliefs of two tokens, rows and columns in the order of the tree; the diagonal is 0 and left white. One "
        "prompt at one depth: nothing is tested here.",
        of_prompt=True,
    ),
    FlowFigure(
        "genealogy", "Genealogy of clusters across layers", cross_layer_genealogy, ("condensation",),
        "a: every tree cut at a quarter of its own loss at the root; bars are clusters, as high as they have "
        "tokens; ribbons are shared tokens, coloured by what happens to the smallest group of tokens that is a "
        "union of clusters on both sides. At most nine layers are drawn. The last layer's clusters are named by "
        "their tokens. b: adjusted Rand index of adjacent layers, all of them (1: equal partitions); bands hold 95% of 40 "
        "draws in which the later layer's tokens were permuted (grey; 0 on average) or moved along the text (yellow), "
        "which what comes of lying side by side survives. One prompt: nothing is tested here.",
        of_prompt=True,
    ),
    FlowFigure(
        "rate-distortion", "Information lost by meta-tokens", information_curves, ("condensation",),
        "a: share D(m) / D(1) of the information that m of N meta-tokens lose, mean over prompts, a curve per "
        "depth; the straight line is for the eye. b: D(1), nats per token. c: the share lost with a quarter as many "
        "meta-tokens as tokens, also for partitions with the same cluster sizes that do not know the content. "
        f"{BEATS} Information in the beliefs, not in the predictions.",
    ),
    FlowFigure(
        "lyapunov-spectrum", "Lyapunov exponents over depth", lyapunov_spectrum, ("lyapunov",),
        "a: finite-time exponent of the leading tangent from the input end to after each block. b: the same for the "
        "directions of the tokens, the growth of norms taken out. c: exponents of all tangents at the output end; "
        f"dots are prompts, bars their means. {BEATS}",
    ),
    FlowFigure(
        "energy-landscape", "Free energy of a layer on the plane of its two leading components", energy_landscape,
        ("energy_landscape",),
        "Up to six blocks, one colour scale; each panel has the plane and the unit of length of its own block. "
        "Circles are the recorded tokens, crosses the minima of all dimensions that they fall into, both projected: "
        "a hollow of the slice need not be a minimum. One prompt: nothing is tested here.",
        of_prompt=True,
    ),
)  # fmt: skip
