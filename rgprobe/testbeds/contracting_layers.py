r"""Layers that carry every token towards a limit of its own by a fixed factor per layer, or leave it where it is.

Token i turns in a plane of its own, spanned by its limit v_i and an orthogonal unit vector u_i,

    x_l = cos(a_l) v_i + sin(a_l) u_i,      a_l = amplitude c^l,

so states stay unit vectors, the angle between successive layers is exactly amplitude (1 - c) c^l, and its logarithm falls by
ln c per layer: at c = 1 nothing moves. Whatever is stationary at equal arguments is of second order in the step,
so 1 - CKA(x_l, x_(l+1)), 1 - cosine and the KL divergence of any smooth read-out fall by 2 ln c per layer, up to
relative corrections of order a_l.

Source: elementary, from the two expansions above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rgprobe.testbeds.options import require

__all__ = ["ContractionTruth", "exact", "sample"]


@dataclass(frozen=True, eq=False)
class ContractionTruth:
    """What is known about the layers.

    Attributes:
        angles: between states l and l + 1, radians.
        one_minus_cosine: between states l and l + 1.
        angle_slope: ln c, per layer, of the logarithm of the angle; NaN where nothing moves.
        second_order_slope: 2 ln c, of 1 - cosine (exact for small steps), 1 - CKA and KL; NaN where nothing moves.
    """

    angles: Float64[np.ndarray, " layers"]
    one_minus_cosine: Float64[np.ndarray, " layers"]
    angle_slope: float
    second_order_slope: float


def sample(
    *, tokens: int, dim: int, layers: int, ratio: float, amplitude: float = 0.2, seed: int = 0
) -> Float64[np.ndarray, "states tokens dim"]:
    """States 0 ... layers; the identity for ratio = 1.

    Args:
        tokens: at least 1.
        dim: at least 2.
        layers: at least 1.
        ratio: c, in (0, 1].
        amplitude: angle of state 0 from the limit, radians, in [0, pi/2]; ratio = 1 rests at it.
        seed: of limits and planes.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> states = sample(tokens=3, dim=4, layers=2, ratio=0.5, amplitude=0.4)
        >>> np.arccos((states[:-1] * states[1:]).sum(-1)).round(12)
        array([[0.2, 0.2, 0.2],
               [0.1, 0.1, 0.1]])
    """
    _check(layers, ratio, amplitude)
    require(tokens >= 1, "tokens", expected="an integer >= 1", received=tokens)
    require(dim >= 2, "dim", expected="an integer >= 2", received=dim)
    limit, aside = np.moveaxis(np.linalg.qr(np.random.default_rng(seed).standard_normal((tokens, dim, 2)))[0], -1, 0)
    a = _angles(layers, ratio, amplitude)[:, None, None]
    return np.cos(a) * limit + np.sin(a) * aside


def exact(*, layers: int, ratio: float, amplitude: float = 0.2) -> ContractionTruth:
    """Angles between successive states, and the slopes of their logarithms.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> known = exact(layers=3, ratio=0.5, amplitude=0.4)
        >>> known.angles, round(known.angle_slope, 4)
        (array([0.2 , 0.1 , 0.05]), -0.6931)
    """
    _check(layers, ratio, amplitude)
    angles = -np.diff(_angles(layers, ratio, amplitude))
    slope = float(np.log(ratio)) if ratio < 1 and amplitude > 0 else float("nan")
    return ContractionTruth(angles, 2 * np.sin(angles / 2) ** 2, slope, 2 * slope)


def _angles(layers: int, ratio: float, amplitude: float) -> np.ndarray:
    return np.asarray(amplitude * ratio ** np.arange(layers + 1.0))


def _check(layers: int, ratio: float, amplitude: float) -> None:
    require(layers >= 1, "layers", expected="an integer >= 1", received=layers)
    require(0 < ratio <= 1, "ratio", expected="a number in (0, 1]", received=ratio)
    require(0 <= amplitude <= np.pi / 2, "amplitude", expected="a number in [0, pi/2]", received=amplitude)
