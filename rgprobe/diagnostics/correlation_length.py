"""D7: over how many tokens correlations fall off, or by which power: the law of C(r), chosen by AIC.

Near a critical point correlations have no length: they fall as a power. On a finite prompt an exponential and a power law
look alike over less than a decade, so which one is printed, and what cannot be told is left out. Prompts that differ as wholes,
in topic say, leave correlations that fall to a floor and not to zero: either law alone takes the floor for a slow decay, and is
refused where an exponential above a floor explains more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float64

from rgprobe.diagnostics.correlation import connected_correlation
from rgprobe.diagnostics.decay_laws import Laws, best_law, distance_bins, fit_exponential, fit_laws, fit_power
from rgprobe.diagnostics.pooling import Estimates, common_window, spread_over_prompts, undefined
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "Decay", "correlation_length", "decay"]

NAMES = ("xi", "eta", "power_evidence")
SHORTEST = 32  # tokens: a correlation length needs four of itself, and eight points to be fitted to
DECADE = 10.0
EVIDENCE = 10.0  # difference of AIC from which one law is taken to be ruled out (Burnham and Anderson)


@dataclass(frozen=True, eq=False)
class Decay:
    """The laws of several curves C(r) / C(0), with what each prompt has to do with them.

    Attributes:
        laws: fitted to the curves from all prompts.
        xi, eta: with delete-one copies.
        power_evidence: AIC of the exponential minus AIC of the power law; positive favours the power law.
        cutoff_evidence: the smaller of those two minus AIC of the truncated power law; positive where neither suffices.
        reach: the distance up to which each point of the curve exceeds twice its standard error.
        length_holds: whether xi is to be believed: a law of decay better by 10 than no correlation and than a constant one, xi
            at most a quarter of the prompts' length, and neither a power law nor a floored exponential better by 10. The
            floored one contains the other, so that in one true exponential of five it is better by a little.
        exponent_holds: whether eta is: a decay as above, correlations over a decade or more, no exponential better by 10, and
            no floored one better at all.
        floor: b, where that is why either is not: no decay beyond a constant, or the floored exponential better than the
            power law, and by 10 than the exponential. NaN elsewhere.
        refused: why neither xi nor eta is to be believed, if so; empty otherwise.
    """

    laws: Laws
    xi: Estimates
    eta: Estimates
    power_evidence: Estimates
    cutoff_evidence: Float64[np.ndarray, "curves"]
    reach: Float64[np.ndarray, "curves"]
    length_holds: Bool[np.ndarray, "curves"]
    exponent_holds: Bool[np.ndarray, "curves"]
    floor: Float64[np.ndarray, "curves"]
    refused: tuple[str, ...]


def correlation_length(trace: BeliefTrace) -> Measurement:
    """xi, eta and the AIC evidence of the laws, by state; details hold the best law, the reach of C(r), its floor with the
    length above it, and the reasons of refusals."""
    window = common_window(trace)
    states = trace.sketches.sizes["state"]
    values = undefined(trace, NAMES, "state", states)
    if window is None or window.states.shape[2] < SHORTEST:
        return Measurement(values)
    found = decay([connected_correlation(window.states[:, state]) for state in range(states)], window.states.shape[2])
    pseudo = {
        "xi": np.where(found.length_holds, found.xi.pseudo_values(unbiased=True), np.nan),
        "eta": np.where(found.exponent_holds, found.eta.pseudo_values(), np.nan),
        "power_evidence": found.power_evidence.pseudo_values(),
    }
    fitted = found.length_holds | found.exponent_holds
    for name, rows in pseudo.items():
        kept = rows if name in ("xi", "eta") else np.where(fitted, rows, np.nan)
        values[name] = values[name].copy(data=spread_over_prompts(kept, window.prompts, trace.n_prompts))
    floored = np.isfinite(found.floor)
    details = {
        "law": ("state", np.where(fitted | floored, best_law(found.laws), "").astype(object)),
        "reach": ("state", found.reach),
        "cutoff_evidence": ("state", np.where(fitted, found.cutoff_evidence, np.nan)),
        "floor": ("state", found.floor),
        "length_above_floor": ("state", np.where(floored, found.laws.length_above_floor, np.nan)),
        "refused": ("state", np.array(found.refused, dtype=object)),
    }
    return Measurement(values, xr.Dataset(details))


def decay(curves: list[Estimates], length: int) -> Decay:
    """Fit the laws to curves C(r) / C(0), r = 0 ... R, and say which of them are to be believed.

    Points are weighted by their jackknife variance over prompts, the same for every delete-one copy.

    Args:
        curves: as `connected_correlation` returns them; a curve of NaN, of a state that does not vary, gives NaN.
        length: N, tokens of the prompts, of which xi may be a quarter.

    Example:
        >>> from rgprobe.diagnostics.correlation import connected_correlation
        >>> from rgprobe.testbeds import ising_chain
        >>> coupling = ising_chain.coupling_for(5.0)
        >>> spins = ising_chain.sample(length=512, chains=64, coupling=coupling, seed=0)[..., None].astype(float)
        >>> found = decay([connected_correlation(spins)], 512)
        >>> float(found.xi.full[0].round(2)), bool(found.exponent_holds[0])
        (4.86, False)
    """
    longest = len(curves[0].full) - 1
    average, r = distance_bins(longest), np.arange(1.0, longest + 1)
    points = [Estimates(each.full[1:] @ average.T, each.deleted[:, 1:] @ average.T) for each in curves]
    y = np.stack([each.full for each in points])
    deleted = np.stack([each.deleted for each in points], 1)  # (prompt, curve, point)
    error = np.stack([each.standard_error for each in points])
    known = np.isfinite(y).all(-1) & (error > 0).all(-1)
    # what is unknown is fitted as zero, and left out afterwards
    y, deleted = np.where(known[:, None], y, 0.0), np.where(known[:, None], deleted, 0.0)
    weight = np.where(known[:, None], error, 1.0) ** -2
    laws = fit_laws(y, weight, average, r)
    misfit = _misfit(laws, y, weight)
    (xi, exponential), (eta, power) = (
        fit_exponential(deleted, weight, average, r),
        fit_power(deleted, weight, average, r),
    )
    decided = laws.aic_exponential - laws.aic_power
    beyond = ~(y > 2 * error)
    ends = (average * r).max(-1) / average.max(-1)  # last distance of each group
    reach = np.where(beyond.any(-1), np.concatenate([[0.0], ends])[beyond.argmax(-1)], ends[-1])
    return Decay(
        laws=laws,
        xi=Estimates(laws.correlation_length, xi),
        eta=Estimates(laws.exponent, eta),
        power_evidence=Estimates(decided, (exponential - power) / misfit),
        cutoff_evidence=np.minimum(laws.aic_exponential, laws.aic_power) - laws.aic_truncated,
        reach=np.where(known, reach, np.nan),
        **_what_holds(laws, known, reach, length),
    )


def _what_holds(laws: Laws, known: np.ndarray, reach: np.ndarray, length: int) -> dict[str, Any]:
    """The fields of `Decay` that say what is to be believed."""
    exponential, power, floored = laws.aic_exponential, laws.aic_power, laws.aic_floored
    decays = known & (np.minimum(exponential, power) < np.minimum(laws.aic_none, laws.aic_constant) - EVIDENCE)
    above_floor = floored < exponential - EVIDENCE
    short_enough = laws.correlation_length <= length / 4
    length_holds = decays & ~above_floor & short_enough & (exponential < power + EVIDENCE)
    exponent_holds = decays & (power <= floored) & (reach >= DECADE) & (power < exponential + EVIDENCE)
    correlated = known & (np.minimum(laws.aic_constant, floored) < laws.aic_none - EVIDENCE)
    keeps_floor = correlated & (~decays | (above_floor & (floored < power)))
    floor = np.where(keeps_floor, laws.floor, np.nan)
    return {
        "length_holds": length_holds,
        "exponent_holds": exponent_holds,
        "floor": floor,
        "refused": _reasons(length_holds | exponent_holds, correlated, floor),
    }


def _reasons(reported: np.ndarray, correlated: np.ndarray, floor: np.ndarray) -> tuple[str, ...]:
    """In words, curve by curve; empty where xi or eta is reported."""
    words = np.where(correlated, "neither a length nor a power law can be told", "no correlations beyond noise")
    return tuple(
        "" if told else f"correlations keep a floor of {b:.2g}" if np.isfinite(b) else str(other)
        for told, b, other in zip(reported, floor, words, strict=True)
    )


def _misfit(laws: Laws, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The factor c by which the AIC of these laws was scaled, read back from that of no law."""
    nothing = (weight * y**2).sum(-1)
    return nothing / np.where(laws.aic_none > 0, laws.aic_none, 1.0) + (laws.aic_none <= 0)


DIAGNOSTIC = Diagnostic(
    name="correlation_length",
    catalogue="D7",
    title="Correlation length and exponent",
    depth="state",
    quantities=(
        Quantity("xi", "tokens", "correlation length: C(r) ~ exp(-r / xi)"),
        Quantity("eta", "1", "exponent of the power law C(r) ~ r^(-eta)"),
        Quantity("power_evidence", "1", "AIC of the exponential minus AIC of the power law; above 10 the power law has it"),
    ),
    requires=frozenset({"sketches"}),
    measure=correlation_length,
    assumption="as for the correlations; points of the curve err independently, which overstates differences of AIC; "
    "amplitudes are free, so that what is not shared with any other token may have any share",
    reading="A length that grows with depth is long-range order in the making; a power law over a decade or more would be "
    "criticality, and needs several prompt lengths to be claimed. A floor says that prompts differ as wholes.",
    undefined="fewer than 5 prompts of 32 tokens; no decay beyond noise (AIC of a law not 10 below those of no correlation and "
    "of a constant one); xi where it exceeds a quarter of the common length, or the power law or an exponential above a floor "
    "is better by 10; eta where C(r) exceeds twice its error over less than a decade, the exponential is better by 10, or the "
    "exponential above a floor is better; details name the floor",
)  # fmt: skip
