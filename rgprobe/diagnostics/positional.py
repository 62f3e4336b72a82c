"""D10 of position: which of its Fourier modes survive the layers, and how far moving tokens about changes states.

Where position is added to the input, its modes are directions in state space like any other: the component of the position
embeddings at a period, followed by the Jacobian. Where position turns queries and keys instead (rotary embeddings, frames),
no direction can be added; what is perturbed is the phase: token i is told that it stands at i + a_i, a a wave of that
period, and the answer is counted per token of displacement. The two have different units and are different quantities.

Symmetries: states of a model that does not care where a text stands (translation), where it stands relative to its
beginning (offset), that a filler precedes it, or in which order its context comes (permutation) do not change.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float64

from rgprobe.diagnostics.gain_slopes import log_gains
from rgprobe.diagnostics.operator_gain import labelled
from rgprobe.diagnostics.pooling import MINIMUM_POOLED, Estimates
from rgprobe.diagnostics.prompt_spread import prompt_spread
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, reduction
from rgprobe.probe.gains import SHORTEST
from rgprobe.probe.positions import MOVES, PERIODS, SHIFT
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "positional", "relative_changes"]


def positional(trace: BeliefTrace) -> Measurement:
    """Gains of Fourier modes of position, and changes of states under moves of tokens over s_l."""
    found = reduction(trace, "positions")
    spread = prompt_spread(trace.states.values)
    curves = {kind: found[kind].transpose("prompt", "period", "state").values for kind in ("mode", "phase")}
    changes = {name: found[name].transpose("prompt", "state").values for name in MOVES}
    if spread is None:
        gain = {kind: np.full(array.shape, np.nan) for kind, array in curves.items()}
        moved = {name: np.full(array.shape, np.nan) for name, array in changes.items()}
    else:
        gain = {kind: log_gains(array, spread) for kind, array in curves.items()}
        gain["mode"] = gain["mode"] - gain["mode"][..., :1]  # of an added mode the size at the input end is known
        moved = {name: relative_changes(array, spread) for name, array in changes.items()}
    names = [f"{kind}_{period}" for kind in gain for period in PERIODS]
    every = np.concatenate(list(gain.values()), 1)
    dims = ("prompt", "state")
    values = {name: (dims, every[:, index]) for index, name in enumerate(names)}
    return Measurement(
        xr.Dataset({**values, **{name: (dims, array) for name, array in moved.items()}}), labelled(names, every)
    )


def relative_changes(
    changes: Float64[np.ndarray, "prompts states"], spread: Estimates
) -> Float64[np.ndarray, "prompts states"]:
    """d_l / s_l per prompt, as values whose mean is mean_p d_p / s and whose variance carries that of s_l, to first order.

    Args:
        changes: d_l, root mean square change of each prompt's states; NaN where undefined.
        spread: ln s_l.

    Example:
        >>> half = Estimates(np.log([2.0]), np.log([[2.0], [2.0]]))
        >>> relative_changes(np.array([[1.0], [3.0]]), half).tolist()
        [[0.5], [1.5]]
    """
    ratio = changes / np.exp(spread.full)
    here = np.isfinite(ratio)
    mean = np.where(here, ratio, 0).sum(0) / here.sum(0).clip(1)
    return ratio - mean * (spread.pseudo_values() - spread.full)


DIAGNOSTIC = Diagnostic(
    name="positional",
    catalogue="D10",
    title="Position as an operator: gains of its Fourier modes, and symmetries it breaks",
    depth="state",
    quantities=(
        *(
            Quantity(f"mode_{period}", "nats", f"ln g_l / g_0 of the position embeddings' mode of {period} tokens")
            for period in PERIODS
        ),
        *(
            Quantity(f"phase_{period}", "nats", f"ln of change over s_l per token of a phase wave of {period} tokens")
            for period in PERIODS
        ),
        Quantity("translation", "1", f"change of states over s_l when all tokens stand {SHIFT} places further on"),
        Quantity("offset", "1", f"the same when all but the first token stand {SHIFT} places further on"),
        Quantity("filler", "1", f"the same behind {SHIFT} copies of the first token, put in front"),
        Quantity("permutation", "1", "change of the last token's state over s_l when its context is shuffled"),
    ),
    requires=frozenset({"states", "positions"}),
    measure=positional,
    assumption="modes are those of added position embeddings, phases those of rotary embeddings or frames; the two are not "
    "comparable; s_l is taken between the recorded tokens of different prompts",
    reading="A change of 1 is as much as another prompt would make. `translation` is 0 by construction with rotary "
    "positions; causal masks and the first token break the symmetry all the same, which `offset` and `filler` see.",
    undefined=f"fewer than {MINIMUM_POOLED} prompts; a prompt of fewer than {SHORTEST} tokens besides the sink, or shorter "
    f"than the period; modes where nothing is added to the input, phases where nothing is turned, and at the input end; no "
    f"room for {SHIFT} further tokens in the context; modes where blocks are no maps of the residual stream alone",
    default=False,
)
