"""Every condensation tree of a result as one JSON text."""

from __future__ import annotations

import json
import math
from typing import Any

from rgprobe.rg_flow import RGFlow

__all__ = ["trees_json"]


def trees_json(flow: RGFlow) -> str:
    """ASCII JSON of the trees of every prompt and depth, losses in nats per token.

    Each entry of "trees" holds its `prompt` and `depth` (see "depth_is"), its `loss` D(1), null where a single token has
    nothing to lose, what `CondensationTree.from_json` reads (`parents`, `merge_costs`, `weights`, `labels`, ...), and
    `nodes`, what follows from it for drawing: see `rgprobe.condensation.explorer.TreeTable` and docs/trees.md.
    """
    held = "condensation" in flow.diagnostics
    depth_dim = str(flow.to_xarray()["condensation"].attrs["depth"]) if held else None
    record = {
        "format": "rgprobe condensation trees",
        "version": 1,
        "units": "nats per token",
        "source": flow.provenance["source"]["name"],
        "belief": flow.provenance["belief"],
        "depth_is": depth_dim,
        "prompts": list(flow.prompts),
        "trees": _trees(flow, depth_dim) if depth_dim is not None else [],
    }
    if not held:
        record["reason"] = "the condensation diagnostic was not run"
    return json.dumps(record, allow_nan=False)


def _trees(flow: RGFlow, depth_dim: str) -> list[dict[str, Any]]:
    depths = flow.to_xarray()["condensation"]["parents"].sizes[depth_dim]
    return [_entry(flow, prompt, depth) for prompt in range(len(flow.prompts)) for depth in range(depths)]


def _entry(flow: RGFlow, prompt: int, depth: int) -> dict[str, Any]:
    tree = flow.tree(prompt, depth)
    loss = tree.loss(1) if tree.n_leaves > 1 else math.nan
    return {
        "prompt": prompt,
        "depth": depth,
        "loss": loss if math.isfinite(loss) else None,
        **json.loads(tree.to_json()),
        "nodes": flow.tree_table(prompt, depth).to_dict(),
    }
