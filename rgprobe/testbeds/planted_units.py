r"""Feed-forward units of which a planted share takes part: what sparsity and decimation must count.

Of n units, m are alive in a prompt at all; each token switches k of them on, drawn at random, with activations of one size and
random signs. The others are exactly zero. So, token by token,

    participation  (sum a^2)^2 / (n sum a^4) = k / n,      silent share = 1 - k / n,

and over a prompt long enough that every living unit is met, the decimated share is 1 - m / n.

Source: participation ratio, Bell & Dean, Discuss. Faraday Soc. 50, 55 (1970); the counts are by construction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rgprobe.testbeds.options import require

__all__ = ["UnitsTruth", "exact", "sample"]


@dataclass(frozen=True)
class UnitsTruth:
    """What is known about the activations.

    Attributes:
        participation: effective share of the units that carry a token.
        silent: share of units without power in a token.
        decimated: share of units without power in the whole prompt.
    """

    participation: float
    silent: float
    decimated: float


def sample(*, tokens: int, units: int, alive: int, active: int, seed: int = 0) -> Float64[np.ndarray, "tokens units"]:
    """Activations of one prompt.

    Args:
        tokens: at least alive / active, so that every living unit is met: they are dealt out like cards.
        units: n.
        alive: m, at most n.
        active: k, at most m.
        seed: of choice and sign.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> x = sample(tokens=6, units=10, alive=4, active=2)
        >>> (x != 0).sum(1), int((x != 0).any(0).sum())
        (array([2, 2, 2, 2, 2, 2]), 4)
    """
    _check(units, alive, active)
    require(tokens * active >= alive, "tokens", expected=f"at least {-(-alive // active)}", received=tokens)
    generator = np.random.default_rng(seed)
    living = generator.permutation(units)[:alive]
    activations = np.zeros((tokens, units))
    dealt = np.empty(0, dtype=int)
    for token in range(tokens):
        if len(dealt) < active:
            # what is left of the deck goes first, so that no unit waits longer than one deck
            fresh = generator.permutation(np.setdiff1d(living, dealt))
            dealt = np.concatenate([dealt, fresh])
        chosen, dealt = dealt[:active], dealt[active:]
        activations[token, chosen] = generator.choice([-1.0, 1.0], active)
    return activations


def exact(*, units: int, alive: int, active: int) -> UnitsTruth:
    """Shares by construction.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> exact(units=10, alive=4, active=2)
        UnitsTruth(participation=0.2, silent=0.8, decimated=0.6)
    """
    _check(units, alive, active)
    return UnitsTruth(active / units, 1 - active / units, 1 - alive / units)


def _check(units: int, alive: int, active: int) -> None:
    require(units >= 1, "units", expected="an integer >= 1", received=units)
    require(1 <= alive <= units, "alive", expected=f"1 to {units}", received=alive)
    require(1 <= active <= alive, "active", expected=f"1 to {alive}", received=active)
