r"""Effective number of tokens: how many meta-tokens a loss budget leaves, read off the information curve of a tree.

With D(m) the nats per token lost with m clusters left, the smallest m with D(m) <= budget is a whole number, and the ratio
of two whole numbers near each other jumps. So ln N_eff runs between whole numbers in proportion to the loss:

.. math:: \ln N = \ln(m-1) + [\ln m - \ln(m-1)] \frac{D(m-1) - \text{budget}}{D(m-1) - D(m)},
          \quad D(m) \le \text{budget} < D(m-1)

Whole where the budget is exactly some D(m), continuous and falling in the budget, and linear in ln m, because ln m is what is
used: scale factors b_l = N_l / N_(l+1) are differences of it, and scaling dimensions slopes against it.
"""

from __future__ import annotations

import numpy as np

from rgprobe.condensation.tree import CondensationTree
from rgprobe.errors import OptionError

__all__ = ["effective_tokens", "log_effective_tokens"]


def effective_tokens(tree: CondensationTree, *, loss: float | None = None, fraction: float | None = None) -> float:
    """N_eff, in [1, N]: tokens that are left when a budget of loss is spent on merging.

    Args:
        tree: a condensation tree.
        loss: budget, nats per token.
        fraction: budget as a share of the loss at the root, in [0, 1].

    Raises:
        OptionError: both or neither, or out of range.

    Example:
        >>> from rgprobe.condensation import condense
        >>> tree = condense(np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]]))
        >>> round(effective_tokens(tree, loss=1e-12), 9), effective_tokens(tree, fraction=1.0)
        (2.0, 1.0)
    """
    return float(np.exp(log_effective_tokens(tree, loss=loss, fraction=fraction)))


def log_effective_tokens(tree: CondensationTree, *, loss: float | None = None, fraction: float | None = None) -> float:
    """ln N_eff; see `effective_tokens`."""
    budget = _budget(tree, loss, fraction)
    curve = tree.information
    within = int(np.argmax(curve <= budget))  # D(m), m - 1 its index; D(N) = 0 is within any budget
    if within == 0:
        return 0.0
    above, below = curve[within - 1], curve[within]
    low, high = np.log(within), np.log(within + 1)
    return float(low + (high - low) * (above - budget) / (above - below))


def _budget(tree: CondensationTree, loss: float | None, fraction: float | None) -> float:
    if (loss is None) == (fraction is None):
        raise OptionError("budget", expected="loss or fraction", received="both or neither",
                          remedy="pass loss=0.1 (nats per token) or fraction=0.25")  # fmt: skip
    if loss is not None and loss >= 0:
        return float(loss)
    if fraction is not None and 0 <= fraction <= 1:
        return float(fraction * tree.information[0])
    if fraction is None:
        raise OptionError("loss", expected="nats >= 0", received=str(loss), remedy="write, say, loss=0.1")
    raise OptionError(
        "fraction", expected="a number in [0, 1]", received=str(fraction), remedy="write, say, fraction=0.25"
    )
