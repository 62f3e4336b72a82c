"""From aligned runs to the labelled arrays of one diagnostic: both values, their difference, and that of their excesses."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import xarray as xr

from rgprobe.assembly import significant_in_families
from rgprobe.bootstrap import bootstrap_interval
from rgprobe.comparison.aligning import Aligned
from rgprobe.contrasts import (
    Contrast,
    Excess,
    excess_contrast,
    group_contrast,
    paired_contrast,
    prediction_band,
    same_seeds,
)
from rgprobe.nulls import mean_over, variance_over
from rgprobe.student import t_quantile

__all__ = ["EQUAL", "NO_DIFFERENCE", "contrasted", "words_of"]

NO_DIFFERENCE = "no difference found"
EQUAL = "equal"
FIELDS = ("difference", "low", "high", "p_value")
Sides = tuple[Sequence[Aligned], Sequence[Aligned]]


def words_of(names: Sequence[str]) -> tuple[str, str]:
    """The two verdicts that name a winner: first above second, second above first."""
    return f"{names[0]} above {names[1]}", f"{names[1]} above {names[0]}"


def contrasted(runs: Mapping[str, Sequence[Aligned]], *, seed: int, prefix: str) -> xr.Dataset:
    """Compare two sides, of one run or of several training seeds each.

    Returns:
        Over (run, ...): value, value_low, value_high; over (...): difference, low, high, p_value, significant, verdict,
        prompts (how many both sides share); by prompt, or by checkpoint where there are several: per_prompt, the difference
        second - first, or by_checkpoint, the prompt means. With nulls, over (run, null_model, ...): null, null_low,
        null_high, excess; and over (null_model, ...): excess_difference, excess_low, excess_high, excess_p_value,
        excess_significant, excess_verdict. Every name starts with `prefix`.
    """
    names = list(runs)
    sides = _on_shared_prompts(runs)
    template = sides[0][0].value
    dims: tuple[Hashable, ...] = template.dims[1:]
    coords = {name: coord for name, coord in template.coords.items() if set(coord.dims) <= set(dims)}
    several = len(sides[0]) > 1
    contrast = _of_values(sides, several)
    node = xr.Dataset(coords={**coords, "run": names})
    for name, arrays in _values(sides, several, seed).items():
        node[name] = (("run", *dims), arrays)
    node["prompts"] = (dims, np.isfinite(template.values).sum(0))
    node = node.assign(_judged(contrast, dims, names))
    node.attrs["interval_carries"] = contrast.carries
    if several:
        groups = [name for name, side in zip(names, sides, strict=True) for _ in side]
        means = np.concatenate([_means(side) for side in sides])
        node = node.assign_coords(group=("checkpoint", groups)).assign(by_checkpoint=(("checkpoint", *dims), means))
    else:
        node["per_prompt"] = (("prompt", *dims), sides[1][0].value.values - template.values)
    shared = [name for name in sides[0][0].nulls if all(name in run.nulls for side in sides for run in side)]
    if shared:
        node = _with_nulls(node, sides, shared, dims, names, several=several)
    return node.rename({name: f"{prefix}{name}" for name in node.data_vars})


def _on_shared_prompts(runs: Mapping[str, Sequence[Aligned]]) -> Sides:
    """Every number over the prompts at which all runs are defined, so that values, nulls and differences add up."""
    every = [run.value.values for side in runs.values() for run in side]
    defined = np.isfinite(every).all(0)
    first, second = (
        [
            Aligned(run.value.where(defined), {k: null.where(defined) for k, null in run.nulls.items()}, run.by_seed)
            for run in side
        ]
        for side in runs.values()
    )
    return first, second


def _means(side: Sequence[Aligned]) -> np.ndarray:
    return np.stack([mean_over(run.value.values, 0) for run in side])


def _of_values(sides: Sides, several: bool) -> Contrast:
    first, second = sides
    if several:
        return group_contrast(_means(first), _means(second))
    return paired_contrast(first[0].value.values, second[0].value.values)


def _values(sides: Sides, several: bool, seed: int) -> dict[str, np.ndarray]:
    """Mean of each side with its 95% interval: BCa over prompts for one run, t over checkpoints for several."""
    means, bounds = [], []
    for side in sides:
        if several:
            centre = _means(side)
            means.append(mean_over(centre, 0))
            bounds.append(_t_interval(centre))
        else:
            means.append(mean_over(side[0].value.values, 0))
            bounds.append(bootstrap_interval(side[0].value.values, seed=seed))
    low, high = (np.stack([pair[end] for pair in bounds]) for end in (0, 1))
    return {"value": np.stack(means), "value_low": low, "value_high": high}


def _t_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the first axis -+ t standard errors."""
    count = np.isfinite(values).sum(0)
    half = t_quantile(count - 1) * np.sqrt(variance_over(values) / np.maximum(count, 1))
    centre = mean_over(values, 0)
    return centre - half, centre + half


def _judged(contrast: Contrast, dims: Sequence[Hashable], names: Sequence[str]) -> dict[str, xr.Variable]:
    fields = {name: xr.Variable(dims, getattr(contrast, name)) for name in FIELDS}
    significant = significant_in_families(contrast.p_value, dims)
    first, second = words_of(names)
    # what differs exactly, as two parameters do, is named without a test
    words = np.where(significant | contrast.exact, np.where(contrast.difference > 0, second, first), NO_DIFFERENCE)
    judged = contrast.sufficient & (np.isfinite(contrast.p_value) | contrast.exact)
    words = np.where(judged, words, "descriptive")
    words = np.where(contrast.equal, EQUAL, words)
    words = np.where(np.isfinite(contrast.difference), words, "")
    return {
        **fields,
        "significant": xr.Variable(dims, significant.astype(np.int8)),
        "verdict": xr.Variable(dims, words.astype(object)),
    }


def _with_nulls(
    node: xr.Dataset,
    sides: Sides,
    shared: Sequence[str],
    dims: Sequence[Hashable],
    names: Sequence[str],
    *,
    several: bool,
) -> xr.Dataset:
    node = node.assign_coords(null_model=list(shared))
    drawn = [[_null_of(side, null) for null in shared] for side in sides]  # run, null model
    for index, name in enumerate(("null", "null_low", "null_high")):
        stacked = np.stack([[each[index] for each in of_run] for of_run in drawn])
        node[name] = (("run", "null_model", *dims), stacked)
    node["excess"] = node["value"] - node["null"]
    contrasts = [_of_excesses(sides, null, several) for null in shared]
    judged = [_judged(contrast, dims, names) for contrast in contrasts]
    for name in judged[0]:
        stacked = np.stack([each[name].values for each in judged])
        node[f"excess_{name}"] = (("null_model", *dims), stacked)
    carried = "; ".join(f"{null}: {contrast.carries}" for null, contrast in zip(shared, contrasts, strict=True))
    return node.assign_attrs(excess_interval_carries=carried)


def _null_of(side: Sequence[Aligned], null: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of a null over the shared prompts, and where one more draw would fall."""
    by_run = np.stack([mean_over(run.nulls[null].values, 0) for run in side])
    centre = mean_over(by_run, 0)
    if null in side[0].by_seed:
        low, high = prediction_band(side[0].by_seed[null].values)
    else:
        low, high = _t_interval(side[0].nulls[null].values)
    shift = centre - (low + high) / 2  # the band of the first checkpoint, around the mean of all
    return centre, low + shift, high + shift


def _of_excesses(sides: Sides, null: str, several: bool) -> Contrast:
    first, second = sides
    by_seed = [side[0].by_seed.get(null) for side in sides]
    seeds = [None if one is None else one.values for one in by_seed]
    if not several:
        return excess_contrast(*(
            Excess(side[0].value.values - side[0].nulls[null].values, one)
            for side, one in zip(sides, seeds, strict=True)
        ))  # fmt: skip
    means = [
        np.stack([mean_over(run.value.values - run.nulls[null].values, 0) for run in side]) for side in (first, second)
    ]
    drawn = [one for one in seeds if one is not None]
    if len(drawn) == 2 and same_seeds(*drawn):
        drawn = []  # the same error on both sides cancels
    return group_contrast(*means, nulls=drawn)
