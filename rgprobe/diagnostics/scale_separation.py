"""D20: separation of scales: what do the micro variables still tell of the output once the macro ones are known?

A layer has integrated the micro variables out where I(micro; output | macro) is zero. Two ways to cut a layer into macro and
micro are measured: along variance (leading principal components against the next ones), and along the prompt (the mean of four
neighbouring tokens, a meta-token, against what its tokens are besides).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from rgprobe.diagnostics.canonical import (
    ROWS_PER_VARIABLE,
    covariances,
    gaussian_information,
    leading_scores,
    require_rows,
    shrinkage,
)
from rgprobe.diagnostics.pooling import MINIMUM_POOLED, Estimates, recorded_points, spread_over_prompts, undefined
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.errors import NumericalRefusal
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "MACRO", "MICRO", "OUTPUT", "Separation", "conditional_information", "scale_separation"]

MACRO, MICRO, OUTPUT = 4, 12, 4  # dimensions
VARIABLES = MACRO + MICRO + OUTPUT
GROUP = 4  # tokens of a meta-token
SHIFTS = 16
NAMES = ("component_information", "component_share", "token_information", "token_share")


@dataclass(frozen=True, eq=False)
class Separation:
    """Information about the output, nats, from all prompts and without each.

    Attributes:
        conditional: I(micro; output | macro).
        total: I(micro, macro; output).
        bias: what was taken out of `conditional` and `total` as the information of rows that do not belong together.
        shrink: the intensity by which correlations were shrunk.
    """

    conditional: Estimates
    total: Estimates
    bias: tuple[float, float]
    shrink: float

    def share(self) -> Estimates:
        """conditional / total; NaN where the total is no more than its own standard error."""
        known = self.total.full > self.total.standard_error
        divisor = [np.where(known & (each > 0), each, np.nan) for each in (self.total.full, self.total.deleted)]
        return Estimates(np.asarray(self.conditional.full / divisor[0]), self.conditional.deleted / divisor[1])


def scale_separation(trace: BeliefTrace) -> Measurement:
    """Information of the micro variables given the macro ones, and its share of the whole, by state."""
    states = trace.states.sizes["state"]
    values = undefined(trace, NAMES, "state", states)
    output = _components(trace, states - 1), _groups(trace, states - 1)
    for state in range(states - 1):
        for kind, here, end in zip(
            ("component", "token"), (_components(trace, state), _groups(trace, state)), output, strict=True
        ):
            found = _separated(here, end[0][:, :OUTPUT])
            if found is None:
                continue
            took_part, separation = found
            for name, estimate in (("information", separation.conditional), ("share", separation.share())):
                rows = spread_over_prompts(estimate.pseudo_values(), took_part, trace.n_prompts)
                values[f"{kind}_{name}"][:, state] = rows
    return Measurement(values)


def conditional_information(
    micro: Float[np.ndarray, "row micro"],
    macro: Float[np.ndarray, "row macro"],
    output: Float[np.ndarray, "row output"],
    *,
    owner: Int[np.ndarray, "row"],
    shifts: int = SHIFTS,
    seed: int = 0,
) -> Separation:
    """I(micro; output | macro) by Gaussian partial canonical correlation, shrunk and with its bias taken out.

    The estimate is -1/2 sum ln(1 - rho^2) over the partial canonical correlations. Of k and m variables in n independent rows
    it is k m / 2n too large; tokens of one prompt are not independent, so the bias is measured: the residuals of the micro
    variables are shifted around the circle of rows, by more than the longest prompt, which keeps the dependence of neighbouring
    rows and breaks that on the output. The mean over such shifts is subtracted.

    Args:
        micro, macro, output: variables, row by row; rows of one prompt stand together.
        owner: the prompt of each row; at least three, for none may have half of the rows.
        shifts: how many.
        seed: of the shifts.

    Raises:
        NumericalRefusal: fewer than 10 rows per variable, or a prompt with half of the rows.

    Example:
        >>> from rgprobe.testbeds import scale_separation as testbed
        >>> x = testbed.sample(rows=4000, coefficient=0.0)
        >>> found = conditional_information(x.micro, x.macro, x.output, owner=np.arange(4000) // 100)
        >>> bool(abs(found.conditional.full) < 0.002), bool(found.total.full > 0.3)
        (True, True)
    """
    sizes = micro.shape[1], macro.shape[1], output.shape[1]
    require_rows("I(micro; output | macro)", len(micro), sum(sizes))
    longest = int(np.bincount(owner).max())
    if 2 * longest >= len(micro):
        raise NumericalRefusal(
            "owner", expected="several prompts, none with half of the rows", received=f"{longest} of {len(micro)} rows in one",
            remedy="give more prompts",
        )  # fmt: skip
    design = np.column_stack([np.ones(len(macro)), macro])
    residual = micro - design @ np.linalg.lstsq(design, micro, rcond=None)[0]
    cut = np.cumsum(sizes)
    parts = slice(0, int(cut[0])), slice(int(cut[0]), int(cut[1])), slice(int(cut[1]), int(cut[2]))
    each = covariances(np.column_stack([residual, macro, output]), owner)
    shrink = shrinkage(each.full, len(micro))
    offsets = np.random.default_rng(seed).integers(longest, len(micro) - longest + 1, shifts)
    moved = [[np.column_stack([np.roll(residual, k, 0), macro, output]),
              np.column_stack([residual, macro, np.roll(output, k, 0)])] for k in offsets]  # fmt: skip
    null = np.array([[np.cov(rows.T, bias=True) for rows in pair] for pair in moved])
    bias = (
        float(_conditional(null[:, 0], parts, shrink).mean()),
        float(_total(null[:, 1], parts, shrink).mean()),
    )
    found = [
        _without_bias(Estimates(information(each.full, parts, shrink), information(each.deleted, parts, shrink)), known)
        for information, known in zip((_conditional, _total), bias, strict=True)
    ]
    return Separation(found[0], found[1], bias, shrink)


def _conditional(covariance: np.ndarray, parts: tuple[slice, slice, slice], shrink: float) -> np.ndarray:
    micro, macro, output = parts
    return gaussian_information(covariance, micro, output, given=macro, shrink=shrink)


def _total(covariance: np.ndarray, parts: tuple[slice, slice, slice], shrink: float) -> np.ndarray:
    micro, macro, output = parts
    return gaussian_information(covariance, slice(micro.start, macro.stop), output, shrink=shrink)


def _without_bias(found: Estimates, bias: float) -> Estimates:
    prompts = len(found.deleted)
    # a bias of order 1/P is that much larger without one prompt
    return Estimates(np.asarray(found.full - bias), found.deleted - bias * prompts / (prompts - 1))


Rows = tuple[Float64[np.ndarray, "row macro"], Float64[np.ndarray, "row micro"], Int[np.ndarray, "row"]]


def _components(trace: BeliefTrace, state: int) -> Rows:
    """Leading principal components of the recorded tokens, the next ones, and whose rows they are."""
    points, owner = recorded_points(trace, state)
    return leading_scores(points, MACRO), leading_scores(points, MICRO, skip=MACRO), owner


def _groups(trace: BeliefTrace, state: int) -> Rows:
    """Leading components of the means of neighbouring tokens, and of what the tokens are besides."""
    sites = trace.sketches.values[:, state]
    cut = sites[:, : sites.shape[1] - sites.shape[1] % GROUP].reshape(len(sites), -1, GROUP, sites.shape[-1])
    whole = np.isfinite(cut).all((2, 3))
    groups = cut[whole].astype(np.float64)
    mean = groups.mean(1, keepdims=True)
    inner = (groups - mean).reshape(len(groups), GROUP * sites.shape[-1])
    if len(groups) < ROWS_PER_VARIABLE * VARIABLES:
        nothing = np.empty((len(groups), 0))
        return nothing, nothing, np.nonzero(whole)[0]
    return leading_scores(mean[:, 0], MACRO), leading_scores(inner, MICRO), np.nonzero(whole)[0]


def _separated(here: Rows, output: Float64[np.ndarray, "row output"]) -> tuple[np.ndarray, Separation] | None:
    """Separation at one state, with the prompts that took part; None where there is too little of anything."""
    macro, micro, owner = here
    took_part, counts = np.unique(owner, return_counts=True)
    enough = len(took_part) >= MINIMUM_POOLED and 2 * counts.max() < len(owner)
    if (
        not enough
        or len(owner) < ROWS_PER_VARIABLE * VARIABLES
        or 0 in (macro.shape[1], micro.shape[1], output.shape[1])
    ):
        return None
    return took_part, conditional_information(micro, macro, output, owner=owner)


DIAGNOSTIC = Diagnostic(
    name="scale_separation",
    catalogue="D20",
    title="Separation of scales",
    depth="state",
    quantities=(
        Quantity(
            "component_information",
            "nats",
            f"I(micro; output | macro): components {MACRO + 1} to {MACRO + MICRO} of a state, given the leading {MACRO}, about "
            f"the leading {OUTPUT} of the token's last state",
        ),
        Quantity("component_share", "1", "the same as a share of what both tell together"),
        Quantity(
            "token_information",
            "nats",
            f"I(micro; output | macro): {GROUP} neighbouring tokens beside their mean, given the mean, about the mean of their "
            "last states",
        ),
        Quantity("token_share", "1", "the same as a share of what both tell together"),
    ),
    requires=frozenset({"states", "sketches"}),
    measure=scale_separation,
    assumption=f"normal scores of principal components are jointly Gaussian; correlations are shrunk towards 0, and the "
    f"information of {SHIFTS} circular shifts of the rows is taken out; what is reported per prompt is a jackknife "
    "pseudo-value; token groups are read in 32 random coordinates",
    reading="0: the macro variables are all that the output needs of this layer. A linear layer that keeps its components "
    "apart gives 0 without integrating anything out: compare with the random initialisation.",
    undefined=f"fewer than 5 prompts, fewer than {ROWS_PER_VARIABLE * VARIABLES} recorded tokens (or groups of {GROUP} "
    "tokens) in all; the last state, which is the output; a share of a total within its error",
    default=False,
)
