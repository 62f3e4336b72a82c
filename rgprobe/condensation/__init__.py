"""Condensation trees: token beliefs in, a hierarchy of meta-tokens out, with the information each merge loses.

A *condensation tree* is the record of greedily merging the pair of token beliefs whose replacement by one meta-token
(their moment match or their log-linear pool) loses the fewest nats. It is an agglomerative information bottleneck.
HDBSCAN's "condensed tree" (a pruned density hierarchy) and "embedding condensation" (tokens drawing together in cosine)
are other things.

This floor knows no model: models use it too.
"""

from __future__ import annotations

from rgprobe.condensation.condensing import condense
from rgprobe.condensation.partition import cluster_losses, meta_tokens, partition_loss
from rgprobe.condensation.tree import CondensationTree

__all__ = ["CondensationTree", "cluster_losses", "condense", "meta_tokens", "partition_loss"]
