"""How much two layers' trees agree by chance: nulls of the agreement in a genealogy, drawn without a second model.

A null moves the tokens of the later tree, which keeps the shape of both trees, and asks again. What may be moved is the
question:

- "permuted": tokens in any order. Its adjusted Rand index is 0 on average, exactly. Beating it says that the trees share
  *something*. Trees whose clusters are runs of neighbours beat it by adjacency alone.
- "shifted": all tokens by one offset, around the end. Neighbours stay neighbours, and clusters keep their sizes and their
  spread along the text (but at the one seam); beating it says that the same *places* cluster. It takes a text for alike
  along its length, which the first tokens, with little to look back on, are not.
- the tree of another text with as many tokens (`compared_with`): the same positions condense for what positions do; only this
  text's content differs. The strictest of the three, and it takes a second text.

Sources: Mantel, Cancer Res. 27 (1967) 209 (permutation); Lotwick & Silverman, J. R. Stat. Soc. B 44 (1982) 406 (shift around
a torus).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int
from scipy.cluster.hierarchy import cophenet
from scipy.spatial.distance import squareform

from rgprobe.checks import one_of
from rgprobe.condensation.genealogy import Genealogy, partition_agreement, persisting
from rgprobe.errors import BadInput, OptionError

__all__ = ["AGREEMENTS", "agreements", "chance_agreement", "compared_with"]

AGREEMENTS = ("adjusted_rand", "cophenetic", "persisting")


def agreements(found: Genealogy) -> Float64[np.ndarray, "passages 3"]:
    """What each passage agrees by, in the order of `AGREEMENTS`."""
    return np.array([[getattr(passage, name) for name in AGREEMENTS] for passage in found.passages]).reshape(-1, 3)


def chance_agreement(
    found: Genealogy, *, null: str = "permuted", draws: int = 99, seed: int = 0
) -> Float64[np.ndarray, "draws passages 3"]:
    """Agreement between each layer and the next, once the tokens of the latter were moved; in the order of `AGREEMENTS`.

    Args:
        found: a genealogy.
        null: "permuted" or "shifted".
        draws: how many; each moves all layers alike. There are only N - 1 offsets.
        seed: of the draws.

    Raises:
        OptionError: an unknown null, or fewer than one draw.

    Example:
        >>> from rgprobe.condensation import condense
        >>> from rgprobe.condensation.genealogy import genealogy
        >>> tree = condense(np.random.default_rng(0).dirichlet(np.ones(5), size=20))
        >>> drawn = chance_agreement(genealogy([tree, tree]), draws=200)
        >>> drawn.shape, bool(abs(drawn[:, 0, 0].mean()) < 0.02)
        ((200, 1, 3), True)
    """
    one_of("null", null, ("permuted", "shifted"))
    if draws < 1:
        raise OptionError("draws", expected="at least 1", received=str(draws), remedy="use 99")
    generator = np.random.default_rng(seed)
    size = found.partitions.shape[1]
    joined = _joins(found)
    return np.stack([_moved(found, found, joined, joined, _order(generator, size, null)) for _ in range(draws)])


def compared_with(found: Genealogy, other: Genealogy) -> Float64[np.ndarray, "passages 3"]:
    """Agreement of each layer with the *other* text's next one, token by position; in the order of `AGREEMENTS`.

    Raises:
        BadInput: other numbers of tokens or layers.
    """
    if found.partitions.shape != other.partitions.shape:
        layers, tokens = found.partitions.shape
        raise BadInput("other", expected=f"{layers} trees of {tokens} tokens", received=str(other.partitions.shape),
                       remedy="compare texts with as many recorded tokens")  # fmt: skip
    return _moved(found, other, _joins(found), _joins(other), np.arange(found.partitions.shape[1]))


def _order(generator: np.random.Generator, size: int, null: str) -> Int[np.ndarray, "N"]:
    if null == "permuted":
        return generator.permutation(size)
    # no offset at all would be the measurement itself
    return np.roll(np.arange(size), int(generator.integers(1, size)) if size > 1 else 0)


def _joins(found: Genealogy) -> list[np.ndarray]:
    """Cophenetic matrix of each tree: the loss at which two tokens join."""
    if found.partitions.shape[1] < 2:
        return [np.zeros((1, 1)) for _ in found.trees]
    return [squareform(cophenet(np.array(tree.linkage))) for tree in found.trees]


def _moved(
    found: Genealogy, other: Genealogy, before: list[np.ndarray], after: list[np.ndarray], order: np.ndarray
) -> Float64[np.ndarray, "passages 3"]:
    upper = np.triu_indices(len(order), 1)
    rows = []
    for k in range(len(found.passages)):
        labels = found.partitions[k], other.partitions[k + 1][order]
        joined = before[k][upper], after[k + 1][np.ix_(order, order)][upper]
        rows.append((partition_agreement(*labels), _correlation(*joined), persisting(*labels)))
    return np.array(rows).reshape(-1, len(AGREEMENTS))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float("nan") if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0 else float(np.corrcoef(x, y)[0, 1])
