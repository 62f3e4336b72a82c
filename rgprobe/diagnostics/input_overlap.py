"""D29: how much of a token's state is still what entered the network."""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "input_overlap", "overlap"]


def input_overlap(trace: BeliefTrace) -> Measurement:
    """Mean over the recorded tokens of cos(x_l, x_0), as it stands and with the mean token of the prompt taken out."""
    rows = []
    for prompt in range(trace.n_prompts):
        states = trace.states.values[prompt, :, : len(trace.recorded(prompt))].astype(np.float64)
        centred = states - states.mean(1, keepdims=True)
        connected = overlap(centred) if states.shape[1] > 2 else np.full(len(states), np.nan)
        rows.append([overlap(states), connected])
    names = ("overlap", "connected_overlap")
    return Measurement(xr.Dataset({n: (("prompt", "state"), np.array(rows)[:, i]) for i, n in enumerate(names)}))


def overlap(states: Float[np.ndarray, "state token width"]) -> Float64[np.ndarray, "state"]:
    """Mean over tokens of the cosine between each state and the first.

    Tokens whose state is zero on either side are left out; NaN where all are.

    Example:
        >>> overlap(np.array([[[1.0, 0.0]], [[1.0, 1.0]], [[0.0, 2.0]]])).round(4)
        array([1.    , 0.7071, 0.    ])
    """
    norms = np.linalg.norm(states, axis=-1)
    product = norms * norms[0]
    cosine = np.where(product > 0, (states * states[0]).sum(-1) / np.where(product > 0, product, 1.0), 0.0)
    count = (product > 0).sum(-1)
    return np.where(count > 0, cosine.sum(-1) / np.maximum(count, 1), np.nan)


DIAGNOSTIC = Diagnostic(
    name="input_overlap",
    catalogue="D29",
    title="Overlap of the residual state with its input",
    depth="state",
    quantities=(
        Quantity("overlap", "1", "cos(x_l, x_0), mean over tokens; 1 at the input end by construction"),
        Quantity("connected_overlap", "1", "the same with the prompt's mean token taken out of both"),
    ),
    requires=frozenset({"states"}),
    measure=input_overlap,
    assumption="the residual stream has one basis at all depths, so that states of different layers may be compared",
    reading="What is left of the input is what no layer has integrated out; random networks forget it at a rate of their own.",
    undefined="connected overlap with fewer than three recorded tokens, or where all tokens are alike",
)
