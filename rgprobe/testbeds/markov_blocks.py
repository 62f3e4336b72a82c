r"""Markov chain of weakly coupled blocks, built so that its whole spectrum is known.

k blocks, block b with a reversible chain W_b of its own and stationary law pi_b. A step follows W_b with probability
1 - eps, and with probability eps jumps to another block, each equally likely, landing at that block's stationary law:

    P = (1 - eps) diag(W_1 ... W_k) + eps / (k - 1) sum_(b != c) 1_b pi_c^T.

Then the stationary law is pi = (pi_1, ..., pi_k) / k, and the eigenvalues are

    1;   1 - k eps / (k - 1), k - 1 times (for two blocks lambda_2 = 1 - 2 eps), right eigenvectors constant on blocks;
    (1 - eps) mu for every other eigenvalue mu of every W_b, right eigenvectors those of W_b, zero on the other blocks.

(Landing at pi_c sends a right eigenvector f of W_c with mu < 1 to pi_c f = 0.) At eps = 0 the chain is block diagonal:
its eigenvectors are [v_A; 0] and [0; v_C], one block at a time, never [v_A; v_C] except by degeneracy.

Source: Simon & Ando, Econometrica 29, 111 (1961), nearly decomposable chains; the spectrum is derived above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from rgprobe.testbeds.options import require

__all__ = ["BlockChain", "BlockSpectrum", "chain", "exact", "sample"]


@dataclass(frozen=True, eq=False)
class BlockChain:
    """A chain and the parts it was made of.

    Attributes:
        transition: P, row-stochastic.
        within: block-diagonal matrix of the W_b.
        labels: block of each state.
        stationary: pi, of both P and `within`.
        epsilon: eps.
    """

    transition: Float64[np.ndarray, "states states"]
    within: Float64[np.ndarray, "states states"]
    labels: Int64[np.ndarray, " states"]
    stationary: Float64[np.ndarray, " states"]
    epsilon: float


@dataclass(frozen=True, eq=False)
class BlockSpectrum:
    """The spectrum of a chain; eigenvectors have unit norm in the stationary law, sum_i pi_i f_i^2 = 1.

    Attributes:
        eigenvalues: of P, descending.
        right: columns are right eigenvectors of P, in the order of the eigenvalues; orthonormal in the stationary law.
        lambda_2: 1 - k eps / (k - 1), the slow eigenvalue.
        blocks: block of each eigenvector, -1 for those constant on blocks.
    """

    eigenvalues: Float64[np.ndarray, " states"]
    right: Float64[np.ndarray, "states states"]
    lambda_2: float
    blocks: Int64[np.ndarray, " states"]


def chain(*, sizes: tuple[int, ...] = (4, 4), epsilon: float = 0.05, seed: int = 0) -> BlockChain:
    """A chain with random reversible blocks: W_b is a symmetric matrix of weights in (0, 1), rows normalised.

    Args:
        sizes: states of each block, at least two blocks of at least one state.
        epsilon: probability of leaving the block, in [0, 1).
        seed: of the weights.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> built = chain(sizes=(2, 3), epsilon=0.1)
        >>> built.labels, float(built.transition[:2, :2].sum(1).round(12)[0])
        (array([0, 0, 1, 1, 1]), 0.9)
    """
    fits = len(sizes) >= 2 and all(size >= 1 for size in sizes)
    require(fits, "sizes", expected="at least two blocks of at least one state", received=sizes)
    require(0 <= epsilon < 1, "epsilon", expected="a number in [0, 1)", received=epsilon)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    weights = np.random.default_rng(seed).random((len(labels), len(labels)))
    weights = (weights + weights.T) * (labels[:, None] == labels)
    degrees = weights.sum(1)
    # stationary law of a walk on weights: degrees, normalised within each block
    landing = degrees / np.bincount(labels, degrees)[labels]
    within = weights / degrees[:, None]
    jumps = np.where(labels[:, None] != labels, landing, 0.0) / (len(sizes) - 1)
    return BlockChain((1 - epsilon) * within + epsilon * jumps, within, labels, landing / len(sizes), epsilon)


def sample(built: BlockChain, *, walks: int, length: int, seed: int = 0) -> Int64[np.ndarray, "walks length"]:
    """Independent walks that start from the stationary law.

    Args:
        built: from `chain`.
        walks: number of walks, at least 1.
        length: states per walk, at least 1.
        seed: of the generator.

    Raises:
        OptionError: walks or length below 1.

    Example:
        >>> built = chain(sizes=(1, 1), epsilon=0.0)
        >>> sample(built, walks=2, length=4, seed=5)
        array([[1, 1, 1, 1],
               [1, 1, 1, 1]])
    """
    require(walks >= 1, "walks", expected="an integer >= 1", received=walks)
    require(length >= 1, "length", expected="an integer >= 1", received=length)
    uniform = np.random.default_rng(seed).random((length, walks, 1))
    cumulative = np.cumsum(built.transition, axis=1)
    # the last sum is 1 up to rounding: made 1, so that no uniform number falls outside
    cumulative[:, -1] = 1.0
    start = np.cumsum(built.stationary)
    start[-1] = 1.0
    path = [(uniform[0] >= start).sum(1)]
    for draw in uniform[1:]:
        path.append((draw >= cumulative[path[-1]]).sum(1))
    return np.stack(path, axis=1)


def exact(built: BlockChain) -> BlockSpectrum:
    """Eigenvalues and right eigenvectors of the chain, assembled block by block.

    Example:
        >>> known = exact(chain(sizes=(3, 4), epsilon=0.05))
        >>> round(known.lambda_2, 12), known.blocks[:2]
        (0.9, array([-1, -1]))
    """
    count = int(built.labels.max()) + 1
    slow = 1 - count * built.epsilon / (count - 1)
    indicator = (built.labels[:, None] == np.arange(count)) * np.sqrt(count)
    # orthonormal combinations of the blocks' indicators, the constant first; at eps = 0 the indicators themselves
    mixing = np.eye(count) if built.epsilon == 0 else _constant_first(count)
    values = [np.array([1.0, *[slow] * (count - 1)])]
    vectors = [indicator @ mixing]
    blocks = [np.arange(count) if built.epsilon == 0 else np.full(count, -1)]
    for block in range(count):
        mu, f = _within(built, block)
        values.append((1 - built.epsilon) * mu)
        vectors.append(f)
        blocks.append(np.full(len(mu), block))
    order = np.argsort(-np.concatenate(values), kind="stable")
    right = np.concatenate(vectors, axis=1)[:, order]
    return BlockSpectrum(np.concatenate(values)[order], right, slow, np.concatenate(blocks)[order])


def _within(built: BlockChain, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenpairs of W_b but the constant one, descending, zero on the other blocks."""
    inside = np.flatnonzero(built.labels == block)
    root = np.sqrt(built.stationary[inside])
    symmetric = root[:, None] * built.within[np.ix_(inside, inside)] / root
    mu, g = np.linalg.eigh((symmetric + symmetric.T) / 2)
    f = np.zeros((len(built.labels), len(inside) - 1))
    # eigh ascends and the constant eigenvector, mu = 1, stands last
    f[inside] = (g[:, :-1] / root[:, None])[:, ::-1]
    return mu[:-1][::-1], f


def _constant_first(count: int) -> np.ndarray:
    """An orthogonal matrix whose first column is constant (Helmert)."""
    matrix = np.tril(np.ones((count, count)), -1).T - np.diag(np.arange(count, dtype=float))
    matrix[:, 0] = 1.0
    return matrix / np.linalg.norm(matrix, axis=0)
