"""D10: which perturbations of the input grow along the flow, which die out? Gains of directions, layer by layer.

A perturbation u is put in at the input end and followed: g_l(u) = ||J_(0->l) u|| / s_l, lengths per token, s_l the root mean
square distance between states of different prompts. The slope of ln g over layers is what a renormalization-group eigenvalue
would be: positive relevant, negative irrelevant, an interval that holds 0 marginal. Following J_(l->L) instead would invert the
signs. Isotropic random directions are the baseline: what every direction does is the stack's doing, not the direction's.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float64

from rgprobe.diagnostics.gain_slopes import SlopeLabels, classify, log_gains, slopes
from rgprobe.diagnostics.pooling import MINIMUM_POOLED
from rgprobe.diagnostics.prompt_spread import prompt_spread
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, reduction
from rgprobe.probe.gains import DIRECTIONS, SHORTEST
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "end_effects", "labelled", "operator_gain"]

BASELINE = "random"


def operator_gain(trace: BeliefTrace) -> Measurement:
    """ln of gain and of output-Fisher length by kind of direction; the null draws are random directions of the same prompt."""
    found = reduction(trace, "gains")
    names = [str(name) for name in found["direction"].values]
    spread = prompt_spread(trace.states.values)
    lengths = found["log_length"].transpose("prompt", "direction", "state").values
    if spread is None:
        gain, effect = np.full(lengths.shape, np.nan), np.full(lengths.shape, np.nan)
    else:
        absolute = log_gains(lengths, spread)
        gain = absolute - absolute[..., :1]
        effect = np.full(lengths.shape, np.nan)
        effect[..., -1] = end_effects(
            found["log_fisher"].transpose("prompt", "direction").values, spread.pseudo_values()
        )
    dims = ("prompt", "state")
    values, null = {}, {}
    baseline = _of_kind(names, BASELINE)
    for prefix, array in (("gain", gain), ("end", effect)):
        for kind in DIRECTIONS:
            chosen = _of_kind(names, kind)
            values[f"{prefix}_{kind}"] = (dims, array[:, chosen].mean(1))
            draws = np.moveaxis(array[:, baseline], 1, 0)
            null[f"{prefix}_{kind}"] = (("draw", *dims), draws if kind != BASELINE else np.full_like(draws, np.nan))
    return Measurement(
        xr.Dataset(values), labelled(names, gain), internal_nulls={"random_directions": xr.Dataset(null)}
    )


def end_effects(
    log_fisher: Float64[np.ndarray, "prompts directions"], log_spread: Float64[np.ndarray, "prompts states"]
) -> Float64[np.ndarray, "prompts directions"]:
    """ln of the output-Fisher length of J_(0->L) u for u as large as the distance s_0 between prompts at the input end.

    Args:
        log_fisher: for u of unit length.
        log_spread: jackknife pseudo-values of ln s_l.

    Example:
        >>> end_effects(np.zeros((2, 1)), np.log([[2.0, 9.0], [2.0, 9.0]])).round(6).tolist()
        [[0.693147], [0.693147]]
    """
    return log_fisher + log_spread[:, :1]


def labelled(names: list[str], gain: Float64[np.ndarray, "prompts directions states"]) -> xr.Dataset:
    """Slope of each direction in nats per layer, its interval over prompts, and what it is called."""
    found: SlopeLabels = classify(slopes(gain))
    return xr.Dataset(
        {
            "slope": ("direction", found.slope),
            "slope_low": ("direction", found.low),
            "slope_high": ("direction", found.high),
            "label": ("direction", found.label),
        },
        coords={"direction": names},
    )


def _of_kind(names: list[str], kind: str) -> list[int]:
    return [index for index, name in enumerate(names) if name.rsplit("_", 1)[0] == kind]


MEANINGS = {
    "pca": "leading principal directions of the prompt's input states",
    "token": "tokens replaced by others of the prompt",
    "order": "neighbouring tokens exchanged",
    "random": "isotropic random directions, the baseline",
}

DIAGNOSTIC = Diagnostic(
    name="operator_gain",
    catalogue="D10",
    title="Operator gain: what grows along the flow and what dies out",
    depth="state",
    quantities=(
        *(Quantity(f"gain_{kind}", "nats", f"ln g_l / g_0: {meaning}") for kind, meaning in MEANINGS.items()),
        *(
            Quantity(f"end_{kind}", "nats", f"ln output-Fisher length at the output end for |u| = s_0: {meaning}")
            for kind, meaning in MEANINGS.items()
        ),
    ),
    requires=frozenset({"states", "gains"}),
    measure=operator_gain,
    assumption="perturbations are infinitesimal and of independent sign from token to token; s_l is taken between the recorded "
    "tokens of different prompts; in a gauge model frames and token precisions stay those of the tokens in place",
    reading="The trend of a gain is L times its slope per layer: positive relevant, negative irrelevant; `label` has the "
    "words. What random directions do as well says nothing about a kind of direction.",
    undefined=f"fewer than {MINIMUM_POOLED} prompts; a prompt of fewer than {SHORTEST} tokens besides the sink; end effects "
    "at all but the last state, or where the readout is of unknown form; everything where blocks are no maps of the residual "
    "stream alone",
    default=False,
)
