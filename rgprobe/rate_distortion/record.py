"""`RateDistortion`: what predictions lose when tokens are replaced by fewer meta-tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

__all__ = ["RateDistortion"]


@dataclass(frozen=True)
class RateDistortion:
    """Distortion against the number of meta-tokens, for the tree and for what it is compared with.

    Attributes:
        data: distortion (partition, clusters), nats per scored token: KL(predictions || those with meta-tokens); relative, in
            units of the distortion where all merged tokens become their mean; area (partition), of `relative` against the
            share of tokens that is kept, by the trapezoid rule; one that is given, such as sentences, is a single point.

    Example:
        >>> import rgprobe as rg
        >>> text = "To be, or not to be, that is the question: whether tis nobler in the mind to suffer"
        >>> curve = rg.faithfulness("standard-small", text, layer=3, baselines=("windows",))
        >>> curve.partitions, bool(curve.distortion("tree")[-1] < 1e-9)
        (('tree', 'windows'), True)
    """

    data: xr.Dataset

    @property
    def partitions(self) -> tuple[str, ...]:
        """ "tree" and the names of the baselines."""
        return tuple(str(name) for name in self.data["partition"].values)

    @property
    def provenance(self) -> dict[str, Any]:
        """Source, prompt, layer, options."""
        return json.loads(self.data.attrs["provenance"])

    def distortion(self, partition: str) -> np.ndarray:
        """Nats per scored token by number of clusters, ascending; NaN where there is none of that size."""
        return self.data["distortion"].sel(partition=partition).values

    def to_xarray(self) -> xr.Dataset:
        """The labelled arrays."""
        return self.data

    def to_dataframe(self) -> pd.DataFrame:
        """A row per partition and number of clusters."""
        return self.data[["distortion", "relative"]].to_dataframe().dropna().reset_index()
