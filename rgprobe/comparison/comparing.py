"""`compare`: two runs on the same prompts, diagnostic by diagnostic, with what was left out and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xarray as xr

from rgprobe.checks import checked_seed
from rgprobe.comparison.aligning import ABSOLUTE, RELATIVE, aligned, common_grid, on_common_depths, over_depth
from rgprobe.comparison.contrasting import contrasted
from rgprobe.comparison.matching import (
    Groups,
    NotCompared,
    grouped,
    needs_same_tokenizer,
    require_comparable,
    same_tokens,
)
from rgprobe.comparison.record import FORMAT, FlowComparison
from rgprobe.errors import OptionError
from rgprobe.rg_flow import RGFlow
from rgprobe.wording import counted

__all__ = ["compare"]

EVERY = "every quantity"
KEPT_COORDS = ("units", "meaning")


def compare(runs: Mapping[str, RGFlow | Sequence[RGFlow]], *, seed: int = 0) -> FlowComparison:
    """Compare two runs on the same prompts, or two families by runs of several training seeds each.

    For every quantity that both hold: the difference second - first at matched depth, averaged over depth (`level_`) and of
    the slope over depth (`trend_`), these two over the depths where both are defined, with a 95% interval; and the same for
    the excess of each run over its own null, which is the fairer question, since architectures differ before any training.
    Heads of two models do not correspond: they enter as their mean. If numbers of layers differ, depths are matched relative
    to the whole.

    One run of each: t over prompts, paired; it speaks about these two checkpoints, each one draw of training. Several of
    each: Welch's t over training seeds of prompt means; it speaks about the families, on these prompts. Significance is
    Benjamini-Hochberg at 5% over the depths of a quantity; levels of a diagnostic are one family, and so are its trends.

    Args:
        runs: two names, each with an `RGFlow` or a list of them (one per training seed).
        seed: of the bootstrap of single values.

    Raises:
        PromptError: the runs read other prompts.
        OptionError: no two names with runs; another belief estimator, sink policy or other option that changes the meaning of
            a number; or nothing that both hold.
    """
    seed, groups = checked_seed(seed), grouped(runs)
    require_comparable(groups)
    left_out: list[NotCompared] = []
    nodes: dict[str, xr.Dataset] = {}
    for name in _names(groups):
        node = _node(groups, name, left_out, seed=seed)
        if node is not None:
            nodes[name] = node
    if not nodes:
        reasons = "; ".join(dict.fromkeys(entry.reason for entry in left_out))
        raise OptionError("runs", expected="a quantity that both hold", received=f"none ({reasons})",
                          remedy="run both with the same diagnostics")  # fmt: skip
    root = xr.Dataset(attrs=_attributes(groups, left_out))
    return FlowComparison(xr.DataTree.from_dict({"/": root, **nodes}))


def _names(groups: Groups) -> list[str]:
    return list(dict.fromkeys(name for group in groups.values() for flow in group for name in flow.diagnostics))


def _node(groups: Groups, name: str, left_out: list[NotCompared], *, seed: int) -> xr.Dataset | None:
    """Arrays of one diagnostic; None where nothing can be compared, which `left_out` then explains."""
    flows = [flow for group in groups.values() for flow in group]
    lacking = [label for label, group in groups.items() if any(name not in flow.diagnostics for flow in group)]
    if lacking:
        left_out.append(NotCompared(name, EVERY, f"not measured in {' and '.join(lacking)}"))
        return None
    held = {label: [flow.to_xarray()[name].to_dataset() for flow in group] for label, group in groups.items()}
    nodes = [node for group in held.values() for node in group]
    depth = str(nodes[0].attrs["depth"])
    lengths = [node.sizes.get(depth, 0) for node in nodes]
    if min(lengths) < 2 and len(set(lengths)) > 1:
        left_out.append(NotCompared(name, EVERY, f"one of the runs has no depth along {depth} to match"))
        return None
    quantities = _quantities(held, name, left_out, tokenizers_agree=same_tokens(flows))
    if not quantities:
        return None
    left_out += _nulls_left_out(held, name, quantities)
    sinks = [str(sink) for sink in nodes[0]["sink"].values] if "sink" in nodes[0].dims else None
    runs = {label: [aligned(node, quantities, sinks) for node in group] for label, group in held.items()}
    grid, shared = common_grid(lengths), on_common_depths(runs, depth)
    parts = []
    for prefix, take in over_depth(depth, grid).items():
        chosen = shared if prefix else runs
        readings = {label: [take(run) for run in group] for label, group in chosen.items()}
        parts.append(contrasted(readings, seed=seed, prefix=prefix))
    return _described(xr.merge(parts, compat="override", join="exact", combine_attrs="override"), nodes, depth, grid)


def _quantities(
    held: Mapping[str, Sequence[xr.Dataset]], name: str, left_out: list[NotCompared], *, tokenizers_agree: bool
) -> list[str]:
    first = next(iter(held.values()))[0]
    every = dict.fromkeys(str(q) for group in held.values() for node in group for q in node["quantity"].values)
    kept = []
    for quantity in every:
        lacking = [label for label, group in held.items() if not all(_defined(node, quantity) for node in group)]
        if lacking:
            reason = f"undefined, or not measured, in {' and '.join(lacking)}"
        elif not tokenizers_agree and needs_same_tokenizer(name, quantity):
            reason = "the tokenizers differ, and it counts tokens or classes of the vocabulary, or is not known not to"
        elif str(first["units"].sel(quantity=quantity).item()) != _unit(held, quantity):
            reason = "the units differ"
        else:
            kept.append(quantity)
            continue
        left_out.append(NotCompared(name, quantity, reason))
    return kept


def _unit(held: Mapping[str, Sequence[xr.Dataset]], quantity: str) -> str:
    units = {str(node["units"].sel(quantity=quantity).item()) for group in held.values() for node in group}
    return units.pop() if len(units) == 1 else "several"


def _defined(node: xr.Dataset, quantity: str) -> bool:
    present = quantity in node["quantity"].values and "per_prompt" in node
    return present and bool(np.isfinite(node["per_prompt"].sel(quantity=quantity).values).any())


def _nulls_left_out(
    held: Mapping[str, Sequence[xr.Dataset]], name: str, quantities: Sequence[str]
) -> Iterator[NotCompared]:
    """Nulls that only some runs have or that are undefined, and results that do not keep their nulls by prompt."""
    every = dict.fromkeys(null for group in held.values() for node in group for null in _null_names(node))
    for null in every:
        lacking = [label for label, group in held.items() if not all(null in _null_names(node) for node in group)]
        if lacking:
            yield NotCompared(name, f"{EVERY}, excess over {null}", f"no such null in {' and '.join(lacking)}")
            continue
        for quantity in quantities if null == "random_init" else ():  # partitions are drawn for single quantities
            undefined = [
                label for label, group in held.items() if not all(_null_defined(node, null, quantity) for node in group)
            ]
            if undefined:
                reason = f"the null is undefined in {' and '.join(undefined)}"
                yield NotCompared(name, f"{quantity}, excess over {null}", reason)
    if any("null_model" in node.dims and "null_per_prompt" not in node for group in held.values() for node in group):
        reason = "a result was written by an older version, which did not keep nulls by prompt; run it again"
        yield NotCompared(name, f"{EVERY}, excess over any null", reason)


def _null_names(node: xr.Dataset) -> list[str]:
    return [str(null) for null in node["null_model"].values] if "null_model" in node.dims else []


def _null_defined(node: xr.Dataset, null: str, quantity: str) -> bool:
    if "null_per_prompt" not in node:
        return True  # said once, for all quantities
    return bool(np.isfinite(node["null_per_prompt"].sel(null_model=null, quantity=quantity).values).any())


def _described(node: xr.Dataset, sources: Sequence[xr.Dataset], depth: str, grid: np.ndarray) -> xr.Dataset:
    first = sources[0]
    equally_deep = all(source.sizes[depth] == len(grid) for source in sources)
    here = first.sel(quantity=node["quantity"].values)
    labels = np.arange(len(grid)) if equally_deep else grid
    node = node.assign_coords(
        {depth: labels, **{name: ("quantity", here[name].values) for name in KEPT_COORDS if name in here.coords}}
    )
    kept = ("title", "catalogue", "assumption", "reading", "undefined")
    attrs = {name: first.attrs[name] for name in kept if name in first.attrs}
    heads = {"heads": "the mean over heads: heads of two models do not correspond"}
    with_heads = any("head" in source["per_prompt"].dims for source in sources)
    return node.assign_attrs(
        **attrs, **(heads if with_heads else {}), depth=depth, alignment=ABSOLUTE if equally_deep else RELATIVE,
        interval="95%; significant after Benjamini-Hochberg at 5%",
    )  # fmt: skip


def _attributes(groups: Groups, left_out: Sequence[NotCompared]) -> dict[str, str]:
    record = {
        "names": list(groups),
        "statement": _statement(groups),
        "prompts": len(next(iter(groups.values()))[0].prompts),
        "not_compared": [vars(entry) for entry in left_out],
    }
    provenance = {name: [flow.provenance for flow in group] for name, group in groups.items()}
    return {
        "comparison": json.dumps(record, sort_keys=True),
        "provenance": json.dumps(provenance, sort_keys=True, default=str),
        "format": FORMAT,
    }


def _statement(groups: Groups) -> str:
    (first, firsts), (second, seconds) = groups.items()
    prompts = counted(len(firsts[0].prompts), "prompt")
    if len(firsts) == 1:
        return (
            f"One checkpoint of each, on the same {prompts}: every interval is paired over prompts and speaks about these "
            "two checkpoints on prompts like these. It does not speak about the families: one checkpoint is one draw of "
            "training, and how far two trainings of the same family fall apart was not measured. That takes several "
            "training seeds of each."
        )
    return (
        f"{len(firsts)} checkpoints of {first} and {len(seconds)} of {second}, taken to be training seeds drawn alike, on "
        f"the same {prompts}: every interval is Welch's t over checkpoints of their prompt means. It speaks about the two "
        "families as trained here, on these prompts; prompts are not resampled."
    )
