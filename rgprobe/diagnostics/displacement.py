r"""D26: how far a training run has moved from where it started, and by which law of time.

    ln |W_t - W_0| = H ln tau_t + const

H = 1 is motion in one direction, H = 1/2 diffusion (every step independent of the others), H near 0 a run that has stopped or
goes in circles. H is fitted by least squares over the checkpoints after the first; the squared displacement |W_t - W_0|^2 is a
sum over groups of coordinates (tensors, or heads), and its interval is a jackknife over groups with t of G - 1 degrees of
freedom, because the residuals of one curve along t are correlated by construction and say nothing about its slope's error.

**The clock.** Diffusion grows with the square root of the *sum of squared step lengths*, not of t. Under a learning rate eta_s
that warms up and decays, tau_t = sum_{s <= t} eta_s^2 is what uncorrelated steps would see; with tau = t a decaying rate lowers
the exponent of an honest random walk, and a warm-up raises it. Pass `learning_rates` wherever they are known.

Null: a random walk with the same checkpoints, groups and clock has H = 1/2 within `diffusive_spread`; for attention, whose
weights are bounded, the distance between two independent initialisations is where displacement must saturate.

Source: random walk of weights on a random landscape, Hoffer, Hubara, Soudry, NeurIPS 2017 (ultra-slow diffusion); elementary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy import stats

from rgprobe.errors import NumericalRefusal

__all__ = ["DisplacementExponent", "diffusive_spread", "displacement_exponent", "noise_driven_displacement"]

LEVEL = 0.95
LEAST_TIMES, LEAST_GROUPS = 4, 5


@dataclass(frozen=True)
class DisplacementExponent:
    """Slope of ln |W_t - W_0| against the logarithm of the clock.

    Attributes:
        exponent: H.
        low, high: 95% interval, jackknife over groups of coordinates.
        curvature: change of the local slope from the first half of the (log) clock to the second; a power law has none.
        decades: of the clock that the fit spans.
    """

    exponent: float
    low: float
    high: float
    curvature: float
    decades: float

    @property
    def is_diffusive(self) -> bool:
        """Whether the interval holds 1/2."""
        return self.low <= 0.5 <= self.high


def displacement_exponent(
    steps: Int64[np.ndarray, " times"],
    squared: Float64[np.ndarray, "times groups"],
    *,
    learning_rates: Float64[np.ndarray, " updates"] | None = None,
) -> DisplacementExponent:
    """Fit the law of displacement.

    Args:
        steps: training steps of the checkpoints after the first, increasing and positive.
        squared: |W_t - W_0|^2 of each group of coordinates.
        learning_rates: of every update from the first on, at least as many as the last step; the clock is then the sum of
            their squares, otherwise the step.

    Raises:
        NumericalRefusal: fewer than 4 checkpoints or 5 groups, less than a decade of the clock, or something that never moved.

    Example:
        >>> steps = np.array([1, 4, 16, 64, 256])
        >>> walk = np.random.default_rng(0).normal(size=(256, 40, 50)).cumsum(0)
        >>> found = displacement_exponent(steps, (walk[steps - 1] ** 2).sum(-1))
        >>> round(found.exponent, 2), found.is_diffusive
        (0.5, True)
    """
    clock = _clock(steps, learning_rates)
    _check(clock, squared)
    groups = squared.shape[1]
    full = _slope(clock, squared.sum(1))
    without = np.array([_slope(clock, squared.sum(1) - squared[:, group]) for group in range(groups)])
    pseudo = groups * full - (groups - 1) * without
    # of the pseudo-values' mean the bias is gone to first order; the estimate itself stays the plain one
    half = stats.t.ppf((1 + LEVEL) / 2, groups - 1) * pseudo.std(ddof=1) / np.sqrt(groups)
    middle = np.searchsorted(np.log(clock), np.log(clock[[0, -1]]).mean())
    middle = int(np.clip(middle, 1, len(clock) - 2))
    bend = _slope(clock[middle:], squared[middle:].sum(1)) - _slope(clock[: middle + 1], squared[: middle + 1].sum(1))
    return DisplacementExponent(
        full, full - float(half), full + float(half), bend, float(np.log10(clock[-1] / clock[0]))
    )


def diffusive_spread(
    steps: Int64[np.ndarray, " times"],
    *,
    coordinates: int,
    learning_rates: Float64[np.ndarray, " updates"] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Where the exponent of a random walk falls with 95% probability, at these checkpoints and in this many dimensions.

    Args:
        steps: as above.
        coordinates: effective number of independent coordinates; the squared displacement of many averages itself out.
        learning_rates: as above.
        draws: simulated walks.
        seed: of the simulation.

    Example:
        >>> low, high = diffusive_spread(np.array([1, 4, 16, 64]), coordinates=1000)
        >>> low < 0.5 < high, high - low < 0.1
        (True, True)
    """
    clock = _clock(steps, learning_rates)
    rng = np.random.default_rng(seed)
    spread = np.sqrt(np.diff(clock, prepend=0.0))
    walks = np.zeros((len(clock), draws))
    for _ in range(coordinates):
        walks += (spread[:, None] * rng.standard_normal((len(clock), draws))).cumsum(0) ** 2
    x = np.log(clock) - np.log(clock).mean()
    slopes = 0.5 * (x @ np.log(walks)) / (x @ x)
    tails = (1 - LEVEL) / 2
    return float(np.quantile(slopes, tails)), float(np.quantile(slopes, 1 - tails))


def noise_driven_displacement(
    steps: Int64[np.ndarray, " times"],
    learning_rates: Float64[np.ndarray, " updates"],
    *,
    betas: tuple[float, float] = (0.9, 0.95),
    groups: int = 8,
    coordinates: int = 200,
    seed: int = 0,
) -> Float64[np.ndarray, "times groups"]:
    """|W_t - W_0|^2 of weights that Adam moves by noise alone: independent Gaussian gradients of mean zero.

    What a run would do at the same learning rates if its gradients held no signal. Momentum makes neighbouring updates alike,
    which raises H, and the correction of its bias makes the first ones the longest, which lowers it: at a constant rate H is
    0.48 over steps 1 to 1,000, and tends to 1/2 on the clock of the squared learning rates. Assumed: gradients are
    independent between steps and of constant variance; no weight decay, no clipping. Their size is of no consequence to Adam.

    Args:
        steps: of the checkpoints, increasing and positive.
        learning_rates: of every update from the first on, at least as many as the last step.
        betas: of Adam.
        groups, coordinates: how many groups of how many coordinates.
        seed: of the gradients.

    Raises:
        NumericalRefusal: steps that do not increase from 1 on, or too few learning rates.

    Example:
        >>> steps = np.array([1, 10, 100, 1000])
        >>> squared = noise_driven_displacement(steps, np.ones(1000), coordinates=50)
        >>> round(displacement_exponent(steps, squared).exponent, 1), bool(np.allclose(squared[0], 50))
        (0.5, True)
    """
    _clock(steps, learning_rates)
    generator = np.random.default_rng(seed)
    shape = (groups, coordinates)
    first, second, weights = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    found, wanted = np.zeros((len(steps), groups)), {int(step): index for index, step in enumerate(steps)}
    for step in range(1, int(steps[-1]) + 1):
        gradient = generator.standard_normal(shape)
        first += (1 - betas[0]) * (gradient - first)
        second += (1 - betas[1]) * (gradient**2 - second)
        mean, square = first / (1 - betas[0] ** step), second / (1 - betas[1] ** step)
        weights -= learning_rates[step - 1] * mean / np.sqrt(square)
        if step in wanted:
            found[wanted[step]] = (weights**2).sum(1)
    return found


def _clock(
    steps: Int64[np.ndarray, " times"], learning_rates: Float64[np.ndarray, " updates"] | None
) -> Float64[np.ndarray, " times"]:
    if len(steps) == 0 or steps[0] < 1 or (np.diff(steps) <= 0).any():
        raise NumericalRefusal("steps", expected="positive and increasing", received=str(steps[:5]),
                               remedy="leave out the checkpoint of step 0 and any repeats")  # fmt: skip
    if learning_rates is None:
        return steps.astype(float)
    if len(learning_rates) < steps[-1]:
        raise NumericalRefusal("learning_rates", expected=f"one for each of {steps[-1]} updates",
                               received=str(len(learning_rates)), remedy="pass all of them")  # fmt: skip
    return np.cumsum(learning_rates**2)[steps - 1]


def _check(clock: Float64[np.ndarray, " times"], squared: Float64[np.ndarray, "times groups"]) -> None:
    if squared.shape[0] < LEAST_TIMES or squared.shape[1] < LEAST_GROUPS or clock[-1] < 10 * clock[0]:
        raise NumericalRefusal(
            "displacement", expected=f"{LEAST_TIMES} checkpoints over a decade of the clock, {LEAST_GROUPS} groups",
            received=f"{squared.shape[0]} over a factor {clock[-1] / clock[0]:.3g}, {squared.shape[1]} groups",
            remedy="keep log-spaced checkpoints",
        )  # fmt: skip
    if not np.isfinite(squared).all() or (squared.sum(1) <= 0).any():
        least = squared.sum(1).min()
        raise NumericalRefusal("displacement", expected="finite, and positive after the first step",
                               received=f"{least:.3g}", remedy="leave out checkpoints equal to the first")  # fmt: skip


def _slope(clock: Float64[np.ndarray, " times"], squared: Float64[np.ndarray, " times"]) -> float:
    x = np.log(clock) - np.log(clock).mean()
    return float(0.5 * (x @ np.log(squared)) / (x @ x))
