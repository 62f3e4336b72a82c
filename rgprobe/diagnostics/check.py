"""One row of the validation table: a diagnostic on a system whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Check", "Outcome"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a diagnostic must find on a system whose answer is known.

    Attributes:
        catalogue: identifier of the diagnostic in the catalogue, such as "D3".
        diagnostic: the function that is checked, "module:name" below `rgprobe.diagnostics`, or "package.module:name" below
            `rgprobe`. `measure` must reach it as an attribute of its module, so that a test may replace it by a wrong one.
        system: what it is given, in words.
        quantity: what is read off.
        units: of the quantity; "1" for a pure number.
        expected: the answer, from a closed form or the testbed's `exact`; a callable is evaluated when the row is run.
        tolerance: largest accepted |measured - expected|, absolute. It is the catalogue's and is not to be loosened.
        measure: samples the system, runs the diagnostic, reads the number off; seeded.
        at_least: the answer is a bound from below: measured >= expected - tolerance.
        perturbation: how the mutation test spoils the diagnostic's output by 5 tolerances: "shift" adds, "scale" multiplies by
            1 + 5 tolerance / |expected| (for what a constant does not change, a slope for one), "negate" changes the sign.
    """

    catalogue: str
    diagnostic: str
    system: str
    quantity: str
    expected: float | Callable[[], float]
    tolerance: float
    measure: Callable[[], float]
    units: str = "1"
    at_least: bool = False
    perturbation: Literal["shift", "scale", "negate"] = "shift"

    @property
    def answer(self) -> float:
        """The expected number."""
        return float(self.expected() if callable(self.expected) else self.expected)

    def run(self) -> Outcome:
        """Measure, and compare with the answer."""
        return Outcome(self, self.answer, float(self.measure()))


@dataclass(frozen=True)
class Outcome:
    """A row of the table, filled in.

    Attributes:
        check: the row.
        expected: the answer.
        measured: what the diagnostic gave.
    """

    check: Check
    expected: float
    measured: float

    @property
    def passed(self) -> bool:
        """Whether the measured number lies within the tolerance; a number that is not finite never does."""
        if not math.isfinite(self.measured):
            return False
        deviation = self.measured - self.expected
        return deviation >= -self.check.tolerance if self.check.at_least else abs(deviation) <= self.check.tolerance

    @property
    def verdict(self) -> str:
        """ "pass" or "FAIL"."""
        return "pass" if self.passed else "FAIL"
