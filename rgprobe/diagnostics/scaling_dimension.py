r"""D10: scaling dimensions y = ln(g_(l+1) / g_l) / ln b_l: growth of perturbations in units of the coarse-graining itself.

Operator gains grow per layer, but a layer is no unit of scale. A renormalization step has one: b_l = N_l / N_(l+1), the ratio
of effective token numbers at equal loss. Where a layer does not coarse-grain, ln b is zero within its error, and a ratio with
it is any number: there nothing is reported, and the reason is.

The interval is Fieller's for a ratio of two means over prompts,

.. math:: (\bar A - y \bar B)^2 \le t^2\, \mathrm{se}^2(\bar A - y \bar B),

A the growth and B = ln b of single prompts. It is bounded exactly where the t interval of B excludes 0, which is the condition
for reporting y at all.

Source: Fieller, J. R. Stat. Soc. B 16 (1954) 175; Cardy, Scaling and Renormalization in Statistical Physics (1996), ch. 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64

from rgprobe.diagnostics.condensation import tree_of
from rgprobe.diagnostics.gain_slopes import log_gains
from rgprobe.diagnostics.genealogy import BUDGET, log_tokens
from rgprobe.diagnostics.operator_gain import BASELINE
from rgprobe.diagnostics.pooling import MINIMUM_POOLED, Estimates
from rgprobe.diagnostics.prompt_spread import prompt_spread
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, reduction
from rgprobe.probe.gains import DIRECTIONS, SHORTEST
from rgprobe.student import t_quantile
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "ScalingDimensions", "scaling_dimension", "scaling_dimensions"]


@dataclass(frozen=True, eq=False)
class ScalingDimensions:
    """Scaling dimensions of operators, step by step.

    Attributes:
        y: pseudo-values whose mean over prompts is the scaling dimension; NaN where b is not above 1.
        low, high: Fieller's 95% interval.
        log_b: mean ln b over prompts.
        log_b_low, log_b_high: its 95% t interval.
    """

    y: Float64[np.ndarray, "prompts operators steps"]
    low: Float64[np.ndarray, "operators steps"]
    high: Float64[np.ndarray, "operators steps"]
    log_b: Float64[np.ndarray, "steps"]
    log_b_low: Float64[np.ndarray, "steps"]
    log_b_high: Float64[np.ndarray, "steps"]

    @property
    def refused(self) -> list[str]:
        """Why a step has no scaling dimension; "" where it has."""
        return [_reason(low, high) for low, high in zip(self.log_b_low, self.log_b_high, strict=True)]


def scaling_dimensions(
    log_gain: Float[np.ndarray, "prompts operators states"], log_tokens: Float[np.ndarray, "prompts states"]
) -> ScalingDimensions:
    """y of each operator at each step from one state to the next, where b > 1 by its interval over prompts.

    Args:
        log_gain: ln g_l, any scale; for the whole flow pass its first and last state only.
        log_tokens: ln N_eff at the same states.

    Returns:
        NaN, with a reason, below five prompts and where the interval of ln b holds 0 or lies below it.

    Example:
        >>> layers = np.arange(4.0)
        >>> gain = np.tile(np.log(1.2) * layers, (5, 1, 1))
        >>> found = scaling_dimensions(gain, np.tile(-np.log(2.0) * layers, (5, 1)))
        >>> found.y.mean(0).round(6).tolist(), round(float(np.log(1.2) / np.log(2)), 6)
        ([[0.263034, 0.263034, 0.263034]], 0.263034)
    """
    growth, shrinking = np.diff(log_gain), -np.diff(log_tokens)
    operators, steps = growth.shape[1:]
    y, bounds = np.full(growth.shape, np.nan), np.full((2, operators, steps), np.nan)
    of_b = np.stack([_t_interval(shrinking[:, step]) for step in range(steps)], -1) if steps else np.empty((3, 0))
    for step in np.flatnonzero(of_b[1] > 0):
        for operator in range(operators):
            a, b = growth[:, operator, step], shrinking[:, step]
            here = np.isfinite(a) & np.isfinite(b)
            if here.sum() >= MINIMUM_POOLED and _t_interval(b[here])[1] > 0:
                y[here, operator, step] = _ratio(a[here], b[here]).pseudo_values()
                bounds[:, operator, step] = _fieller(a[here], b[here])
    return ScalingDimensions(y, *bounds, *of_b)


def scaling_dimension(trace: BeliefTrace) -> Measurement:
    """y by kind of direction, at the depth that a step leads to; the null draws are random directions of the same prompt."""
    found = reduction(trace, "gains")
    names = [str(name).rsplit("_", 1)[0] for name in found["direction"].values]
    lengths = found["log_length"].transpose("prompt", "direction", "state").values[..., : trace.n_depths]
    spread = prompt_spread(trace.states.values[:, : trace.n_depths])
    gains = np.full(lengths.shape, np.nan) if spread is None else log_gains(lengths, spread)
    left = np.array(
        [[log_tokens(tree_of(trace, p, d))[0] for d in range(trace.n_depths)] for p in range(trace.n_prompts)]
    )
    single = scaling_dimensions(gains, left)
    means = np.stack([gains[:, [name == kind for name in names]].mean(1) for kind in DIRECTIONS], 1)
    dims = ("prompt", trace.depth_dim)
    by_kind = _at_later_depth(scaling_dimensions(means, left).y)
    draws = np.moveaxis(_at_later_depth(single.y[:, [name == BASELINE for name in names]]), 1, 0)
    values = xr.Dataset({f"y_{kind}": (dims, by_kind[:, i]) for i, kind in enumerate(DIRECTIONS)})
    null = {f"y_{kind}": (("draw", *dims), draws) for kind in DIRECTIONS if kind != BASELINE}
    return Measurement(
        values, _details(means, left, trace.depth_dim), internal_nulls={"random_directions": xr.Dataset(null)}
    )


def _details(means: np.ndarray, left: np.ndarray, depth: str) -> xr.Dataset:
    """Intervals and refusals of each step, and of the whole flow."""
    steps, whole = scaling_dimensions(means, left), scaling_dimensions(means[..., [0, -1]], left[:, [0, -1]])
    arrays = {
        "log_b": ((depth,), _at_later_depth(steps.log_b)),
        "log_b_low": ((depth,), _at_later_depth(steps.log_b_low)),
        "log_b_high": ((depth,), _at_later_depth(steps.log_b_high)),
        "y_low": (("operator", depth), _at_later_depth(steps.low)),
        "y_high": (("operator", depth), _at_later_depth(steps.high)),
        "refused": ((depth,), np.array(["first", *steps.refused], dtype=object)),
        "whole_flow": (("operator",), whole.y.mean(0)[:, 0]),
        "whole_flow_low": (("operator",), whole.low[:, 0]),
        "whole_flow_high": (("operator",), whole.high[:, 0]),
        "whole_flow_log_b": ((), whole.log_b[0]),
        "whole_flow_log_b_low": ((), whole.log_b_low[0]),
        "whole_flow_log_b_high": ((), whole.log_b_high[0]),
    }
    return xr.Dataset(arrays, coords={"operator": list(DIRECTIONS)})


def _at_later_depth(steps: Float64[np.ndarray, "*batch steps"]) -> Float64[np.ndarray, "*batch depths"]:
    return np.concatenate([np.full((*steps.shape[:-1], 1), np.nan), steps], -1)


def _ratio(a: np.ndarray, b: np.ndarray) -> Estimates:
    return Estimates(np.asarray(a.sum() / b.sum()), (a.sum() - a) / (b.sum() - b))


def _t_interval(x: np.ndarray) -> np.ndarray:
    """Mean and 95% t interval over what is defined; NaN below `MINIMUM_POOLED` prompts."""
    x = x[np.isfinite(x)]
    if len(x) < MINIMUM_POOLED:
        return np.full(3, np.nan)
    half = t_quantile(len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return np.array([x.mean(), x.mean() - half, x.mean() + half])


def _fieller(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Roots of the quadratic in y; the mean of b differs from 0 by its interval, so both are real."""
    (aa, ab), (_, bb) = np.cov(a, b) / len(a) * t_quantile(len(a) - 1) ** 2
    square, middle, rest = b.mean() ** 2 - bb, a.mean() * b.mean() - ab, a.mean() ** 2 - aa
    root = np.sqrt(max(middle**2 - square * rest, 0.0))
    return float((middle - root) / square), float((middle + root) / square)


def _reason(low: float, high: float) -> str:
    if np.isnan(low):
        return f"fewer than {MINIMUM_POOLED} prompts"
    return "" if low > 0 else f"b is not above 1: ln b between {low:.3g} and {high:.3g}"


DIAGNOSTIC = Diagnostic(
    name="scaling_dimension",
    catalogue="D10",
    title="Scaling dimensions: operator gain per coarse-graining",
    depth="state",
    quantities=tuple(
        Quantity(f"y_{kind}", "1", f"ln of the gain of {kind} directions over the step to this depth, over ln b")
        for kind in DIRECTIONS
    ),
    requires=frozenset({"beliefs", "states", "gains"}),
    measure=scaling_dimension,
    assumption=f"b is the ratio of effective token numbers at {BUDGET:g} nats per token (see `genealogy`), the gain that of "
    "`operator_gain`; a sequence is taken for one-dimensional, so a number of tokens is a length",
    reading="y > 0 relevant, y < 0 irrelevant, per e-fold of coarse-graining; where a step is refused the layer does not "
    "coarse-grain, and operator gains have slopes per layer only.",
    undefined=f"the first depth; steps whose ln b is not above 0 by its interval (`refused` says so); fewer than "
    f"{MINIMUM_POOLED} prompts; prompts of fewer than {SHORTEST} tokens besides the sink",
    default=False,
)
