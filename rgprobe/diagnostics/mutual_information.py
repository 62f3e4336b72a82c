"""D8: mutual information between the states of tokens r apart, and how fast it falls off.

Correlation sees one number per pair of tokens; information sees every linear relation between their leading coordinates, the
antisymmetric ones too. For one correlation length both agree: I ~ C^2 / 2, so information falls off with xi / 2.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64, Int
from scipy import special, stats

from rgprobe.diagnostics.decay_laws import fit_exponential, fit_laws
from rgprobe.diagnostics.pooling import Estimates, common_window, spread_over_prompts, undefined
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "distances_up_to", "gaussianised", "information", "information_length", "mutual_information"]

DISTANCES = (1, 4, 16)
NAMES = (*(f"information_{r}" for r in DISTANCES), "information_length")
COMPONENTS = 4
SHORTEST = 32
EVIDENCE = 10.0


def mutual_information(trace: BeliefTrace) -> Measurement:
    """I(r) at a few distances and its decay length by state; the curve, with its standard error, in the details."""
    window = common_window(trace)
    states = trace.sketches.sizes["state"]
    values = undefined(trace, NAMES, "state", states)
    if window is None or window.states.shape[2] < SHORTEST:
        return Measurement(values)
    r = distances_up_to(window.states.shape[2] // 2)
    curves, pseudo = [], []
    for state in range(states):
        scores = gaussianised(window.states[:, state])
        found = information(scores, r)
        rows = found.pseudo_values(unbiased=True)
        curves.append([rows.mean(0), found.standard_error])
        length = information_length(found, r, components=scores.shape[-1])
        pseudo.append(np.column_stack([rows[:, np.searchsorted(r, DISTANCES)], length.pseudo_values()]))
    for index, name in enumerate(NAMES):
        rows = np.stack([each[:, index] for each in pseudo], 1)
        values[name] = values[name].copy(data=spread_over_prompts(rows, window.prompts, trace.n_prompts))
    dims = ("state", "distance")
    arrays = zip(("information", "information_error"), np.stack(curves, 1), strict=True)
    return Measurement(values, xr.Dataset({n: (dims, a.astype("float32")) for n, a in arrays}, {"distance": r}))


def gaussianised(states: Float[np.ndarray, "prompt site coordinate"]) -> Float64[np.ndarray, "prompt site component"]:
    """Leading principal components, each turned into normal scores: Phi^-1((rank - 1/2) / n) over all prompts and sites.

    Information between monotone functions of single coordinates is that between the coordinates. Ties share their mean rank,
    so spins stay two-valued.
    """
    flat = states.reshape(-1, states.shape[-1]).astype(np.float64)
    flat = flat - flat.mean(0)
    components = flat @ np.linalg.eigh(flat.T @ flat)[1][:, ::-1][:, :COMPONENTS]
    scores = special.ndtri((stats.rankdata(components, axis=0) - 0.5) / len(components))
    return scores.reshape(*states.shape[:2], -1)


def information(
    scores: Float[np.ndarray, "prompt site component"], distances: Int[np.ndarray, "distance"]
) -> Estimates:
    """I(r) = -1/2 ln det(1 - rho_r rho_r^T) of Gaussian variables, nats, and its delete-one copies.

    rho_r are the canonical correlations between x_i and x_(i+r), from covariances over prompts with the position mean taken
    out, averaged over i. With k components, information is biased upwards by about k^2 / 2n: use
    `pseudo_values(unbiased=True)`, the jackknife over prompts, which takes that out whatever the correlations within a prompt.

    Example:
        >>> z = np.random.default_rng(0).standard_normal((300, 40, 1))
        >>> pair = np.concatenate([z, 0.6 * z + 0.8 * np.random.default_rng(1).standard_normal(z.shape)], 1)
        >>> round(float(information(pair, np.array([40])).full[0]), 2), round(-float(np.log(1 - 0.36)) / 2, 2)
        (0.22, 0.22)
    """
    x = scores - scores.mean(0, dtype=np.float64)
    prompts, sites, size = x.shape
    curves = []
    for r in distances:
        pairs = np.concatenate([x[:, : sites - r], x[:, r:]], -1)
        moments = np.einsum("pia,pib->pab", pairs, pairs, optimize=True)
        total = moments.sum(0)
        each = np.concatenate([total[None], total - prompts / (prompts - 1) * moments])
        # the scale of a determinant cancels: only the ratio of joint to marginal volume counts
        joint, first, second = (np.linalg.slogdet(m)[1] for m in (each, each[:, :size, :size], each[:, size:, size:]))
        curves.append((first + second - joint) / 2)
    table = np.stack(curves, 1)
    return Estimates(table[0], table[1:])


def information_length(found: Estimates, distances: Int[np.ndarray, "distance"], *, components: int) -> Estimates:
    """Decay length of I(r) at small I, tokens; NaN where there is no information beyond noise, or it exceeds R / 4.

    I itself is no exponential where it is large: two Gaussians of correlation c = exp(-r / xi) share -ln(1 - c^2) / 2, which
    bends up towards r = 0. So the law is fitted to k (1 - exp(-2 I / k)) / 2, which is I where I is small, and k c^2 / 2
    where all k components have one c; its length is xi / 2 then.

    Args:
        found: information, with its bias; what is fitted has the jackknife's estimate of that bias taken out.
        distances: r, up to R, half the length of the prompts.
        components: k.

    Source: Linfoot, Information and Control 1, 85 (1957), for 1 - exp(-2 I).
    """
    nothing = Estimates(np.asarray(np.nan), np.full(len(found.deleted), np.nan))
    small = Estimates(*(-components / 2 * np.expm1(-2 / components * each) for each in (found.full, found.deleted)))
    unbiased = small.pseudo_values(unbiased=True).mean(0)
    error = small.standard_error
    if not (np.isfinite(unbiased).all() and (error > 0).all()):
        return nothing
    prompts, bias = len(small.deleted), small.full - unbiased
    r, same = distances.astype(float), np.eye(len(distances))
    laws = fit_laws(unbiased, error**-2, same, r)
    decays = laws.aic_exponential < min(laws.aic_none, laws.aic_constant) - EVIDENCE
    # as in D7: a floor, where prompts differ as wholes, would be taken for a slow decay
    if not decays or laws.aic_floored < laws.aic_exponential - EVIDENCE or laws.correlation_length > r[-1] / 4:
        return nothing
    # a bias of order 1/P is that much larger without one prompt
    deleted = fit_exponential(small.deleted - bias * prompts / (prompts - 1), error[None] ** -2, same, r)[0]
    return Estimates(laws.correlation_length, deleted)


def distances_up_to(longest: int) -> Int[np.ndarray, "distance"]:
    """Distances that grow by about a quarter, with 1, 4 and 16 among them.

    Example:
        >>> distances_up_to(16)
        array([ 1,  2,  3,  4,  5,  6,  8, 10, 12, 16])
    """
    first = (1, 2, 3, 4, 5, 6, 8, 10, 12)
    grown = np.array([*first, *(base * 2**octave for octave in range(12) for base in (16, 20, 25))])
    return grown[grown <= longest]


DIAGNOSTIC = Diagnostic(
    name="mutual_information",
    catalogue="D8",
    title="Mutual information between tokens",
    depth="state",
    quantities=(
        *(
            Quantity(f"information_{r}", "nats", f"I({r}): mutual information between the states of tokens {r} apart")
            for r in DISTANCES
        ),
        Quantity("information_length", "tokens", "decay length of I(r) at small I: xi / 2 where there is one length"),
    ),
    requires=frozenset({"sketches"}),
    measure=mutual_information,
    assumption=f"the {COMPONENTS} leading components of a state, turned into normal scores one by one, are jointly Gaussian; "
    "otherwise the number is no bound either way (spins of correlation 0.82: 0.56 for 0.39 nats), but its decay length is "
    "kept; the jackknife over prompts takes out the bias of order 1/P",
    reading="0 is independence. Information that falls off with half the correlation length says nothing new; a slower fall is "
    "a relation that correlation does not see.",
    undefined="fewer than 5 prompts of 32 tokens; the length where no information exceeds noise, information keeps a floor, or "
    "it exceeds an eighth of the common length, as xi may a quarter",
    default=False,
)
