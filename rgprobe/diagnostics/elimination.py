"""D15: elimination: how the final prediction is approached, and how many hypotheses are left on the way.

Entropy alone is the wrong test: it rises with depth in a network within 0.003 bits of the exact posterior. What falls, if
hypotheses are eliminated, is the divergence of the final belief from the current one.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "elimination"]

BITS = 1 / np.log(2)


def elimination(trace: BeliefTrace) -> Measurement:
    """Means over the recorded tokens of lens quantities, in bits; `kl_to_output` per token in the details.

    bits_gained(l) = KL(p_L || p_{l-1}) - KL(p_L || p_l), which sums over layers to KL(p_L || p_0).
    output_participation = 1 / sum_v p_v^2 and output_theta = sqrt(2 ln V) / std(logits) are the order parameters of the
    prediction itself. Answers are the next tokens of the prompt unless `trace` was given others.
    """
    lens = trace.lens
    mean = lens.mean("position", skipna=True).transpose("prompt", "state")
    to_output = mean["kl_to_output"] * BITS
    gained = to_output.shift(state=1) - to_output
    values = xr.Dataset(
        {
            "kl_to_output": to_output,
            "bits_gained": gained,
            "entropy": mean["entropy"] * BITS,
            "effective_hypotheses": xr.ufuncs.exp(lens["entropy"]).mean("position").transpose("prompt", "state"),
            "answer_surprisal": -mean["answer_log_probability"] * BITS,
            "answer_mass": xr.ufuncs.exp(lens["answer_log_probability"]).mean("position").transpose("prompt", "state"),
            "answer_rank": 2 ** (xr.ufuncs.log2(lens["answer_rank"]).mean("position")).transpose("prompt", "state"),
            "class_mass": xr.ufuncs.exp(lens["class_log_probability"]).mean("position").transpose("prompt", "state"),
            "output_participation": (1 / lens["purity"]).mean("position").transpose("prompt", "state"),
            "output_theta": np.sqrt(2 * np.log(trace.vocabulary))
            / mean["logit_deviation"].where(mean["logit_deviation"] > 0),
        }
    )
    per_token = (lens[["kl_to_output", "entropy"]] * BITS).transpose("prompt", "state", "position").astype("float32")
    return Measurement(values, per_token.rename({name: f"{name}_by_token" for name in per_token}))


DIAGNOSTIC = Diagnostic(
    name="elimination",
    catalogue="D15",
    title="Elimination of hypotheses",
    depth="state",
    quantities=(
        Quantity(
            "kl_to_output",
            "bits",
            "KL(p_L || p_l): bits of the final belief still missing; 0 at the output end by construction",
        ),
        Quantity("bits_gained", "bits", "fall of that divergence at this layer"),
        Quantity("entropy", "bits", "entropy of the prediction at this layer"),
        Quantity("effective_hypotheses", "1", "2^H: how many tokens are still in play"),
        Quantity("answer_surprisal", "bits", "-log2 p_l(answer)"),
        Quantity("answer_mass", "1", "p_l(answer)"),
        Quantity("class_mass", "1", "total probability of the class of answers, where one was given"),
        Quantity("answer_rank", "1", "rank of the answer, geometric mean"),
        Quantity("output_participation", "1", "1 / sum p^2 of the prediction"),
        Quantity("output_theta", "1", "sqrt(2 ln V) / std(logits): reduced temperature of the prediction"),
    ),
    requires=frozenset({"beliefs"}),
    measure=elimination,
    assumption="the model's own readout applies to every state (logit lens): it measures predictions, not states",
    reading="Elimination is a fall of KL to the output beyond that of random networks; a falling entropy alone shows nothing.",
    undefined="bits gained at the input end; answers at the last token and in bidirectional models; "
    "class mass where no class of answers was given",
    beliefs=("lens",),
)
