r"""Block-diagonal chain whose blocks are rings, seen through noise: eigenvectors and symmetries are known.

Block b is a lazy walk on a ring of n_b states: it stays with probability s and moves to either neighbour with (1 - s) / 2,

    W_b = s 1 + (1 - s)/2 (S + S^-1),     eigenvalues  s + (1 - s) cos(2 pi k / n_b),  k = 0 ... n_b - 1,

with the Fourier modes of the ring as eigenvectors. Nothing leaves its block, so the eigenvectors of the chain are
[v_A; 0] and [0; v_C], one block at a time. The chain is unchanged by every turn and reflection of every ring (the product
of dihedral groups): the matrices that commute with that group have one free entry per orbit of pairs of states.

`observe` replaces each token by a uniformly drawn state with probability `noise`. Without noise the last token says
everything about the next one, and no attention is needed; with it the block, and the place in it, must be gathered from
earlier tokens. P(token seen | state) = (1 - noise) 1[equal] + noise / V, so `posterior` is the exact forward filter.

Source: eigenvectors of circulant blocks as in `ring_chain`; the filter is Rabiner, Proc. IEEE 77, 257 (1989).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

from rgprobe.errors import PromptError
from rgprobe.testbeds.markov_blocks import BlockChain
from rgprobe.testbeds.markov_blocks import exact as exact
from rgprobe.testbeds.markov_blocks import sample as sample
from rgprobe.testbeds.options import require

__all__ = ["chain", "exact", "observe", "posterior", "sample", "symmetries"]


def chain(*, sizes: tuple[int, ...] = (5, 7), stay: float = 0.5) -> BlockChain:
    """The chain; `sample` and `exact` are those of `markov_blocks`.

    Args:
        sizes: states of each ring, at least two rings of at least three states.
        stay: s, probability of not moving, in [0, 1).

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> built = chain(sizes=(3, 4), stay=0.5)
        >>> built.transition[3].round(3), exact(built).blocks
        (array([0.  , 0.  , 0.  , 0.5 , 0.25, 0.  , 0.25]), array([0, 1, 1, 1, 0, 0, 1]))
    """
    fits = len(sizes) >= 2 and all(size >= 3 for size in sizes)
    require(fits, "sizes", expected="at least two rings of at least three states", received=sizes)
    require(0 <= stay < 1, "stay", expected="a number in [0, 1)", received=stay)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    transition = np.zeros((len(labels), len(labels)))
    for block in range(len(sizes)):
        places = np.flatnonzero(labels == block)
        transition[places, places] = stay
        for turn in (1, -1):
            transition[places, np.roll(places, turn)] += (1 - stay) / 2
    stationary = 1 / (len(sizes) * np.array(sizes, dtype=float)[labels])
    return BlockChain(transition, transition.copy(), labels, stationary, 0.0)


def symmetries(built: BlockChain) -> Int64[np.ndarray, "elements states"]:
    """Every permutation g of the states with P[g][:, g] = P that keeps the blocks: turns and reflections of each ring.

    Example:
        >>> built = chain(sizes=(3, 5))
        >>> found = symmetries(built)
        >>> len(found), bool((built.transition[found[7]][:, found[7]] == built.transition).all())
        (60, True)
    """
    found = np.zeros((1, 0), dtype=np.int64)
    for block in range(int(built.labels.max()) + 1):
        places = np.flatnonzero(built.labels == block)
        ring = np.arange(len(places))
        turns = (ring[:, None] + ring) % len(ring)
        own = places[np.concatenate([turns, turns[:, ::-1]])]
        found = np.concatenate([np.repeat(found, len(own), axis=0), np.tile(own, (len(found), 1))], axis=1)
    return found


def observe(
    walks: Int64[np.ndarray, "walks length"], *, states: int, noise: float, seed: int = 0
) -> Int64[np.ndarray, "walks length"]:
    """Tokens seen: each state, or with probability `noise` one drawn uniformly.

    Raises:
        OptionError: noise outside [0, 1].

    Example:
        >>> observe(np.array([[0, 1, 2]]), states=3, noise=0.0)
        array([[0, 1, 2]])
    """
    require(0 <= noise <= 1, "noise", expected="a number in [0, 1]", received=noise)
    generator = np.random.default_rng(seed)
    lost = generator.random(walks.shape) < noise
    return np.where(lost, generator.integers(states, size=walks.shape), walks)


def posterior(
    tokens: Int64[np.ndarray, "walks length"], built: BlockChain, *, noise: float
) -> Float64[np.ndarray, "walks predictions states"]:
    """Exact distribution of the next token seen, after 0, 1, ... tokens.

    Raises:
        PromptError: a token that is no state, or a sequence that the chain cannot emit.
        OptionError: noise outside [0, 1].

    Example:
        >>> posterior(np.array([[0]]), chain(sizes=(3, 3)), noise=0.0)[0].round(3)
        array([[0.167, 0.167, 0.167, 0.167, 0.167, 0.167],
               [0.5  , 0.25 , 0.25 , 0.   , 0.   , 0.   ]])
    """
    require(0 <= noise <= 1, "noise", expected="a number in [0, 1]", received=noise)
    states = len(built.labels)
    emission = (1 - noise) * np.eye(states) + noise / states
    for row, walk in enumerate(tokens):
        if ((walk < 0) | (walk >= states)).any():
            raise _refusal(row, f"states from 0 to {states - 1}", walk)
    predicted = np.tile(built.stationary, (len(tokens), 1))  # of the next state
    path = [predicted @ emission]
    for column in tokens.T:
        joint = predicted * emission[:, column].T
        mass = joint.sum(1, keepdims=True)
        if (mass == 0).any():
            row = int((mass == 0).argmax())
            raise _refusal(row, "a sequence of positive probability", tokens[row])
        predicted = joint / mass @ built.transition
        path.append(predicted @ emission)
    return np.stack(path, axis=1)


def _refusal(row: int, expected: str, received: np.ndarray) -> PromptError:
    remedy = "pass sequences of this chain"
    return PromptError(f"tokens[{row}]", expected=expected, received=f"{received.tolist()}", remedy=remedy)
