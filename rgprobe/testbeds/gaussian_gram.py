r"""Tokens of a planted Gram matrix in a wide random ReLU network: the Gram kernel of every layer is known.

Weights are N(0, 2 / width), without biases. At infinite width the preactivations of n tokens are jointly Gaussian with
covariance K_l (the NNGP kernel), the mean of squares is kept, and between tokens of angle theta,

    K_(l+1) = |a| |b| [sin theta + (pi - theta) cos theta] / pi,      cos theta = K_l / (|a| |b|).

Every cosine grows towards 1: at late layers 1 - cosine = 9 pi^2 / (2 l^2) without any training, a consensus by power law
that a trained network has to be compared with. At finite width the Gram matrix fluctuates by O(sqrt(l / width)).

Source: Cho & Saul, NeurIPS 2009 (arc-cosine kernel of degree 1); Lee et al., ICLR 2018 (arXiv:1711.00165).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rgprobe.testbeds.options import require

__all__ = ["GramTruth", "exact", "sample"]


@dataclass(frozen=True, eq=False)
class GramTruth:
    """The kernel and what follows from it.

    Attributes:
        kernels: Gram matrix over the width, x_l x_l^T / width, of states l = 0 ... layers.
        distances: 1 - <K_l, K_(l+1)> / (|K_l| |K_(l+1)|), Frobenius, between successive layers.
    """

    kernels: Float64[np.ndarray, "states tokens tokens"]
    distances: Float64[np.ndarray, " layers"]


def sample(
    *, gram: Float64[np.ndarray, "tokens tokens"], width: int, layers: int, seed: int = 0
) -> Float64[np.ndarray, "states tokens width"]:
    """States of one random network: inputs whose Gram matrix is exactly width times `gram`, then sqrt(2) relu(W x).

    Args:
        gram: positive semi-definite Gram matrix of the inputs over the width.
        width: at least the number of tokens.
        layers: at least 1.
        seed: of inputs' rotation and weights.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> states = sample(gram=np.eye(3), width=5, layers=2)
        >>> (states[0] @ states[0].T / 5).round(12)[0] + 0.0
        array([1., 0., 0.])
    """
    root = _root(gram)
    require(width >= len(gram), "width", expected=f"an integer >= {len(gram)}", received=width)
    require(layers >= 1, "layers", expected="an integer >= 1", received=layers)
    generator = np.random.default_rng(seed)
    frame, _ = np.linalg.qr(generator.standard_normal((width, len(gram))))
    states = [np.sqrt(width) * root @ frame.T]
    for _ in range(layers):
        weights = generator.standard_normal((width, width)) * np.sqrt(2 / width)
        states.append(np.maximum(states[-1] @ weights, 0.0))
    return np.stack(states)


def exact(*, gram: Float64[np.ndarray, "tokens tokens"], layers: int) -> GramTruth:
    """Kernels of all layers at infinite width, and their distances from layer to layer.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> known = exact(gram=np.eye(2), layers=2)
        >>> known.kernels[:, 0, 1].round(4)  # 0, 1 / pi, ...
        array([0.    , 0.3183, 0.4937])
    """
    _root(gram)
    require(layers >= 1, "layers", expected="an integer >= 1", received=layers)
    norms = np.sqrt(np.diagonal(gram))
    size = norms[:, None] * norms
    kernels = [np.asarray(gram, dtype=float)]
    for _ in range(layers):
        kernels.append(size * _dual(kernels[-1] / size))
    flat = np.stack(kernels).reshape(layers + 1, -1)
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    # 1 - cosine as half a squared distance, which does not cancel at late layers
    return GramTruth(np.stack(kernels), (np.diff(flat, axis=0) ** 2).sum(1) / 2)


def _dual(cosine: np.ndarray) -> np.ndarray:
    theta = np.arccos(np.clip(cosine, -1.0, 1.0))
    np.fill_diagonal(theta, 0.0)
    return (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / np.pi


def _root(gram: np.ndarray) -> np.ndarray:
    """Symmetric square root of a Gram matrix that is one."""
    fits = gram.ndim == 2 and gram.shape[0] == gram.shape[1] and bool(np.isfinite(gram).all())
    symmetric = fits and np.allclose(gram, gram.T, rtol=1e-12, atol=0) and bool((np.diagonal(gram) > 0).all())
    require(symmetric, "gram", expected="a symmetric matrix of positive diagonal", received=gram.tolist())
    values, vectors = np.linalg.eigh(gram)
    require(
        bool(values[0] >= -1e-12 * values[-1]), "gram", expected="no negative eigenvalue", received=float(values[0])
    )
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)
