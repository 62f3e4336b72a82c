"""Rows of D26: steps in autocorrelated noise, and walks whose displacement has a known exponent. Of D23: updates of rows that
are known to follow the gradient, or the natural gradient.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from rgprobe.diagnostics import changepoint, displacement, fisher, update_alignment
from rgprobe.testbeds import fractional_walk, planted_step
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

SERIES, LEVEL = 3000, 0.05
STEPS = np.unique(np.geomspace(1, 4000, 13).round().astype(int))
GROUPS, WIDTH = 24, 30


def _found(length: int, phi: float, step: float) -> changepoint.Changepoints:
    series = planted_step.sample(series=SERIES, length=length, at=length // 2, step=step, phi=phi, seed=0)
    return changepoint.find_changepoints(series)


def _place(length: int, phi: float) -> float:
    """Mean of the first checkpoint after the change, over the series in which one is significant."""
    found = _found(length, phi, 8.0)
    significant = found.p_value <= LEVEL
    return float(found.index[significant].mean()) if significant.any() else float("nan")


def _alarms(length: int, phi: float) -> float:
    return float((_found(length, phi, 0.0).p_value <= LEVEL).mean())


def _squared(hurst: float, seed: int, width: int = WIDTH) -> np.ndarray:
    walk = fractional_walk.sample(times=STEPS.astype(float), coordinates=GROUPS * width, hurst=hurst, seed=seed)
    return (walk.reshape(len(STEPS), GROUPS, width) ** 2).sum(-1)


def _exponent(hurst: float) -> float:
    return displacement.displacement_exponent(STEPS, _squared(hurst, seed=0)).exponent


def _coverage() -> float:
    found = [displacement.displacement_exponent(STEPS, _squared(0.5, seed, width=3)) for seed in range(400)]
    return float(np.mean([each.low <= 0.5 <= each.high for each in found]))


def _rows(spread: float, keys: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Softmax of Gaussian scores of this standard deviation, and read-outs that know nothing of them."""
    generator = np.random.default_rng(0)
    scores = spread * generator.standard_normal((rows, keys))
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True), generator.standard_normal((rows, keys))


def _stepped(weights: np.ndarray, along: np.ndarray) -> np.ndarray:
    moved = weights * np.exp(-0.1 * (along - along.mean(-1, keepdims=True)))
    return moved / moved.sum(-1, keepdims=True)


def _gradient(weights: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    return np.stack([(np.diag(row) - np.outer(row, row)) @ v for row, v in zip(weights, slopes, strict=True)])


def _cosine(name: str, *, natural: bool) -> float:
    weights, slopes = _rows(2.0, 21, 40)
    along = slopes if natural else _gradient(weights, slopes)
    return float(getattr(update_alignment.update_alignment(weights, slopes, _stepped(weights, along)), name).mean())


def _between(spread: float) -> float:
    weights, slopes = _rows(spread, 64, 600)
    return float(update_alignment.update_alignment(weights, slopes, weights[::-1].copy()).between.mean())


def _noisy_descent() -> float:
    """Natural cosine of steps along the gradient that are as long as the noise on them."""
    weights, slopes = _rows(1.0, 64, 600)
    gradient = _gradient(weights, slopes)
    noise = np.random.default_rng(1).standard_normal(gradient.shape)
    along = gradient / np.linalg.norm(gradient, axis=-1, keepdims=True) + noise / 8  # of length 1 over 64 keys
    return float(update_alignment.update_alignment(weights, slopes, _stepped(weights, along)).natural.mean())


def _share_of_traces() -> float:
    weights, _ = _rows(2.0, 21, 40)
    return float(update_alignment.expected_between(weights).mean())


def _dense_share_of_traces() -> float:
    weights, _ = _rows(2.0, 21, 40)
    matrices = [np.diag(row) - np.outer(row, row) for row in weights]
    return float(np.mean([np.trace(f) / np.sqrt(20 * np.trace(f @ f)) for f in matrices]))


def _alignment_of_queries(spread: float) -> float:
    return float(fisher.natural_gradient_alignment(spread, keys=64, width=63, rows=64).mean())


CHECKS = (
    *(
        Check(
            catalogue="D23", diagnostic="update_alignment:update_alignment",
            system=f"40 rows of 21 keys, scores of deviation 2, a step along minus the {word}",
            quantity=f"cosine with minus the {word}", expected=1.0, tolerance=1e-6,
            measure=partial(_cosine, name, natural=natural),
        )
        for word, name, natural in (("gradient", "plain", False), ("natural gradient", "natural", True))
    ),
    *(
        Check(
            catalogue="D23", diagnostic="update_alignment:update_alignment",
            system=f"600 rows of 64 keys, scores of deviation {spread:g}, unrelated read-outs",
            quantity="cosine of gradient and natural gradient, against that of a query of 63 dimensions",
            expected=partial(_alignment_of_queries, spread),
            tolerance=0.03, measure=partial(_between, spread),
        )
        for spread in (0.5, 1.0, 2.0)
    ),
    Check(
        catalogue="D23", diagnostic="update_alignment:update_alignment",
        system="600 rows of 64 keys, scores of deviation 1, steps along minus the gradient with as much noise",
        quantity="cosine with minus the natural gradient, against plain x between",
        expected=lambda: float(np.sqrt(0.5) * update_alignment.expected_between(_rows(1.0, 64, 600)[0]).mean()),
        tolerance=0.03, measure=_noisy_descent,
    ),
    Check(
        catalogue="D23", diagnostic="update_alignment:expected_between",
        system="40 rows of 21 keys, scores of deviation 2, against the dense F",
        quantity="tr F / sqrt((n - 1) tr F^2)", expected=_dense_share_of_traces, tolerance=1e-6, measure=_share_of_traces,
    ),
    *(
        Check(
            catalogue="D26", diagnostic="changepoint:find_changepoints",
            system=f"3,000 series of {length} checkpoints, AR(1) noise of phi = {phi:g}, step of 8 standard deviations",
            quantity="first checkpoint after the change, where significant", expected=float(length // 2), tolerance=1.0,
            measure=partial(_place, length, phi), units="checkpoints",
        )
        for length, phi in ((12, 0.3), (50, 0.6))
    ),
    *(
        Check(
            catalogue="D26", diagnostic="changepoint:find_changepoints",
            system=f"3,000 series of {length} checkpoints, AR(1) noise of phi = {phi:g}, no step",
            quantity="share called a change at 5%", expected=LEVEL, tolerance=0.02, measure=partial(_alarms, length, phi),
        )
        for length, phi in ((12, 0.8), (24, 0.6), (50, 0.9))
    ),
    *(
        Check(
            catalogue="D26", diagnostic="displacement:displacement_exponent",
            system=f"fractional walk of 720 coordinates, 13 checkpoints, H = {hurst:g}", quantity="displacement exponent",
            expected=hurst, tolerance=0.02, measure=partial(_exponent, hurst),
        )
        for hurst in (0.3, 0.5, 0.8)
    ),
    Check(
        catalogue="D26", diagnostic="displacement:displacement_exponent",
        system="400 random walks of 72 coordinates, 13 checkpoints", quantity="share of 95% intervals that hold 1/2",
        expected=0.95, tolerance=0.03, measure=_coverage,
    ),
)  # fmt: skip
