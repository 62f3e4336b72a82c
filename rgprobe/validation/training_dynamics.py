"""Rows of D26: steps in autocorrelated noise, and walks whose displacement has a known exponent."""

from __future__ import annotations

from functools import partial

import numpy as np

from rgprobe.diagnostics import changepoint, displacement
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


CHECKS = (
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
