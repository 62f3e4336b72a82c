"""D12: does the flow slow down? Change of states, kernels and predictions from one layer to the next.

A falling angular step or a rising CKA is what a random network shows as well (its kernel converges with depth), so each
of these is worth something only against random initialisations, and the kernel's own distance to theirs is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "angles", "calibrate", "debiased_cka", "plateau"]


def plateau(trace: BeliefTrace) -> Measurement:
    """Angle, 1 - CKA, KL(p_l || p_{l+1}) and kernel change between consecutive states, over the recorded tokens."""
    rows = [_one_prompt(trace, prompt) for prompt in range(trace.n_prompts)]
    steps = np.stack([row[0] for row in rows])  # (prompt, quantity, transition)
    dims = ("prompt", "transition")
    values = xr.Dataset({name: (dims, steps[:, i]) for i, name in enumerate(("angle", "cka_distance", "kernel_step"))})
    if "kl_to_next" in trace.lens:
        kl = trace.lens["kl_to_next"].isel(state=slice(None, -1)).mean("position").rename(state="transition")
        values["kl"] = kl.transpose(*dims)
    else:
        values["kl"] = xr.full_like(values["angle"], np.nan)
    values["kernel_distance_to_init"] = xr.full_like(values["angle"], np.nan)
    size = max(row[1].shape[-1] for row in rows)
    kernels = np.full((len(rows), rows[0][1].shape[0], size, size), np.nan)
    for kernel, row in zip(kernels, rows, strict=True):
        kernel[:, : row[1].shape[1], : row[1].shape[2]] = row[1]
    return Measurement(values, private=xr.Dataset({"kernel": (("prompt", "state", "position", "source"), kernels)}))


def calibrate(measurement: Measurement, null: Sequence[Measurement]) -> Measurement:
    """Distance of the kernel at the end of each transition from the kernels of random initialisations.

    < ||K - K_s||_F / ||K_s||_F >_s, the mean over the given null measurements s on the same prompts. Not the distance from the
    mean kernel: that is the noisier the fewer initialisations it is made of, so an initialisation, judged by the S - 1 others,
    would lie farther off than the model, judged by all S, even if the model were one more draw.
    """
    if not null:
        return measurement
    distances = [_relative_distance(measurement.private["kernel"], other.private["kernel"]) for other in null]
    distance = xr.concat(distances, "seed").mean("seed").isel(state=slice(1, None)).rename(state="transition")
    values = measurement.values.assign(kernel_distance_to_init=distance.transpose("prompt", "transition"))
    return Measurement(values, measurement.details, measurement.internal_nulls, measurement.private)


def _relative_distance(kernel: xr.DataArray, reference: xr.DataArray) -> xr.DataArray:
    """||K - K_s||_F / ||K_s||_F by prompt and state."""
    dims = ("position", "source")
    gap = xr.ufuncs.sqrt(((kernel - reference) ** 2).sum(dims) / (reference**2).sum(dims))
    # the kernel of a single normalised token is 1 in every network
    return gap.where(reference.notnull().sum(dims) > 1)


def angles(a: Float[np.ndarray, "*rows d"], b: Float[np.ndarray, "*rows d"]) -> Float[np.ndarray, "*rows"]:
    """Angle between vectors in degrees, accurate for small ones: 2 atan2(|a^ - b^|, |a^ + b^|) (Kahan).

    Example:
        >>> angles(np.array([[1.0, 0.0]]), np.array([[1.0, 1e-9]])) * np.pi / 180
        array([1.e-09])
    """
    a = a / np.linalg.norm(a, axis=-1, keepdims=True)
    b = b / np.linalg.norm(b, axis=-1, keepdims=True)
    return np.degrees(2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)))


def debiased_cka(a: Float[np.ndarray, "n n"], b: Float[np.ndarray, "n n"]) -> float:
    """Centred kernel alignment of two Gram matrices with the unbiased HSIC; NaN below four tokens.

    With few tokens in many dimensions the biased estimator is near 1 for unrelated kernels.

    Source: Song et al., JMLR 13 (2012), U-centred Gram matrices; Kornblith et al., ICML 2019.
    """
    if len(a) < 4:
        return float("nan")
    a, b = _u_centred(a), _u_centred(b)
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def _u_centred(kernel: np.ndarray) -> np.ndarray:
    n = len(kernel)
    kernel = kernel - np.diag(np.diag(kernel))
    rows = kernel.sum(1) / (n - 2)
    centred = kernel - rows[:, None] - rows[None, :] + kernel.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0)
    return centred


def _one_prompt(trace: BeliefTrace, prompt: int) -> tuple[np.ndarray, np.ndarray]:
    count = len(trace.recorded(prompt))
    states = trace.states.values[prompt, :, :count].astype(np.float64)
    unit = states / np.linalg.norm(states, axis=-1, keepdims=True)
    kernels = unit @ unit.transpose(0, 2, 1)
    pairs = list(pairwise(kernels))
    return np.stack(
        [
            angles(states[:-1], states[1:]).mean(-1),
            [1 - debiased_cka(a, b) for a, b in pairs],
            [np.linalg.norm(b - a) / np.linalg.norm(a) if count > 1 else np.nan for a, b in pairs],
        ]
    ), kernels


DIAGNOSTIC = Diagnostic(
    name="plateau",
    catalogue="D12",
    title="Plateau: change from layer to layer",
    depth="transition",
    quantities=(
        Quantity("angle", "degrees", "angle between a token's consecutive states"),
        Quantity("cka_distance", "1", "1 - CKA (unbiased) between kernels of consecutive states"),
        Quantity("kl", "nats", "KL(p_l || p_{l+1}) between consecutive predictions"),
        Quantity("kernel_step", "1", "relative change of the kernel of normalised states"),
        Quantity(
            "kernel_distance_to_init", "1", "relative distance of the kernel from that of a random initialisation"
        ),
    ),
    requires=frozenset({"states", "beliefs"}),
    measure=plateau,
    calibrate=calibrate,
    assumption="states are compared after normalisation, as the network's own norms do; kernels are empirical NNGP kernels",
    reading="A step that shrinks with depth is a plateau only if it shrinks more than in random networks of the same shape.",
    undefined="fewer than four recorded tokens (CKA), or two (kernels); "
    "no random initialisation (distance to it); other beliefs than lens (KL: those of "
    "different blocks have no common basis)",
)
