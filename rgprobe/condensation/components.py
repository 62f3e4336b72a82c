r"""Connected components of beliefs: tokens are linked where each is within epsilon of the other, and components are kept.

Two tokens a, b are linked if KL(a || b) < epsilon and KL(b || a) < epsilon. A component is what links reach, so its members
need not be near each other: a chain of beliefs, each near the next, is one component however long, while merging it into
one meta-token loses much. The agglomerative tree charges that loss, and components do not: at one epsilon, the components are
compared with the largest clusters of a tree *all* of whose pairs are linked. Those are as many or more, equally many where
tokens are in groups. The number of components as a
function of epsilon is a zero-dimensional persistence barcode (H0): every token is born at 0, and one component dies at each
height of the single-linkage tree over max(KL(a || b), KL(b || a)).

Source: Gower & Ross, J. R. Stat. Soc. C 18 (1969) 54 (components of threshold graphs are cuts of single linkage).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64, Int
from scipy.cluster.hierarchy import linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform
from torch import Tensor

from rgprobe import categorical
from rgprobe.condensation.beliefs import as_beliefs
from rgprobe.condensation.tree import CondensationTree
from rgprobe.errors import BadInput, NumericalRefusal, OptionError
from rgprobe.gaussian import Gaussian, pairwise_product_kl

__all__ = ["component_deaths", "components", "divergences", "number_of_components", "tree_diameters"]

LARGEST = float(np.finfo(np.float64).max)
Matrix = Float64[np.ndarray, "N N"]


def divergences(beliefs: Gaussian | np.ndarray | Tensor) -> Matrix:
    """max(KL(a || b), KL(b || a)) of every two tokens, nats: what epsilon is compared with.

    Args:
        beliefs: Gaussian of batch shape (N,), or (N, F), whose factors' divergences add; or probability rows (N, V).

    Example:
        >>> divergences(np.array([[0.5, 0.5], [0.25, 0.75]])).round(6).tolist()
        [[0.0, 0.143841], [0.143841, 0.0]]
    """
    kept = as_beliefs(beliefs)
    if isinstance(kept, Gaussian):
        return _larger(pairwise_product_kl(kept))
    return _larger(categorical.pairwise_kl(torch.from_numpy(kept).log()))


def components(
    beliefs: Gaussian | np.ndarray | Tensor | None = None, *, epsilon: float, matrix: np.ndarray | None = None
) -> Int[np.ndarray, "N"]:
    """Component of each token, numbered in the order of each component's first token, as `CondensationTree.cut` does.

    Args:
        beliefs: as for `divergences`.
        epsilon: nats, positive. Take it from a null (`rgprobe.diagnostics.components` does): by hand it can say anything.
        matrix: directed or symmetric divergences (N, N) in place of beliefs; the larger of both directions counts.

    Raises:
        OptionError: beliefs and matrix, or neither; an epsilon that is not positive.
        BadInput, NumericalRefusal: a matrix that is not square, or not of divergences.

    Example:
        >>> components(np.array([[0.9, 0.1], [0.1, 0.9], [0.85, 0.15]]), epsilon=0.1).tolist()
        [0, 1, 0]
    """
    if not epsilon > 0:
        raise OptionError("epsilon", expected="nats > 0", received=str(epsilon), remedy="take it from a null quantile")
    return _numbered(connected_components(_matrix(beliefs, matrix) < epsilon, directed=False)[1])


def component_deaths(
    beliefs: Gaussian | np.ndarray | Tensor | None = None, *, matrix: np.ndarray | None = None
) -> Float64[np.ndarray, "M"]:
    """The N - 1 values of epsilon above which one component fewer is left, ascending, nats: the H0 barcode.

    Args:
        beliefs, matrix: as for `components`.

    Example:
        >>> component_deaths(matrix=np.array([[0.0, 1.0, 9.0], [1.0, 0.0, 4.0], [9.0, 4.0, 0.0]])).tolist()
        [1.0, 4.0]
    """
    both = _matrix(beliefs, matrix)
    if len(both) < 2:
        return np.empty(0)
    # SciPy takes finite numbers only; beliefs without a class in common are infinitely far apart
    deaths = linkage(squareform(both, checks=False).clip(max=LARGEST), "single")[:, 2]
    return np.where(deaths < LARGEST, deaths, np.inf)


def tree_diameters(
    tree: CondensationTree, beliefs: Gaussian | np.ndarray | Tensor | None = None, *, matrix: np.ndarray | None = None
) -> Float64[np.ndarray, "M"]:
    """The largest divergence between two tokens below each merge of a tree, (N - 1,), nats.

    A cluster within epsilon has all its pairs linked. Diameters grow from node to parent, so the merges with a diameter below
    epsilon are whole subtrees, and N less their number is the least number of such clusters that the tree has: see
    `number_of_components`.

    Args:
        tree: over the same tokens.
        beliefs, matrix: as for `components`.

    Raises:
        BadInput: a tree over other tokens.

    Example:
        >>> tree = CondensationTree.from_parents([3, 3, 4, 4, -1], [0.1, 0.2])
        >>> tree_diameters(tree, matrix=np.array([[0.0, 1.0, 9.0], [1.0, 0.0, 4.0], [9.0, 4.0, 0.0]])).tolist()
        [1.0, 9.0]
    """
    both = _matrix(beliefs, matrix)
    if len(both) != tree.n_leaves:
        raise BadInput("tree", expected=f"a tree of {len(both)} tokens", received=str(tree),
                       remedy="condense the same beliefs")  # fmt: skip
    below = [np.array([leaf]) for leaf in range(tree.n_leaves)]
    diameters: list[float] = [0.0] * tree.n_leaves
    for a, b in tree.linkage[:, :2].astype(int).tolist():
        diameters.append(max(diameters[a], diameters[b], float(both[np.ix_(below[a], below[b])].max())))
        below.append(np.concatenate([below[a], below[b]]))
    return np.array(diameters[tree.n_leaves :], dtype=np.float64)


def number_of_components(
    deaths: Float64[np.ndarray, "*batch M"], epsilon: Float64[np.ndarray, "*#batch"] | float
) -> Int[np.ndarray, "*batch"]:
    """How many components, or clusters of a tree, are left at epsilon: 1 and one for each death, or diameter, not below it.

    Args:
        deaths: what `component_deaths` or `tree_diameters` gave; NaN, of shorter ones, counts for none.
        epsilon: nats.

    Example:
        >>> int(number_of_components(np.array([1.0, 4.0]), 2.0))
        2
    """
    return np.asarray(1 + (deaths >= np.asarray(epsilon)[..., None]).sum(-1))


def _matrix(beliefs: Gaussian | np.ndarray | Tensor | None, matrix: np.ndarray | None) -> np.ndarray:
    if beliefs is not None and matrix is None:
        return divergences(beliefs)
    if matrix is None or beliefs is not None:
        raise OptionError("components", expected="beliefs or matrix", received="both or neither", remedy="pass one")
    given = np.asarray(matrix, dtype=np.float64)
    if given.ndim != 2 or given.shape[0] != given.shape[1] or not len(given):
        raise BadInput("matrix", expected="divergences of shape (N, N)", received=f"shape {given.shape}",
                       remedy="pass pairwise_kl of one set of beliefs")  # fmt: skip
    if np.isnan(given).any() or (given < 0).any() or np.diag(given).any():
        raise NumericalRefusal("matrix", expected="divergences >= 0, 0 on the diagonal",
                               received=f"{given.min():.3g} to {given.max():.3g}, {np.abs(np.diag(given)).max():.3g} on it",
                               remedy="pass pairwise_kl of one set of beliefs")  # fmt: skip
    return np.maximum(given, given.T)


def _larger(both: Tensor) -> Matrix:
    return torch.maximum(both, both.T).detach().cpu().numpy()


def _numbered(labels: np.ndarray) -> np.ndarray:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]
