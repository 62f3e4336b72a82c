"""Random initialisations whose logits are as large as a model's: was it learnt, or are logits merely large?

A network that was never trained predicts next to nothing, because its logits hardly differ. Its lens beliefs therefore agree,
are settled and condense into one at every depth, and whatever a trained model does to its predictions is more. Multiply the
gain of its final norm, and divergences grow and fall with depth although nothing was learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor, nn

from rgprobe.errors import OptionError
from rgprobe.probe.model import Probe

__all__ = ["final_gains", "logit_deviation", "match_logit_scale"]

MOST_TOKENS = 512  # of each prompt: V logits each
CLOSE = 0.02  # relative; half precision rounds gains
ROUNDS = 4  # one is enough where nothing but the final norm adds to logits
# the gain of a norm is its weight, or (Gemma) one more than its weight
CHANGES: tuple[Callable[[Tensor, float], Tensor], ...] = (
    lambda weight, factor: weight * factor,
    lambda weight, factor: (1 + weight) * factor - 1,
)


def logit_deviation(probe: Probe, prompts: Sequence[Int[Tensor, " _"]]) -> float:
    """Standard deviation of logits over the vocabulary, root mean square over tokens (the first 512 of each prompt)."""
    variances = []
    with torch.no_grad():
        for ids in prompts:
            variances.append(probe.logits(ids[:MOST_TOKENS]).double().var(-1, correction=0).cpu())
    return float(torch.cat(variances).mean().sqrt())


def final_gains(probe: Probe) -> dict[str, nn.Parameter]:
    """Parameters of the final norm, a gain among them, by name.

    Raises:
        OptionError: the model ends without a norm that has a gain.
    """
    norm = getattr(probe.bridge, "ln_final", None)
    found = {} if norm is None else {name.rpartition(".")[-1]: p for name, p in norm.named_parameters()}
    if not found.keys() & {"weight", "w"}:
        raise OptionError("scaled_nulls", expected="a model that ends in a norm with a gain", received=probe.name,
                          remedy="leave it out")  # fmt: skip
    return found


def match_logit_scale(null: Probe, prompts: Sequence[Int[Tensor, " _"]], wanted: float) -> float:
    """Scale the gain (and bias) of the final norm, in place, until logits deviate by as much as is wanted.

    Args:
        null: a model that may be changed.
        prompts: over which `logit_deviation` is taken.
        wanted: the deviation.

    Returns:
        what the gain was multiplied by.

    Raises:
        OptionError: there is no gain, or logits do not follow it within 2%: they are capped, or all alike.
    """
    parameters = final_gains(null)
    drawn = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    plain = reached = logit_deviation(null, prompts)
    for changed in CHANGES if plain > 0 else ():
        factor = wanted / plain
        for _ in range(ROUNDS):
            with torch.no_grad():
                for name, parameter in parameters.items():
                    bias = name.startswith("b")
                    parameter.copy_(drawn[name] * factor if bias else changed(drawn[name], factor))
            reached = logit_deviation(null, prompts)
            if abs(reached / wanted - 1) <= CLOSE:
                return factor
            factor *= wanted / reached
    raise OptionError("scaled_nulls", expected=f"logits that follow the gain of the final norm to a deviation of {wanted:.3g}",
                      received=f"{reached:.3g} from {null.name}", remedy="leave it out")  # fmt: skip
