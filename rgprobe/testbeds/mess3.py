r"""Mess3: a hidden Markov model of three states and three tokens whose belief states fill a fractal.

The state moves to each other state with probability x and stays with 1 - 2x; the state *arrived at* emits its own token
with probability a and each other one with (1 - a) / 2:

    T^(z)_ij = P(emit z, arrive at j | i) = [1 - 2x if i = j else x] [a if z = j else (1 - a) / 2].

The belief after tokens z_1 ... z_t is the forward filter, b_t proportional to b_(t-1) T^(z_t), b_0 uniform (stationary).
The process is infinite-order Markov: no finite window of tokens determines the belief. Two tokens r apart agree with
probability 1/3 + (2/3) ((3a - 1)/2)^2 (1 - 3x)^r. The entropy rate has no closed form but is bracketed, for any t, by

    H(z_t | z_<t, state before z_1)  <=  h  <=  H(z_t | z_<t),

both computed here by summing over all 3^t words.

Source: Marzen & Crutchfield, Phys. Rev. E 95, 051301 (2017) (arXiv:1702.08565); the parameters x = 0.05, a = 0.85 are
those of Shai et al., NeurIPS 2024 (arXiv:2405.15943); the bracket is Cover & Thomas, Theorem 4.5.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from rgprobe.errors import PromptError
from rgprobe.testbeds.options import require

__all__ = ["Mess3Truth", "Mess3Walks", "beliefs", "exact", "next_token", "sample", "transition_matrices"]


@dataclass(frozen=True, eq=False)
class Mess3Walks:
    """Tokens and the hidden states that emitted them."""

    tokens: Int64[np.ndarray, "rows length"]
    states: Int64[np.ndarray, "rows length"]


@dataclass(frozen=True, eq=False)
class Mess3Truth:
    """What is known about the process.

    Attributes:
        transitions: T^(z)_ij, index order (z, i, j).
        agreement: probability that two tokens r apart are equal, r = 0 ... t.
        entropies: H(z_k | z_<k), k = 1 ... t, nats: falling towards the entropy rate.
        entropy_rate_bounds: lower and upper bound of the entropy rate, nats per token.
    """

    transitions: Float64[np.ndarray, "3 3 3"]
    agreement: Float64[np.ndarray, " distances"]
    entropies: Float64[np.ndarray, " length"]
    entropy_rate_bounds: tuple[float, float]


def transition_matrices(*, x: float = 0.05, a: float = 0.85) -> Float64[np.ndarray, "3 3 3"]:
    """T^(z)_ij, index order (z, i, j).

    Raises:
        OptionError: x outside [0, 1/2] or a outside [0, 1].

    Example:
        >>> transition_matrices()[0].round(5)
        array([[0.765  , 0.00375, 0.00375],
               [0.0425 , 0.0675 , 0.00375],
               [0.0425 , 0.00375, 0.0675 ]])
    """
    require(0 <= x <= 0.5, "x", expected="a number in [0, 1/2]", received=x)
    require(0 <= a <= 1, "a", expected="a number in [0, 1]", received=a)
    same = np.eye(3)
    moves = np.where(same, 1 - 2 * x, x)
    emits = np.where(same, a, (1 - a) / 2)  # (z, j)
    return moves[None] * emits[:, None, :]


def sample(*, length: int, rows: int, x: float = 0.05, a: float = 0.85, seed: int = 0) -> Mess3Walks:
    """Independent stationary sequences.

    Args:
        length: tokens per row, at least 1.
        rows: number of sequences, at least 1.
        x: probability of moving to a given other state.
        a: probability that a state emits its own token.
        seed: of the generator.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> walks = sample(length=5, rows=2, x=0.0, a=1.0)
        >>> bool((walks.tokens == walks.states[:, :1]).all())
        True
    """
    transition_matrices(x=x, a=a)
    require(length >= 1, "length", expected="an integer >= 1", received=length)
    require(rows >= 1, "rows", expected="an integer >= 1", received=rows)
    generator = np.random.default_rng(seed)
    # by symmetry both the moves and the emissions add 0, 1 or 2 modulo 3, independently of everything before
    moves = _offsets(generator.random((rows, length)), x)
    start = generator.integers(3, size=(rows, 1))
    states = (start + np.cumsum(moves, axis=1)) % 3
    return Mess3Walks((states + _offsets(generator.random((rows, length)), (1 - a) / 2)) % 3, states)


def beliefs(
    tokens: Int64[np.ndarray, "rows length"], *, x: float = 0.05, a: float = 0.85
) -> Float64[np.ndarray, "rows times 3"]:
    """P(state | tokens so far) after 0, 1, ... tokens, by the forward filter from the stationary law.

    Raises:
        PromptError: a token that is not 0, 1 or 2, or a sequence that the process cannot emit.
        OptionError: an option outside its domain.

    Example:
        >>> beliefs(np.array([[0, 0]]))[0].round(3)
        array([[0.333, 0.333, 0.333],
               [0.85 , 0.075, 0.075],
               [0.975, 0.013, 0.013]])
    """
    matrices = transition_matrices(x=x, a=a)
    if ((tokens < 0) | (tokens > 2)).any():
        row = int(((tokens < 0) | (tokens > 2)).any(1).argmax())
        raise _refusal(row, "tokens 0, 1 and 2", tokens[row])
    path = [np.full((len(tokens), 3), 1 / 3)]
    for column in tokens.T:
        joint = np.einsum("ri,rij->rj", path[-1], matrices[column])
        mass = joint.sum(1, keepdims=True)
        if (mass == 0).any():
            row = int((mass == 0).argmax())
            raise _refusal(row, "a sequence of positive probability", tokens[row])
        path.append(joint / mass)
    return np.stack(path, axis=1)


def next_token(
    belief: Float64[np.ndarray, "*batch 3"], *, x: float = 0.05, a: float = 0.85
) -> Float64[np.ndarray, "*batch 3"]:
    """P(next token | belief): the optimal prediction, sum_ij b_i T^(z)_ij."""
    return belief @ transition_matrices(x=x, a=a).sum(2).T


def exact(*, x: float = 0.05, a: float = 0.85, words: int = 8) -> Mess3Truth:
    """Transition matrices, agreement of tokens by distance, entropies and the bracket of the entropy rate.

    Args:
        x: probability of moving to a given other state.
        a: probability that a state emits its own token.
        words: t, length of the words summed over, 1 to 12 (3^t of them).

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> known = exact()
        >>> known.entropies[[0, 1, 7]].round(4), [round(bound, 4) for bound in known.entropy_rate_bounds]
        (array([1.0986, 0.8577, 0.7935]), [0.7934, 0.7935])
    """
    matrices = transition_matrices(x=x, a=a)
    require(1 <= words <= 12, "words", expected="an integer from 1 to 12", received=words)
    from_stationary = np.diff(_block_entropies(np.full((1, 3), 1 / 3), matrices, words), prepend=0.0)
    # by symmetry every starting state gives the same entropies
    from_state = np.diff(_block_entropies(np.eye(3)[:1], matrices, words), prepend=0.0)
    distances = np.arange(words + 1)
    agreement = 1 / 3 + 2 / 3 * ((3 * a - 1) / 2) ** 2 * (1 - 3 * x) ** distances
    agreement[0] = 1.0
    return Mess3Truth(matrices, agreement, from_stationary, (float(from_state[-1]), float(from_stationary[-1])))


def _block_entropies(start: np.ndarray, matrices: np.ndarray, words: int) -> np.ndarray:
    """H(z_1 ... z_k), nats, for k = 1 ... words; `joint` holds P(word, state) for every word."""
    joint, entropies = start, []
    for _ in range(words):
        joint = np.einsum("wi,zij->wzj", joint, matrices).reshape(-1, 3)
        p = joint.sum(1)
        p = p[p > 0]
        entropies.append(-(p * np.log(p)).sum())
    return np.array(entropies)


def _offsets(uniform: np.ndarray, probability: float) -> np.ndarray:
    """1 and 2 with the given probability each, else 0."""
    return np.where(uniform < probability, 1, np.where(uniform < 2 * probability, 2, 0))


def _refusal(row: int, expected: str, received: np.ndarray) -> PromptError:
    remedy = "pass sequences of this process"
    return PromptError(f"tokens[{row}]", expected=expected, received=f"{received.tolist()}", remedy=remedy)
