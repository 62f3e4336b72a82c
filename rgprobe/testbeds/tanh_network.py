r"""Random tanh network: its largest Lyapunov exponent, from mean-field theory and from the network itself.

Layers x_(l+1) = W_l tanh(x_l) + b_l with weights N(0, sigma_w^2 / n) and biases N(0, sigma_b^2). At infinite width the
preactivations are Gaussian, of the variance q* that solves

    q = sigma_w^2 E[tanh(sqrt(q) z)^2] + sigma_b^2,      z standard normal,

and a small perturbation grows per layer by chi = sigma_w^2 E[sech(sqrt(q*) z)^4] in square: the exponent is ln(chi) / 2
nats per layer, order below and chaos above zero. At width n the measured exponent is a mean of logarithms, below the
logarithm of the mean by O(1/n).

Source: Poole, Lahiri, Raghu, Sohl-Dickstein, Ganguli, NeurIPS 2016 (arXiv:1606.05340); Sompolinsky, Crisanti, Sommers,
Phys. Rev. Lett. 61, 259 (1988).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor

from rgprobe.testbeds.options import require

__all__ = ["TanhMeanField", "TanhNetwork", "exact", "lyapunov_exponents", "sample"]


@dataclass(frozen=True)
class TanhMeanField:
    """What mean-field theory knows.

    Attributes:
        variance: q*, of the preactivations.
        chi: growth of a squared perturbation per layer.
        exponent: ln(chi) / 2, nats per layer.
    """

    variance: float
    chi: float
    exponent: float


@dataclass(frozen=True, eq=False)
class TanhNetwork:
    """Weights, biases and an input whose preactivations have the variance q*."""

    weights: Float[Tensor, "layers width width"]
    biases: Float[Tensor, "layers width"]
    inputs: Float[Tensor, "inputs width"]

    def layer(self, index: int, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """W_l tanh(x) + b_l."""
        return torch.tanh(x) @ self.weights[index].mT + self.biases[index]


def sample(
    *, width: int, depth: int, sigma_w: float = 1.5, sigma_b: float = 0.0, inputs: int = 1, seed: int = 0
) -> TanhNetwork:
    """A random network in float64, with Gaussian inputs already at the fixed point of the variance.

    Args:
        width: n, at least 1.
        depth: number of layers, at least 1.
        sigma_w: standard deviation of the weights times sqrt(n), > 0.
        sigma_b: standard deviation of the biases, >= 0.
        inputs: number of independent inputs, at least 1.
        seed: of the generator.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> network = sample(width=5, depth=2)
        >>> network.layer(0, network.inputs).shape
        torch.Size([1, 5])
    """
    for name, value in (("width", width), ("depth", depth), ("inputs", inputs)):
        require(value >= 1, name, expected="an integer >= 1", received=value)
    scale = exact(sigma_w=sigma_w, sigma_b=sigma_b).variance ** 0.5
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weights = normal(depth, width, width) * (sigma_w / width**0.5)
    return TanhNetwork(weights, sigma_b * normal(depth, width), scale * normal(inputs, width))


def exact(*, sigma_w: float = 1.5, sigma_b: float = 0.0) -> TanhMeanField:
    """Fixed point of the variance, chi and the Lyapunov exponent at infinite width.

    Raises:
        OptionError: sigma_w not positive or sigma_b negative.

    Example:
        >>> round(exact(sigma_w=1.5).exponent, 4)
        0.0652
    """
    require(0 < sigma_w < np.inf, "sigma_w", expected="a finite number > 0", received=sigma_w)
    require(0 <= sigma_b < np.inf, "sigma_b", expected="a finite number >= 0", received=sigma_b)
    # equal steps: exponentially accurate while they resolve tanh's poles, pi / (2 sqrt(q)) off the real axis, which
    # Gauss-Hermite nodes do not at large q
    z = np.linspace(-12.0, 12.0, 500 + int(160 * np.hypot(sigma_w, sigma_b)))
    weight = np.exp(-z * z / 2)
    weight /= weight.sum()

    def excess(q: float) -> float:
        return float(sigma_w**2 * (weight @ np.tanh(np.sqrt(q) * z) ** 2) + sigma_b**2 - q)

    # the map is concave in q: it has one fixed point above 0, or none (sigma_w <= 1 without biases), and then q* = 0
    ordered = excess(1e-12) <= 0
    variance = 0.0 if ordered else float(brentq(excess, 1e-12, sigma_w**2 + sigma_b**2, xtol=1e-15, rtol=1e-14))
    chi = float(sigma_w**2 * (weight @ (1 - np.tanh(np.sqrt(variance) * z) ** 2) ** 2))
    return TanhMeanField(variance, chi, float(np.log(chi) / 2))


def lyapunov_exponents(network: TanhNetwork, *, count: int = 1, seed: int = 0) -> Float[Tensor, "inputs count"]:
    """Mean growth of random tangent vectors, nats per layer, by re-orthonormalising them after every layer.

    Args:
        network: from `sample`.
        count: number of leading exponents.
        seed: of the first tangent vectors.

    Raises:
        OptionError: count below 1 or above the width.
    """
    inputs, width = network.inputs.shape
    require(1 <= count <= width, "count", expected=f"an integer from 1 to {width}", received=count)
    generator = torch.Generator().manual_seed(seed)
    frame, _ = torch.linalg.qr(torch.randn(inputs, width, count, generator=generator, dtype=torch.float64))
    x, growth = network.inputs, torch.zeros(inputs, count, dtype=torch.float64)
    for index in range(len(network.weights)):
        slope = 1 - torch.tanh(x) ** 2
        frame, r = torch.linalg.qr(network.weights[index] @ (slope[..., None] * frame))
        growth = growth + torch.diagonal(r, dim1=-2, dim2=-1).abs().log()
        x = network.layer(index, x)
    return growth / len(network.weights)
