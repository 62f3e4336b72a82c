"""From measurements of a model and of its nulls to one node of a result: labelled arrays with intervals and verdicts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from rgprobe.bootstrap import bootstrap_interval
from rgprobe.diagnostics.record import Diagnostic, Measurement
from rgprobe.nulls import (
    Comparison,
    benjamini_hochberg,
    compare_with_draws,
    compare_with_seeds,
    mean_over,
)

__all__ = ["NullMeasurements", "assemble_node", "head_mean", "significant_in_families", "slope_over_depth"]

ORDER = ("draw", "prompt", "quantity", "sink", "block", "state", "transition", "head")
FIELDS = ("null", "null_low", "null_high", "difference", "low", "high", "p_value")


@dataclass(frozen=True)
class NullMeasurements:
    """Measurements of null models for one diagnostic, in the order of their draws, which scaled initialisations share."""

    random_init: Sequence[Measurement] = ()
    shuffled_tokens: Sequence[Measurement] = ()
    scaled_init: Sequence[Measurement] = ()


def assemble_node(diagnostic: Diagnostic, measured: Measurement, nulls: NullMeasurements, *, seed: int) -> xr.Dataset:
    """Compare a measurement with its nulls and label everything.

    Returns:
        value, value_low, value_high, per_prompt, verdict; with nulls also null, null_low, null_high, difference, low, high,
        p_value, significant, verdict_by_null over a `null_model` dimension; the same names with `trend_` for the slope of
        the head mean against relative depth, and with `later_trend_` for that without the first depth, because many curves
        make one step at the input end and the line through them is that step; null_per_prompt and random_init_by_seed,
        which a comparison of two runs needs; and the details of the measurement.

        Each null asks its own question: the random initialisation, whether training made it; the scaled one, whether that is
        more than the size of its logits (undefined where that changes nothing); shuffled tokens, whether the
        order of the words does; another prompt's partition, whether the content does. `verdict` is the one against the
        random initialisation, without which nothing beats its null. Slopes are compared over the depths where both sides are
        defined: a curve that bends has another slope over another part of it.
    """
    measured, nulls = _calibrated(diagnostic, measured, nulls)
    per_prompt = _stack(diagnostic, measured.values)
    drawn = _drawn(diagnostic, measured, nulls)
    # beliefs decide it: thermal ones live on blocks, lens ones on states
    depth = next(str(dim) for dim in per_prompt.dims if dim in ("block", "state", "transition"))
    curves = {name: (head_mean(null), by_seed) for name, (null, by_seed) in drawn.items()}
    node = xr.merge(
        [
            _compared(
                per_prompt, {name: _compare_with_null(per_prompt, *null) for name, null in drawn.items()}, seed=seed
            ),
            _trend(head_mean(per_prompt), curves, depth, "trend", seed=seed),
            _trend(head_mean(per_prompt), curves, depth, "later_trend", first=1, seed=seed),
            measured.details,
        ],
        compat="no_conflicts",
        join="outer",
    )
    node = node.assign({"per_prompt": per_prompt, **_kept_draws(per_prompt, drawn)})
    return _described(node, diagnostic, drawn).assign_attrs(depth=depth)


def _kept_draws(per_prompt: xr.DataArray, drawn: dict[str, tuple[xr.DataArray, bool]]) -> dict[str, xr.Variable]:
    """What a comparison with another run needs of the nulls: their mean by prompt, and by seed where prompts share one."""
    if not drawn:
        return {}
    by_prompt = np.stack([mean_over(null.values, 0) for null, _ in drawn.values()])
    kept = {"null_per_prompt": xr.Variable(("null_model", *per_prompt.dims), by_prompt)}
    for name, (null, by_seed) in drawn.items():
        if by_seed:
            defined = np.isfinite(per_prompt.values) & np.isfinite(by_prompt[list(drawn).index(name)])
            means = mean_over(np.where(defined, null.values, np.nan), 1)
            kept[f"{name}_by_seed"] = xr.Variable(("seed", *per_prompt.dims[1:]), means)
    return kept


def _calibrated(
    diagnostic: Diagnostic, measured: Measurement, nulls: NullMeasurements
) -> tuple[Measurement, NullMeasurements]:
    calibrate = diagnostic.calibrate
    if calibrate is None or not nulls.random_init:
        return measured, nulls
    seeds = nulls.random_init
    # each seed is judged by the others, as the model is judged by all
    without = [[other for other in seeds if other is not one] for one in seeds]
    return calibrate(measured, seeds), NullMeasurements(
        tuple(calibrate(one, rest) for one, rest in zip(seeds, without, strict=True)),
        tuple(calibrate(one, seeds) for one in nulls.shuffled_tokens),
        tuple(calibrate(one, seeds) for one in nulls.scaled_init),
    )


def _stack(diagnostic: Diagnostic, values: xr.Dataset) -> xr.DataArray:
    """(prompt, quantity, ...) with quantities in the declared order; absent ones are NaN."""
    names = [quantity.name for quantity in diagnostic.quantities]
    first = next(iter(values.data_vars.values()))
    dims = [dim for dim in ORDER if dim in first.dims]
    arrays = [values[name].transpose(*dims).values if name in values else np.full_like(first, np.nan) for name in names]
    axis = dims.index("prompt") + 1
    dims.insert(axis, "quantity")
    coords = {"quantity": names, **({"sink": first["sink"].values} if "sink" in first.coords else {})}
    return xr.DataArray(np.stack(arrays, axis), dims=dims, coords=coords)


def _drawn(
    diagnostic: Diagnostic, measured: Measurement, nulls: NullMeasurements
) -> dict[str, tuple[xr.DataArray, bool]]:
    """Null draws by name, (draw, prompt, quantity, ...), and whether draws are seeds shared by all prompts."""
    found: dict[str, tuple[xr.DataArray, bool]] = {}
    for name, draws, by_seed in (
        ("random_init", nulls.random_init, True),
        ("scaled_init", nulls.scaled_init, True),
        ("shuffled_tokens", nulls.shuffled_tokens, False),
    ):
        if draws:
            stacked = [_stack(diagnostic, draw.values) for draw in draws]
            array = np.stack([one.values for one in stacked])
            found[name] = xr.DataArray(array, dims=("draw", *stacked[0].dims), coords=stacked[0].coords), by_seed
    if "scaled_init" in found:
        found |= _told_apart(found.pop("scaled_init"), found["random_init"])
    for name, values in measured.internal_nulls.items():
        found[name] = _stack(diagnostic, values), False
    # what is exact is not tested: differing for certain, it would head every list and loosen the test of the others
    exact = [quantity.name for quantity in diagnostic.quantities if quantity.identity]
    return {name: (null.where(~null["quantity"].isin(exact)), by_seed) for name, (null, by_seed) in found.items()}


def _told_apart(
    scaled: tuple[xr.DataArray, bool], plain: tuple[xr.DataArray, bool]
) -> dict[str, tuple[xr.DataArray, bool]]:
    """Scaled initialisations, undefined for quantities that do not read predictions; nothing where none does."""
    draws, by_seed = scaled
    moved = [str(q) for q in draws["quantity"].values if not draws.sel(quantity=q).equals(plain[0].sel(quantity=q))]
    return {"scaled_init": (draws.where(draws["quantity"].isin(moved)), by_seed)} if moved else {}


def _compare_with_null(values: xr.DataArray, null: xr.DataArray, by_seed: bool) -> Comparison:
    """Values by prompt against draws of a null."""
    return (compare_with_seeds if by_seed else compare_with_draws)(values.values, null.values)


def _trend(
    curve: xr.DataArray,
    nulls: dict[str, tuple[xr.DataArray, bool]],
    depth: str,
    name: str,
    *,
    seed: int,
    first: int = 0,
) -> xr.Dataset:
    """Slopes of head means from the depth `first` on, compared with each null over the depths where both are defined."""
    relative, later = np.linspace(0, 1, curve.sizes[depth])[first:], {depth: slice(first, None)}
    curve, comparisons = curve.isel(later), {}
    for null_name, (null, by_seed) in nulls.items():
        drawn = null.isel(later)
        common = _defined(curve) & _defined(drawn).all("draw")
        own, of_null = (_slope(each.where(common), depth, relative) for each in (curve, drawn))
        comparisons[null_name] = _compare_with_null(own, of_null, by_seed)
    found = _compared(_slope(curve, depth, relative), comparisons, seed=seed, prefix=f"{name}_")
    return found.rename({f"{name}_value": name})


def _compared(per_prompt: xr.DataArray, by_null: dict[str, Comparison], *, seed: int, prefix: str = "") -> xr.Dataset:
    values = per_prompt.values
    dims = per_prompt.dims[1:]
    coords = {name: coord for name, coord in per_prompt.coords.items() if "prompt" not in coord.dims}
    low, high = bootstrap_interval(values, seed=seed)
    with np.errstate(invalid="ignore"):
        mean = np.where(np.isfinite(values).any(0), np.nansum(values, 0) / np.isfinite(values).sum(0).clip(1), np.nan)
    node = xr.Dataset({"value": (dims, mean), "value_low": (dims, low), "value_high": (dims, high)}, coords=coords)
    if by_null:
        comparisons = list(by_null.values())
        node = node.assign_coords(null_model=list(by_null))
        for name in FIELDS:
            node[name] = (("null_model", *dims), np.stack([getattr(c, name) for c in comparisons]))
        significant = [significant_in_families(comparison.p_value, dims) for comparison in comparisons]
        node["significant"] = (("null_model", *dims), np.stack(significant).astype(np.int8))
        carries = zip(by_null, (comparison.carries for comparison in comparisons), strict=True)
        node.attrs["interval_carries"] = "; ".join(f"{name}: variance of {what}" for name, what in carries)
        words = [_verdicts(mean, c, beaten) for c, beaten in zip(comparisons, significant, strict=True)]
        node["verdict_by_null"] = (("null_model", *dims), np.stack(words).astype(object))
    verdict = np.where(np.isfinite(mean), "descriptive", "")
    if "random_init" in by_null:
        verdict = words[list(by_null).index("random_init")]
    node["verdict"] = (dims, verdict.astype(object))
    return node.rename({name: f"{prefix}{name}" for name in node.data_vars}) if prefix else node


def significant_in_families(p: np.ndarray, dims: Sequence[Hashable]) -> np.ndarray:
    """Benjamini-Hochberg over depths and heads, one family per quantity and sink policy; all trends are one family."""
    outer = sum(dim in ("quantity", "sink") for dim in dims)
    if outer == len(dims):
        return benjamini_hochberg(p)
    families = p.reshape(-1, *p.shape[outer:])
    return np.stack([benjamini_hochberg(family) for family in families]).reshape(p.shape)


def _verdicts(value: np.ndarray, comparison: Comparison, significant: np.ndarray) -> np.ndarray:
    """Words per entry: "beats null" or "within null" on sufficient data, else "descriptive"; "" where undefined."""
    judged = np.where(significant, "beats null", "within null")
    words = np.where(np.isfinite(comparison.p_value) & comparison.sufficient, judged, "descriptive")
    return np.where(np.isfinite(value), words, "")


def slope_over_depth(values: xr.DataArray, depth: str) -> xr.DataArray:
    """Least-squares slope of the head mean against relative depth, 0 at the input end and 1 at the output end.

    Over the depths where it is defined; NaN where fewer than two are.
    """
    return _slope(head_mean(values), depth, np.linspace(0, 1, values.sizes[depth]))


def head_mean(values: xr.DataArray) -> xr.DataArray:
    """Mean over the heads where they are defined."""
    if "head" not in values.dims:
        return values
    count = _defined(values).sum("head")
    return (values.sum("head", skipna=True) / count.clip(1)).where(count > 0)


def _defined(values: xr.DataArray) -> xr.DataArray:
    return values.copy(data=np.isfinite(values.values))


def _slope(curves: xr.DataArray, depth: str, relative: np.ndarray) -> xr.DataArray:
    """Along `depth`, whose places are given, over what is defined."""
    y = np.moveaxis(curves.values, curves.dims.index(depth), -1)
    here = np.isfinite(y)
    count = here.sum(-1, keepdims=True).clip(1)
    x = np.where(here, relative, 0.0)
    x = np.where(here, x - x.sum(-1, keepdims=True) / count, 0.0)
    spread = (x**2).sum(-1)
    slope = np.where(spread > 0, (x * np.where(here, y, 0.0)).sum(-1) / np.where(spread > 0, spread, 1.0), np.nan)
    dims = [dim for dim in curves.dims if dim != depth]
    return xr.DataArray(slope, dims=dims, coords={k: c for k, c in curves.coords.items() if set(c.dims) <= set(dims)})


def _described(node: xr.Dataset, diagnostic: Diagnostic, drawn: dict[str, tuple[xr.DataArray, bool]]) -> xr.Dataset:
    quantities = {quantity.name: quantity for quantity in diagnostic.quantities}
    names = [str(name) for name in node["quantity"].values]
    node = node.assign_coords(
        units=("quantity", [quantities[name].units for name in names]),
        meaning=("quantity", [quantities[name].meaning for name in names]),
    )
    for quantity in diagnostic.quantities:
        if quantity.identity:
            index = names.index(quantity.name)
            for variable in ("verdict", "trend_verdict", "later_trend_verdict"):
                words = node[variable].values.copy()
                words[index] = np.where(words[index] == "", "", "identity")
                node[variable] = (node[variable].dims, words)
    return node.assign_attrs(
        title=diagnostic.title,
        catalogue=diagnostic.catalogue,
        assumption=diagnostic.assumption,
        reading=diagnostic.reading,
        undefined=diagnostic.undefined,
        null_models=", ".join(drawn),
        interval="95%: BCa bootstrap over prompts for values; t over prompts and seeds for differences",
    )
