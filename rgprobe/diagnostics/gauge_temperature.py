r"""D3 for gauge attention: its own temperature, and the temperature of the dot-product attention that it contains.

Gauge attention weighs keys by exp(-KL(q_i || q_j) / tau), tau = kappa sqrt(K). In the common frame, up to terms of i alone,
which cancel in the softmax,

    -KL / tau = [ mu_i^T Lambda_j mu_j
                  - (mu_i^T Lambda_j mu_i + mu_j^T Lambda_j mu_j + tr Lambda_j Sigma_i - log det Lambda_j) / 2 ] / tau.

The first term alone couples the two means, as a query and a key are coupled in dot-product attention,
exp(q_i . k_j / (T sqrt(K))), where T = 1 for a standard head: its score scale defines it. mu_i^T Lambda_j mu_i and
tr Lambda_j Sigma_i do not see where the key lies, only how precise it is: the farther out or the wider a query, the more it
shuns precise keys. If all beliefs are isotropic with one variance, Sigma_j = sigma^2 1, these two are of i alone, and the
coupling is mu_i . mu_j / (sigma^2 tau), so

    T sqrt(K) = sigma^2 kappa sqrt(K),    T = kappa sigma^2,

and what remains is a key bias, -|mu_j|^2 / (2 sigma^2 tau): isotropic gauge attention *is* dot-product attention at
temperature T. Otherwise each key j couples in its own way, by the matrix Lambda_j / tau. Its isotropic part is
(tr Lambda_j / K) 1 / tau, the rest is traceless. The coupling is linear in Lambda_j, so averages over keys are averages of
precisions: 1 / T = <lambda_jk> / kappa over keys j and coordinates k. Hence T = kappa sigma^2 with sigma^2 the *harmonic*
mean of the variances; in the arithmetic one a single uninformative token would outweigh all others. A trace is the same in
every frame, and so is T. The spread of precisions tells how far a head is from the isotropic limit.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, sink_order
from rgprobe.errors import OptionError
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "gauge_temperature"]


def gauge_temperature(trace: BeliefTrace) -> Measurement:
    """tau, T = kappa sigma^2, sigma^2 and the spread of precisions per head, over the keys of a prompt.

    sigma^2 = 1 / <lambda_jk> and spread = std(lambda_jk) / <lambda_jk>, over keys j, without the sink and with it, and
    coordinates k. tau is a parameter: the same for every prompt.

    Raises:
        OptionError: the trace of a standard model, or one that did not collect couplings.
    """
    couplings = trace.couplings
    if not couplings:
        raise OptionError("trace", expected="the couplings of a gauge model", received="none in this trace",
                          remedy="trace a gauge model, with 'couplings' among what it collects")  # fmt: skip
    tokens = xr.DataArray(np.arange(couplings.sizes["token"]), dims="token")
    policies = sink_order(trace)
    first = xr.DataArray([int(policy == "excluded") for policy in policies], dims="sink", coords={"sink": policies})
    keys = tokens >= first
    mean, power = (couplings[name].where(keys).mean("token") for name in ("precision", "squared_precision"))
    variance = 1 / mean
    tau, kappa = (couplings[name].isel(token=0) for name in ("tau", "kappa"))  # parameters: the same for all tokens
    # an isotropic head may come out a rounding below zero
    spread = xr.ufuncs.sqrt((power * variance**2 - 1).clip(min=0))
    values = {
        "tau": tau.broadcast_like(mean),
        "isotropic_temperature": kappa * variance,
        "effective_variance": variance,
        "precision_spread": spread,
    }
    return Measurement(xr.Dataset(values).transpose("sink", "prompt", "block", "head"))


DIAGNOSTIC = Diagnostic(
    name="gauge_temperature",
    catalogue="D3",
    title="Temperature of gauge attention",
    depth="block",
    quantities=(
        Quantity(
            "tau",
            "nats",
            "kappa sqrt(K), by which divergences are divided; a parameter of the head, so without interval or null; "
            "sqrt(K) before training",
            identity=True,
        ),
        Quantity(
            "isotropic_temperature",
            "1",
            "T = kappa sigma^2: temperature of the dot-product attention that isotropic beliefs would make; 1 in a "
            "standard head",
        ),
        Quantity(
            "effective_variance", "1", "sigma^2: harmonic mean of the keys' variances over tokens and coordinates"
        ),
        Quantity(
            "precision_spread", "1", "std / mean of the keys' precisions: 0 in the isotropic limit, where T says it all"
        ),
    ),
    requires=frozenset({"couplings"}),
    measure=gauge_temperature,
    assumption="T stands for the isotropic part of the coupling of means; anisotropy, key biases, and what wide or "
    "distant queries lose with precise keys are left out of it",
    reading="T below 1 couples means more strongly than a standard head couples equally long queries and keys. What comes of "
    "it on actual rows is told by the effective temperature, which compares across families.",
    undefined="attention that is not by divergence; without the sink, a prompt of one token. Not measured on standard models",
    families=("gauge",),
)
