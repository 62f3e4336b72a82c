"""A map applied again and again: where it goes, how fast, and the fixed points that it runs away from.

An orbit x_(t+1) = F(x_t) is judged by its steps. It has reached a cycle of period p when x_t - x_(t-p) is below the
tolerance and stays there for p steps more, p the smallest such; a fixed point has p = 1. An orbit that alternates about a fixed
point while it approaches is told from a cycle by the size of its steps: those of a cycle are `DISTINCT` tolerances or more
(an approach by a factor within 1/DISTINCT of -1 per step is not told apart). Near a fixed point x* the error is
multiplied by F'(x*), so it is stable when the spectral radius rho of F' is below 1, and steps then shrink by rho. Unstable
ones, which renormalization calls critical, are no end of any orbit; Newton's method finds them, since F(x) - x vanishes
there all the same.

Source: Strogatz, Nonlinear Dynamics and Chaos, chapter 10; Kelley, Iterative Methods for Linear and Nonlinear Equations
(1995), chapters 5 and 6, for the inexact Newton method with GMRES.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy.sparse.linalg import LinearOperator, gmres
from torch import Tensor

from rgprobe.checks import whole_number
from rgprobe.errors import NumericalRefusal, OptionError
from rgprobe.probe.operator_spectra import Operator, leading_eigenvalue

__all__ = ["STATUSES", "FixedPoint", "Orbit", "contraction", "differences", "fixed_point", "iterate"]

Map = Callable[[Tensor], Tensor]
Status = Literal["converged", "cyclic", "diverged", "insufficient"]
STATUSES: tuple[Status, ...] = ("converged", "cyclic", "diverged", "insufficient")

BLOWN_UP = 1e6  # times the size of the start
DISTINCT = 1000
HALVINGS = 30  # of a Newton step that does not help


@dataclass(frozen=True, eq=False)
class Orbit:
    """What became of a point under iteration.

    Attributes:
        status: "converged" to a fixed point; "cyclic", of period 2 or more; "diverged", to infinity or NaN; "insufficient":
            none of these within the steps given, be it slow or chaotic.
        period: of the cycle, 1 for a fixed point; 0 if there is none.
        residuals: |x_(t+1) - x_t| / scale, one for each step made; scale is the largest |x_t| so far.
        point: the last one.
    """

    status: Status
    period: int
    residuals: Float64[Tensor, " steps"]
    point: Tensor


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """Where a map leaves everything as it is.

    Attributes:
        point: x*.
        residual: |F(x*) - x*| / max(1, |x*|).
        eigenvalue: of F' at x*, the one of largest modulus; its modulus is the spectral radius, and above 1 the point is
            unstable.
    """

    point: Tensor
    residual: float
    eigenvalue: complex

    @property
    def stable(self) -> bool:
        """Whether orbits that start near it end in it."""
        return abs(self.eigenvalue) < 1


def iterate(
    function: Map,
    start: Float[Tensor, "*shape"],
    *,
    steps: int = 64,
    tolerance: float = 1e-8,
    longest: int = 8,
    watch: Map | None = None,
) -> Orbit:
    """Apply a map to its own output until that repeats itself, blows up, or the steps are spent.

    Args:
        function: F, from points of one shape to points of the same.
        start: x_0.
        steps: at most; at least 1.
        tolerance: on |x_t - x_(t-p)| / scale.
        longest: period that is looked for.
        watch: the part of a point that is compared; all of it by default.

    Raises:
        OptionError: steps or longest below 1, or a tolerance that is not positive.

    Example:
        >>> orbit = iterate(torch.cos, torch.tensor(1.0, dtype=torch.float64))
        >>> orbit.status, round(float(orbit.point), 6)
        ('converged', 0.739085)
        >>> iterate(lambda x: 3.2 * x * (1 - x), torch.tensor(0.3, dtype=torch.float64)).period  # the logistic map
        2
    """
    for name, value in (("steps", steps), ("longest", longest)):
        whole_number(name, value, least=1)
    if not tolerance > 0:
        raise OptionError("tolerance", expected="a positive number", received=str(tolerance), remedy="use 1e-8")
    seen = watch if watch is not None else lambda x: x
    x = start
    past = deque([seen(x).double()], maxlen=longest)
    scale = first = float(past[0].norm())
    residuals: list[float] = []
    streaks = np.zeros(longest, dtype=int)  # steps for which each period has held
    for _ in range(steps):
        x = function(x)
        now = seen(x).double()
        size = float(now.norm())
        gaps = np.array([float((now - before).norm()) for before in reversed(past)])
        if not math.isfinite(size) or size > BLOWN_UP * max(first, 1.0):
            return Orbit("diverged", 0, torch.tensor(residuals, dtype=torch.float64), x)
        scale = max(scale, size)
        residuals.append(float(gaps[0]) / scale if scale else 0.0)
        held = gaps <= tolerance * scale
        streaks[: len(gaps)] = np.where(held, streaks[: len(gaps)] + 1, 0)
        past.append(now)
        period = _period(streaks, gaps, DISTINCT * tolerance * scale)
        if period:
            found = torch.tensor(residuals, dtype=torch.float64)
            return Orbit("converged" if period == 1 else "cyclic", period, found, x)
    return Orbit("insufficient", 0, torch.tensor(residuals, dtype=torch.float64), x)


def _period(streaks: np.ndarray, gaps: np.ndarray, apart: float) -> int:
    """The smallest period that has held for longer than itself, its points being apart; 0 for none."""
    for period in 1 + np.flatnonzero(streaks > 1 + np.arange(len(streaks))):
        if (gaps[: period - 1] > apart).all():
            return int(period)
    return 0


def contraction(residuals: Float64[Tensor, " steps"], *, floor: float = 1e-13) -> float:
    """Factor by which steps shrink: exp of the slope of ln residual over the last half of those above the floor.

    It tends to the spectral radius where an orbit converges to a fixed point. NaN for fewer than 4 such steps.

    Args:
        residuals: of an `Orbit`.
        floor: where rounding takes over.

    Example:
        >>> round(contraction(iterate(lambda x: 0.3 * x, torch.ones(2, dtype=torch.float64)).residuals), 6)
        0.3
    """
    above = residuals[: int((residuals > floor).long().cumprod(0).sum())]
    tail = above[len(above) // 2 :].log().numpy()
    if len(tail) < 4:
        return float("nan")
    return float(np.exp(np.polyfit(np.arange(len(tail)), tail, 1)[0]))


def fixed_point(
    function: Map,
    start: Float[Tensor, "*shape"],
    *,
    push: Callable[[Tensor], Map] | None = None,
    tolerance: float = 1e-12,
    steps: int = 50,
) -> FixedPoint:
    """The fixed point that Newton's method reaches from a starting point, stable or not.

    Each step solves (F'(x) - 1) dx = x - F(x) by GMRES from products with F' alone, and is halved until |F(x) - x| falls.

    Args:
        function: F.
        start: near the fixed point that is looked for.
        push: point -> products u -> F'(x) u; by default central differences, good to about 1e-10 in float64.
        tolerance: on |F(x) - x| / max(1, |x|).
        steps: of Newton's method, at most.

    Raises:
        NumericalRefusal: no step lowers the residual any more, or the steps are spent.

    Example:
        >>> found = fixed_point(lambda x: 2 * x * x, torch.tensor([0.4], dtype=torch.float64))  # also 0, which is stable
        >>> round(float(found.point), 9), round(found.eigenvalue.real, 6), found.stable
        (0.5, 2.0, False)
    """
    pushed = push if push is not None else lambda point: differences(function, point)
    x = start.double()
    rest = function(x).double() - x
    for _ in range(steps):
        if float(rest.norm()) <= tolerance * max(1.0, float(x.norm())):
            return _found(x, rest, pushed(x))
        x, rest = _newton(function, x, rest, pushed(x))
    raise NumericalRefusal("fixed point", expected=f"a residual below {tolerance:g} within {steps} steps",
                           received=f"{float(rest.norm()):.1g}", remedy="start nearer to it, or allow more steps")  # fmt: skip


def differences(function: Map, point: Float[Tensor, "*shape"]) -> Map:
    """Products with the derivative of a map that is known by its values: (F(x + h u) - F(x - h u)) / 2 h.

    The step h keeps h |u| at the cube root of the rounding error, so the relative error is of order 1e-10 in float64.
    """
    scale = torch.finfo(torch.float64).eps ** (1 / 3) * max(1.0, float(point.norm()))

    def push(direction: Tensor) -> Tensor:
        length = float(direction.norm())
        h = scale / length if length > 0 else 1.0
        return (function(point + h * direction).double() - function(point - h * direction).double()) / (2 * h)

    return push


def _newton(function: Map, x: Tensor, rest: Tensor, push: Map) -> tuple[Tensor, Tensor]:
    """One step, shortened until it helps."""
    size, shape = x.numel(), x.shape

    def less_identity(vector: np.ndarray) -> np.ndarray:
        u = torch.from_numpy(np.asarray(vector, dtype=np.float64)).reshape(shape).to(x.device)
        return (push(u) - u).cpu().numpy().ravel()

    operator = LinearOperator((size, size), matvec=less_identity, dtype=np.float64)
    solution, _ = gmres(operator, -rest.cpu().numpy().ravel(), rtol=1e-6, restart=min(size, 64), maxiter=2)
    change = torch.from_numpy(solution).reshape(shape).to(x.device)
    for halving in range(HALVINGS):
        moved = x + change / 2**halving
        left = function(moved).double() - moved
        if float(left.norm()) < float(rest.norm()):
            return moved, left
    raise NumericalRefusal("fixed point", expected="a step that lowers |F(x) - x|", received=f"{float(rest.norm()):.1g}",
                           remedy="start nearer to it, or accept a larger tolerance")  # fmt: skip


def _found(x: Tensor, rest: Tensor, push: Map) -> FixedPoint:
    operator = Operator(x.numel(), lambda rows: push(rows[0].reshape(x.shape)).reshape(1, -1), _no_transpose)
    residual = float(rest.norm()) / max(1.0, float(x.norm()))
    return FixedPoint(x, residual, leading_eigenvalue(operator).value)


def _no_transpose(rows: Tensor) -> Tensor:
    raise NumericalRefusal("derivative", expected="products with F' alone", received="a product with its transpose",
                           remedy="differentiate the map in reverse")  # fmt: skip
