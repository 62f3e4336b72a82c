"""What of one diagnostic two runs can be compared by: one array per run over prompts, quantities and a common depth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr

from rgprobe.assembly import head_mean, slope_over_depth
from rgprobe.nulls import mean_over

__all__ = [
    "ABSOLUTE",
    "RELATIVE",
    "Aligned",
    "aligned",
    "common_grid",
    "interpolated",
    "on_common_depths",
    "over_depth",
]

ABSOLUTE = "layer to layer: both runs have as many"
RELATIVE = (
    "relative depth: numbers of layers differ, so the deeper run is interpolated linearly to the depths l / L of the "
    "shallower one, 0 the input end, 1 the output end"
)


@dataclass(frozen=True)
class Aligned:
    """One run, one diagnostic; every array has the dimensions (first, quantity, [sink], depth), or these without depth.

    Attributes:
        value: first dimension: prompt.
        nulls: by null model, prompt means of the draws; first dimension: prompt.
        by_seed: by null model, where all prompts share a draw; first dimension: seed.
    """

    value: xr.DataArray
    nulls: dict[str, xr.DataArray]
    by_seed: dict[str, xr.DataArray]

    def mapped(self, change: Callable[[xr.DataArray], xr.DataArray]) -> Aligned:
        """The same with every array changed alike."""
        return Aligned(
            change(self.value),
            {name: change(null) for name, null in self.nulls.items()},
            {name: change(null) for name, null in self.by_seed.items()},
        )


def aligned(node: xr.Dataset, quantities: Sequence[str], sinks: Sequence[str] | None) -> Aligned:
    """Arrays of a diagnostic's node of a result, quantities and sink policies in the order asked for, heads kept."""
    at = {"quantity": list(quantities), **({"sink": list(sinks)} if sinks is not None else {})}
    order = ("prompt", "seed", "quantity", "sink")
    chosen = node.sel(at).transpose(*order, ..., missing_dims="ignore")
    names = [str(name) for name in node["null_model"].values] if "null_per_prompt" in node else []
    return Aligned(
        chosen["per_prompt"],
        {name: chosen["null_per_prompt"].sel(null_model=name, drop=True) for name in names},
        {name: chosen[f"{name}_by_seed"] for name in names if f"{name}_by_seed" in chosen},
    )


def over_depth(depth: str, grid: np.ndarray) -> dict[str, Callable[[Aligned], Aligned]]:
    """The three readings of a quantity along depth, by the prefix of their variables.

    "" value at each depth of the common grid; "level_" mean over depth; "trend_" slope against relative depth. Heads of two
    models do not correspond, so each is a mean over heads; level and slope are taken on the run's own layers, of runs that
    went through `on_common_depths`.
    """
    return {
        "": lambda run: run.mapped(lambda array: interpolated(head_mean(array), depth, grid)),
        "level_": lambda run: run.mapped(lambda array: _mean(head_mean(array), depth)),
        "trend_": lambda run: run.mapped(partial(slope_over_depth, depth=depth)),
    }


def on_common_depths(runs: Mapping[str, Sequence[Aligned]], depth: str) -> dict[str, list[Aligned]]:
    """Head means, undefined wherever another run, or a null, is undefined at that relative depth of that prompt.

    A curve that bends has another mean and another slope over another part of it: two equal curves of which one is
    undefined at the input end would otherwise differ. A null that is undefined at all depths of a prompt restricts nothing.
    """
    means = {label: [run.mapped(head_mean) for run in side] for label, side in runs.items()}
    defined = [_defined(run, depth) for side in means.values() for run in side]
    found = {}
    for label, side in means.items():
        found[label] = [_where(run, _all_at(defined, run.value, depth)) for run in side]
    return found


def _defined(run: Aligned, depth: str) -> xr.DataArray:
    """1 where a run's value and its nulls are defined, NaN elsewhere."""
    here = run.value.copy(data=np.isfinite(run.value.values))
    for null in run.nulls.values():
        there = null.copy(data=np.isfinite(null.values))
        here = here & (there | ~there.any(depth))
    return xr.where(here, 1.0, np.nan).transpose(*run.value.dims)


def _all_at(defined: Sequence[xr.DataArray], like: xr.DataArray, depth: str) -> xr.DataArray:
    """Whether all are defined at the depths of `like`."""
    grid = np.linspace(0, 1, like.sizes[depth])
    order = [dim for dim in like.dims if dim != depth]
    values = [interpolated(one, depth, grid).transpose(*order, depth).values for one in defined]
    return like.transpose(*order, depth).copy(data=np.isfinite(values).all(0))


def _where(run: Aligned, kept: xr.DataArray) -> Aligned:
    ever = kept.any("prompt")
    return Aligned(
        run.value.where(kept),
        {name: null.where(kept) for name, null in run.nulls.items()},
        {name: null.where(ever) for name, null in run.by_seed.items()},
    )


def common_grid(lengths: Iterable[int]) -> np.ndarray:
    """Relative depths at which runs of these numbers of layers are compared: those of the shallowest.

    Example:
        >>> common_grid([5, 3])
        array([0. , 0.5, 1. ])
    """
    return np.linspace(0, 1, min(lengths))


def interpolated(array: xr.DataArray, depth: str, grid: np.ndarray) -> xr.DataArray:
    """Linear interpolation along `depth`, whose entries stand at equal steps from 0 to 1; undefined next to what is."""
    values = np.moveaxis(array.values, array.dims.index(depth), -1)
    last = values.shape[-1] - 1
    if last == len(grid) - 1:
        return array.transpose(*(dim for dim in array.dims if dim != depth), depth).drop_vars(depth, errors="ignore")
    place = np.round(grid * last, 12)  # a depth that both have is taken as it is
    lower = np.floor(place).astype(int)
    part = place - lower
    below, above = values[..., lower], values[..., np.minimum(lower + 1, last)]
    result = np.where(part == 0, below, below * (1 - part) + above * part)
    dims = [dim for dim in array.dims if dim != depth]
    coords = {name: coord for name, coord in array.coords.items() if depth not in coord.dims}
    return xr.DataArray(result, dims=(*dims, depth), coords=coords)


def _mean(array: xr.DataArray, dim: str) -> xr.DataArray:
    values = mean_over(array.values, array.dims.index(dim))
    dims = [other for other in array.dims if other != dim]
    return xr.DataArray(values, dims=dims, coords={k: c for k, c in array.coords.items() if set(c.dims) <= set(dims)})
