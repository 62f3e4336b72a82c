"""Trees and consensus matrices for the interactive views, as many prompts as the size of the file allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from rgprobe.plots.arrays import node
from rgprobe.plots.tokens import readable
from rgprobe.report.embedding import script_json
from rgprobe.rg_flow import RGFlow

__all__ = ["prompt_views", "running_text"]


def prompt_views(flow: RGFlow, *, budget: int) -> list[dict[str, Any]]:
    """Tokens, recorded positions, trees and Jeffreys matrices, prompt by prompt, first prompt first.

    Args:
        flow: the flow.
        budget: bytes of JSON; prompts that no longer fit are left out, the first never is.

    Returns:
        A dict per prompt: `title`, `tokens`, `recorded`, `trees` (per state: parents and merge costs, or None) and
        `jeffreys` (per state: the upper triangle row by row, nats, or None).
    """
    positions = flow.to_xarray()["prompts"].to_dataset()["positions"].values
    held = flow.diagnostics
    trees = node(flow, "condensation") if "condensation" in held else xr.Dataset()
    matrices = node(flow, "consensus").get("jeffreys_matrix") if "consensus" in held else None
    views: list[dict[str, Any]] = []
    for index, (text, tokens) in enumerate(zip(flow.prompts, flow.tokens, strict=True)):
        recorded = positions[index][positions[index] >= 0]
        view = {
            "title": readable(text, longest=64),
            "tokens": [running_text(token) for token in tokens],
            "recorded": recorded,
            "trees": _trees(trees, index, len(recorded)),
            "jeffreys": _triangles(matrices, index, len(recorded)),
        }
        budget -= len(script_json(view))
        if budget < 0 and views:
            break
        views.append(view)
    return views


def running_text(token: str) -> str:
    r"""A token as it stands in running text: its leading space kept, what is invisible made visible.

    Example:
        >>> running_text(" be"), running_text("\n"), running_text(" ")
        (' be', '⏎', '␣')
    """
    return (" " if token.startswith(" ") and token.strip(" ") else "") + readable(token, longest=120)


def _trees(arrays: xr.Dataset, prompt: int, n: int) -> list[list[Any]] | None:
    if "parents" not in arrays or n == 0:
        return None
    parents = arrays["parents"].isel(prompt=prompt).transpose(..., "node").values[:, : 2 * n - 1]
    costs = arrays["merge_costs"].isel(prompt=prompt).transpose(..., "merge").values[:, : n - 1]
    return [[p, [float(f"{c:.4g}") for c in row]] for p, row in zip(parents, costs, strict=True)]


def _triangles(matrices: xr.DataArray | None, prompt: int, n: int) -> list[list[float | None]] | None:
    if matrices is None or n == 0:
        return None
    upper = np.triu_indices(n, k=1)
    values = matrices.isel(prompt=prompt).transpose(..., "position", "source").values
    return [[float(f"{v:.3g}") if np.isfinite(v) else None for v in state[upper]] for state in values]
