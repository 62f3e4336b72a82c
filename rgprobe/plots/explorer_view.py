"""What the explorer shows of one prompt at one depth, and where it comes from: a result, or trees alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import cophenet
from scipy.spatial.distance import squareform

from rgprobe.checks import whole_number
from rgprobe.condensation import CondensationTree
from rgprobe.condensation.explorer import TreeTable, tree_table
from rgprobe.errors import OptionError
from rgprobe.plots.arrays import node
from rgprobe.plots.consensus_matrix import DECADES, consensus_matrix
from rgprobe.plots.tokens import figure_text
from rgprobe.plots.tree_layout import TreeLayout, tree_layout
from rgprobe.rg_flow import RGFlow

__all__ = ["LABEL", "FlowSource", "Source", "TreeSource", "View", "checked", "sources_of"]

NAMED_TOKENS = 12  # in a hover box
LABEL = 14  # characters of a token


@dataclass(frozen=True, eq=False)
class View:
    """One tree, its text, and how far apart its tokens are.

    Attributes:
        title: model and depth.
        tree: the tree.
        table: its nodes, linked to positions in the text.
        tokens: of the whole text; those of the tree stand at ``table.positions``.
        matrix: between the tokens of the tree, nats.
        limits: ends of the colour scale, common to all depths of a text.
        matrix_title: what the matrix holds.
    """

    title: str
    tree: CondensationTree
    table: TreeTable
    tokens: tuple[str, ...]
    matrix: Float[np.ndarray, "N N"]
    limits: tuple[float, float]
    matrix_title: str

    @cached_property
    def layout(self) -> TreeLayout:
        """Where the nodes stand."""
        return tree_layout(self.tree)

    @cached_property
    def hover(self) -> tuple[str, ...]:
        """Tokens, loss and support of each node, as a hover box tells them."""
        return tuple(_told(self.table, k, self.tree.n_leaves) for k in range(2 * self.tree.n_leaves - 1))

    @property
    def total(self) -> float:
        """Information lost when all tokens are one, nats per token."""
        return float(self.tree.heights[-1]) if self.tree.n_leaves > 1 else 0.0

    def clusters(self, budget: float) -> Int[np.ndarray, "m"]:
        """Nodes that are left when merges within a share of `total` have been made, top of the drawing first.

        Example:
            >>> from rgprobe.condensation import condense
            >>> rows = np.array([[0.9, 0.1], [0.1, 0.9], [0.8, 0.2]])
            >>> TreeSource("made up", (condense(rows),)).view(0, 0).clusters(0.5).tolist()
            [3, 1]
        """
        n = self.tree.n_leaves
        merges = int(np.searchsorted(self.tree.heights, budget * self.total * (1 + 1e-12), side="right"))
        alive = [k for k in range(n + merges) if not 0 <= self.tree.parents[k] < n + merges]
        return np.array(sorted(alive, key=lambda k: self.layout.rows[k]), dtype=np.int64)


def _told(table: TreeTable, k: int, n: int) -> str:
    names = [figure_text(table.text[leaf], longest=LABEL) for leaf in table.leaves[k]]
    shown = " · ".join(names[:NAMED_TOKENS]) + (" · …" if len(names) > NAMED_TOKENS else "")
    loss = f"this merge loses {table.merge_loss[k]:.3g} nats per token<br>so far {table.height[k]:.3g}<br>"
    return f"{shown}<br>{loss if k >= n else ''}support {table.support[k]} of {n} tokens, weight {table.weight[k]:.3g}"


@runtime_checkable
class Source(Protocol):
    """Views by prompt and depth."""

    @property
    def name(self) -> str:
        """For a title."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """Texts."""

    @property
    def depth_name(self) -> str:
        """What depth counts: state or block."""

    @property
    def n_depths(self) -> int:
        """Number of depths."""

    def view(self, prompt: int, depth: int) -> View:
        """What there is of one prompt at one depth."""


@dataclass(frozen=True)
class FlowSource:
    """A result: trees and Jeffreys divergences."""

    name: str
    flow: RGFlow

    @property
    def prompts(self) -> tuple[str, ...]:
        """Texts."""
        return self.flow.prompts

    @property
    def depth_name(self) -> str:
        """What depth counts."""
        dims = node(self.flow, "condensation")["parents"].dims
        return str(next(dim for dim in dims if dim not in ("prompt", "node")))

    @property
    def n_depths(self) -> int:
        """Number of depths."""
        return int(node(self.flow, "condensation")["parents"].sizes[self.depth_name])

    def view(self, prompt: int, depth: int) -> View:
        """One prompt at one depth.

        Raises:
            OptionError: no such prompt or depth, or a result without trees.
        """
        checked("prompt", prompt, len(self.prompts))
        checked("depth", depth, self.n_depths)
        tree, table = self.flow.tree(prompt, depth), self.flow.tree_table(prompt, depth)
        title = f"{self.name}, {self.depth_name} {depth} of {self.n_depths - 1}"
        if "consensus" in self.flow.diagnostics:
            matrix, limits = consensus_matrix(self.flow, prompt, depth)
            return View(title, tree, table, self.flow.tokens[prompt], matrix, limits, "Jeffreys (nats)")
        return View(title, tree, table, self.flow.tokens[prompt], *_joined_at([tree], 0))


@dataclass(frozen=True)
class TreeSource:
    """Trees of one text by depth, without a result; the matrix then says at which loss two tokens join."""

    name: str
    trees: tuple[CondensationTree, ...]

    @property
    def prompts(self) -> tuple[str, ...]:
        """The text, as far as the trees have it."""
        labels = self.trees[0].labels
        return ("".join(labels) if labels else f"{self.trees[0].n_leaves} tokens",)

    @property
    def depth_name(self) -> str:
        """What depth counts."""
        return "tree"

    @property
    def n_depths(self) -> int:
        """Number of trees."""
        return len(self.trees)

    def view(self, prompt: int, depth: int) -> View:
        """One of the trees.

        Raises:
            OptionError: no such prompt or tree.
        """
        checked("prompt", prompt, 1)
        checked("depth", depth, self.n_depths)
        tree = self.trees[depth]
        tokens = tree.labels or tuple(str(leaf) for leaf in range(tree.n_leaves))
        title = self.name if self.n_depths == 1 else f"{self.name}, tree {depth} of {self.n_depths - 1}"
        return View(title, tree, tree_table(tree), tokens, *_joined_at(self.trees, depth))


def sources_of(shown: object) -> list[Source]:
    """Sources of what a person passed: a flow, flows by name, a tree, or trees by depth."""
    if isinstance(shown, RGFlow):
        return [FlowSource(str(shown.provenance["source"]["name"]), shown)]
    if isinstance(shown, CondensationTree):
        return [TreeSource("condensation tree", (shown,))]
    if isinstance(shown, Mapping) and shown:
        return [_named(str(name), each) for name, each in shown.items()]
    if isinstance(shown, Sequence) and shown and all(isinstance(each, CondensationTree) for each in shown):
        return [TreeSource("condensation trees", tuple(shown))]
    if isinstance(shown, Sequence) and shown and not isinstance(shown, str):
        return [source for each in shown for source in sources_of(each)]
    raise OptionError("explore", expected="a flow, a tree, or several of one kind", received=repr(shown)[:80],
                      remedy="pass what rgprobe.run, rgprobe.open_flow or rgprobe.condense gave")  # fmt: skip


def _named(name: str, shown: object) -> Source:
    (source, *others) = sources_of(shown)
    if others:
        raise OptionError("explore", expected="one flow or one set of trees for each name", received=f"several for {name!r}",
                          remedy="give each a name of its own")  # fmt: skip
    if isinstance(source, FlowSource):
        return FlowSource(name, source.flow)
    return TreeSource(name, source.trees) if isinstance(source, TreeSource) else source


def checked(name: str, index: int, count: int) -> None:
    """Refuse what is no index from the input end."""
    whole_number(name, index, least=0, most=count - 1, remedy="count from the input end")


def _joined_at(
    trees: Sequence[CondensationTree], depth: int
) -> tuple[Float[np.ndarray, "N N"], tuple[float, float], str]:
    """Loss so far when two tokens are first in one cluster, nats per token."""
    high = max((float(tree.heights[-1]) for tree in trees if tree.n_leaves > 1), default=1.0) or 1.0
    tree = trees[depth]
    matrix = squareform(cophenet(tree.linkage)) if tree.n_leaves > 1 else np.zeros((1, 1))
    positive = matrix[matrix > 0]
    low = max(float(positive.min()) if len(positive) else high / 10, high * DECADES)
    return matrix, (min(low, high / 10), high), "joined at (nats per token)"
