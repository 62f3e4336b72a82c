"""D3: temperature of attention against randomly rotated keys (T6): what norms and spectra make, and what alignment makes.

A head can be cold because its queries and keys are long, or because they lie along one another. Turning all keys of a head by
one random orthogonal matrix keeps the first and destroys the second (`rgprobe.probe.rotations` says exactly what is kept, in
both families); theta of turned keys is the null, and the ratio of spreads is the gain by alignment.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, reduction, sink_order
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "rotated_keys"]


def rotated_keys(trace: BeliefTrace) -> Measurement:
    """theta, spread and entropy of the sampled rows; the same under rotations as the null `rotated_keys`.

    `alignment_gain` is beta_sigma over its root mean square under rotations; a rotation is judged by the other ones.

    Raises:
        OptionError: a trace that did not collect rotations.
    """
    found = reduction(trace, "rotations").sel(sink=sink_order(trace))
    values = found[["theta", "beta_sigma", "normalised_entropy"]]
    power = values["beta_sigma"].isel(draw=slice(1, None)) ** 2
    draws = power.sizes["draw"]
    others = (power.sum("draw", skipna=False) - power) / (draws - 1)
    here = values.isel(draw=0)
    here = here.assign(alignment_gain=_ratio(here["beta_sigma"], power.mean("draw", skipna=False)))
    null = values.isel(draw=slice(1, None))
    null = null.assign(alignment_gain=_ratio(null["beta_sigma"], others))
    dims = ("sink", "prompt", "block", "head")
    # why a block has none is the same for every prompt
    reason = found["reason"].isel(prompt=0)
    details = xr.Dataset({"refused": reason.astype(object)})
    return Measurement(here.transpose(*dims), details, {"rotated_keys": null.transpose("draw", *dims)})


def _ratio(spread: xr.DataArray, power: xr.DataArray) -> xr.DataArray:
    return spread / np.sqrt(power.where(power > 0))


DIAGNOSTIC = Diagnostic(
    name="rotated_keys",
    catalogue="D3",
    title="Temperature against rotated keys",
    depth="block",
    quantities=(
        Quantity("theta", "1", "T1 of the sampled rows: sqrt(2 ln n) / std(s)"),
        Quantity("beta_sigma", "nats", "standard deviation of their scores"),
        Quantity("normalised_entropy", "1", "S / ln n of their weights"),
        Quantity(
            "alignment_gain", "1", "T6: beta_sigma over that of randomly rotated keys; above 1 alignment cools the head"
        ),
    ),
    requires=frozenset({"rotations"}),
    measure=rotated_keys,
    assumption="the null keeps the length of every query and key and the angles within each kind (of a gauge model: means "
    "turn, precisions and the prior stay), and destroys how queries lie to keys; under rotary positions they are taken after "
    "the embedding, so that the dependence of scores on distance goes as well",
    reading="A gain of 1 means that norms and spectra alone explain the temperature. Rotations differ from one another by "
    "chance, and most where few directions carry the keys.",
    undefined="no sampled row sees at least 8 keys; queries and keys that cannot be hooked, or that do not reproduce the "
    "scores (soft caps, score biases): `refused` says which",
    default=False,
)
