"""`RGFlow`: the result that everything downstream draws from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from rgprobe.checks import whole_number
from rgprobe.condensation import CondensationTree
from rgprobe.condensation.explorer import TreeTable, tree_table
from rgprobe.errors import BadInput
from rgprobe.storage import StoredTree, read_tree

__all__ = ["RGFlow", "open_flow"]


@dataclass(frozen=True)
class RGFlow(StoredTree):
    """What a forward pass does to token beliefs, measured against null models.

    Attributes:
        data: one node per diagnostic and a node "prompts"; see `rgprobe.assembly.assemble_node` for the variables.

    Example:
        >>> import rgprobe as rg
        >>> flow = rg.run("standard-small", ["Now is the winter of our discontent"], nulls=0, diagnostics="temperature")
        >>> flow.diagnostics
        ('temperature',)
        >>> flow.to_xarray()["temperature"]["value"].dims
        ('quantity', 'sink', 'block', 'head')
    """

    def __repr__(self) -> str:
        source = self.provenance["source"]["name"]
        nulls = self.provenance["nulls"]
        return (
            f"RGFlow({source!r}, prompts={len(self.prompts)}, random inits={len(nulls['random_init_seeds'])}, "
            f"diagnostics={', '.join(self.diagnostics)})"
        )

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Source and its digests, configuration, versions, options, seeds."""
        return json.loads(self.data.attrs["provenance"])

    @cached_property
    def _texts(self) -> dict[str, Any]:
        return json.loads(self.data["prompts"].attrs["texts"])

    @property
    def prompts(self) -> tuple[str, ...]:
        """Texts."""
        return tuple(self._texts["prompts"])

    @property
    def tokens(self) -> tuple[tuple[str, ...], ...]:
        """Text of each token of each prompt."""
        return tuple(tuple(row) for row in self._texts["tokens"])

    @property
    def groups(self) -> tuple[str, ...]:
        """Label of each prompt, "" for none; empty where prompts were not grouped."""
        return tuple(self._texts.get("groups", ()))

    def recorded_tokens(self, prompt: int) -> tuple[str, ...]:
        """Texts of the tokens whose beliefs were recorded.

        Raises:
            OptionError: a prompt that the result does not hold.
        """
        return tuple(self.tokens[prompt][index] for index in self._positions(prompt))

    def _positions(self, prompt: int) -> np.ndarray:
        row = self.data["prompts"].to_dataset()["positions"].values[self._prompt(prompt)]
        return row[row >= 0]

    def _prompt(self, prompt: int) -> int:
        return whole_number("prompt", prompt, least=0, most=len(self.prompts) - 1, remedy="see flow.prompts")

    def tree(self, prompt: int, depth: int) -> CondensationTree:
        """Condensation tree of one prompt at one depth (state, or block for Gaussian beliefs), as it was made but for beliefs.

        Raises:
            OptionError: a prompt or depth that the result does not hold, or a result without trees.
        """
        node = self._node("condensation")
        last = self._n_tree_depths(node) - 1
        at = (self._prompt(prompt), whole_number("depth", depth, least=0, most=last, remedy="0 is the input end"))
        parents = node["parents"].values[at]
        present = parents[parents != -2]
        costs = node["merge_costs"].values[at][: (len(present) - 1) // 2]
        # results of earlier versions do not say how many merges were tied
        ties = int(node["n_ties"].values[at]) if "n_ties" in node else None
        return CondensationTree.from_parents(present, costs, n_ties=ties, labels=self.recorded_tokens(prompt))

    def trees(self, prompt: int) -> tuple[CondensationTree, ...]:
        """Condensation trees of one prompt, one per depth, from the input end to the output end."""
        return tuple(self.tree(prompt, depth) for depth in range(self._n_tree_depths(self._node("condensation"))))

    @staticmethod
    def _n_tree_depths(node: xr.Dataset) -> int:
        return next(size for name, size in node["parents"].sizes.items() if name not in ("prompt", "node"))

    def tree_table(self, prompt: int, depth: int) -> TreeTable:
        """Every node of one tree with its loss, its support, and where its tokens stand in the prompt; for drawing it."""
        return tree_table(self.tree(prompt, depth), positions=self._positions(prompt))

    def to_dataframe(self, name: str) -> pd.DataFrame:
        """One diagnostic as a tidy table: a row per quantity, null model, sink policy, depth and head."""
        node = self._node(name)
        columns = ["value", "value_low", "value_high", "null", "null_low", "null_high", "difference", "low", "high",
                   "p_value", "significant", "verdict_by_null", "verdict"]  # fmt: skip
        return node[[column for column in columns if column in node]].to_dataframe().reset_index()

    def summary(self) -> pd.DataFrame:
        """One row per quantity: its trend over depth against the random initialisation, and how many entries beat it.

        `later_trend` is the slope without the first depth: where it has the other sign, the trend is one step at the input end.
        """
        return pd.DataFrame([row for name in self.diagnostics for row in _summary_rows(name, self._node(name))])


def open_flow(path: str | Path) -> RGFlow:
    """Read what `RGFlow.save` wrote.

    Raises:
        BadInput: no such file, or not a result of rgprobe.
    """
    data = read_tree(Path(path))
    if "provenance" not in data.attrs or "prompts" not in data.children:
        raise BadInput(str(path), expected="a result that rgprobe saved", received="another NetCDF file",
                       remedy="pass the .nc file of an rgprobe run")  # fmt: skip
    return RGFlow(data)


def _summary_rows(name: str, node: xr.Dataset) -> Iterator[dict[str, Any]]:
    sinks = [str(s) for s in node["sink"].values] if "sink" in node.dims else [""]
    for quantity in node["quantity"].values:
        for sink in sinks:
            at = {"quantity": quantity, **({"sink": sink} if sink else {})}
            entry = node.sel(at)
            verdicts = entry["verdict"].values.ravel()
            row = {
                "diagnostic": name,
                "quantity": str(quantity),
                "sink": sink,
                "units": str(entry["units"].values),
                "trend": float(entry["trend"]),
                # results of earlier versions have none
                "later_trend": float(entry["later_trend"]) if "later_trend" in entry else float("nan"),
                "trend_verdict": str(entry["trend_verdict"].values),
                "n_entries": int((verdicts != "").sum()),
                "n_beat_null": int((verdicts == "beats null").sum()),
                "n_within_null": int((verdicts == "within null").sum()),
            }
            for model in entry["null_model"].values if "null_model" in entry.dims else ():
                against = entry.sel(null_model=model)
                row[f"trend_vs_{model}"] = str(against["trend_verdict_by_null"].values)
                if model == "random_init":
                    row |= {key: float(against[f"trend_{key}"]) for key in ("null", "difference", "low", "high")}
            yield row
