"""A flow with made-up numbers in the schema of `RGFlow.to_xarray`, for drawings and the report."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from rgprobe.rg_flow import RGFlow

PLAIN = (" to", " be", ",", " or", " not", " to", " be", ":", " that", " is", " the")
SINKS = ("excluded", "included")
NULLS = ("random_init", "shuffled_tokens")
# diagnostic: (depth dimension, has heads, has sinks, {quantity: units})
CATALOGUE = {
    "free_energy": ("block", True, True, {"free_energy": "nats", "entropy_deficit": "nats"}),
    "temperature": ("block", True, True, {"theta": "1", "theta_entropy": "1", "beta_sigma": "nats"}),
    "plateau": ("transition", False, False, {"angle": "degrees"}),
    "elimination": ("state", False, False, {"kl_to_output": "bits", "entropy": "bits", "answer_rank": "1"}),
    "consensus": ("state", False, False, {"jeffreys": "nats"}),
    "condensation": ("state", False, False, {"information": "nats", "effective_clusters": "1"}),
    "invented_later": ("state", False, True, {"surprise": "nats"}),
}


def synthetic_flow(*, tokens=PLAIN, name="standard-small", prompts=3, blocks=5, heads=3, nulls=3, positions=7, seed=0):
    """A flow of `prompts` equal prompts, whose recorded tokens are the first `positions` after the sink."""
    rng = np.random.default_rng(seed)
    text = "".join(tokens)
    length = len(tokens)
    recorded = np.tile(np.arange(1, positions + 1), (prompts, 1))
    recorded[-1, -1] = -1  # one ragged prompt
    groups = {
        "prompts": xr.Dataset(
            {
                "token_ids": (("prompt", "token"), np.tile(np.arange(length), (prompts, 1))),
                "token_mask": (("prompt", "token"), np.ones((prompts, length), dtype=bool)),
                "positions": (("prompt", "position"), recorded),
            },
            attrs={"texts": json.dumps({"prompts": [text] * prompts, "tokens": [list(tokens)] * prompts})},
        )
    }
    for diagnostic, (dim, headed, sinked, units) in CATALOGUE.items():
        groups[diagnostic] = _group(rng, diagnostic, dim, headed, sinked, units, prompts, blocks, heads, nulls)
    _details(groups, rng, recorded, blocks)
    provenance = {
        "source": {"kind": "shipped", "name": name, "sha256": "0" * 64}, "family": "standard", "config": {"n_layers": blocks},
        "tokenizer": "PreTrainedTokenizerFast", "n_parameters": 12_345, "dtype": "float32", "versions": {"rgprobe": "0.1.0"},
        "belief": "lens", "assumption": "measures predictions, not states", "seed": 0,
        "options": {"belief": "lens", "positions": positions, "sink": "exclude", "bos": "model"},
        "nulls": {"random_init_seeds": list(range(nulls)), "shuffle_seeds": list(range(min(nulls, 1)))},
    }  # fmt: skip
    root = xr.Dataset(attrs={"provenance": json.dumps(provenance)})
    return RGFlow(xr.DataTree.from_dict({"/": root, **{f"/{key}": value for key, value in groups.items()}}))


def _group(rng, diagnostic, dim, headed, sinked, units, prompts, blocks, heads, nulls):
    depth = {"block": blocks, "state": blocks + 1, "transition": blocks}[dim]
    tail = [(dim, depth), *([("head", heads)] if headed else [])]
    sink = [("sink", 2)] if sinked else []
    dims = [("quantity", len(units)), *sink, *tail]
    null_dims = [("quantity", len(units)), ("null_model", len(NULLS)), *sink, *tail]

    def draw(dims, offset=0.0):
        return (tuple(n for n, _ in dims), rng.normal(1.0 + offset, 0.3, [size for _, size in dims]))

    value = draw(dims)
    half = abs(draw(dims)[1]) * 0.1
    trend_dims, slim = dims[: 1 + len(sink)], null_dims[: 2 + len(sink)]
    words = np.resize(["descriptive", "beats null", "within null"], value[1].shape)
    variables = {
        "value": value,
        "value_low": (value[0], value[1] - half),
        "value_high": (value[0], value[1] + half),
        "per_prompt": draw([("quantity", len(units)), *sink, ("prompt", prompts), *tail]),
        "verdict": (value[0], words if nulls else np.full(value[1].shape, "descriptive")),
        "trend": draw(trend_dims),
        "later_trend": draw(trend_dims, offset=-1.0),
    }
    trend_shape = variables["trend"][1].shape
    words = (
        np.resize(["beats null", "within null", "descriptive"], trend_shape)
        if nulls
        else np.full(trend_shape, "descriptive")
    )
    variables["trend_verdict"] = (variables["trend"][0], words)
    coords = {
        "quantity": list(units), "units": ("quantity", list(units.values())),
        "meaning": ("quantity", [f"what {q} means" for q in units]),
        dim: np.arange(depth),
    }  # fmt: skip
    if sinked:
        coords["sink"] = list(SINKS)
    if nulls:
        null = draw(null_dims, 0.5)
        coords["null_model"] = list(NULLS)
        variables |= {"null": null, "null_low": (null[0], null[1] - 0.2), "null_high": (null[0], null[1] + 0.2)}
        prompt_dims = [null_dims[1], ("prompt", prompts), null_dims[0], *null_dims[2:]]
        variables["null_per_prompt"] = draw(prompt_dims, 0.5)
        variables["random_init_by_seed"] = draw([("seed", nulls), *dims], 0.5)
        words = ["descriptive", "beats null", "within null"]
        variables["verdict_by_null"] = (null[0], np.resize(words, null[1].shape))
        variables["trend_verdict_by_null"] = (tuple(n for n, _ in slim), np.resize(words, [size for _, size in slim]))
        for part in ("null", "difference", "low", "high", "p_value"):
            variables[f"trend_{part}"] = draw(slim)
    attrs = {"title": f"Title of {diagnostic}", "catalogue": "D0", "assumption": "made up", "reading": "Read it so.",
             "undefined": "never", "depth": dim}  # fmt: skip
    return xr.Dataset(variables, coords=coords, attrs=attrs)


def _details(groups, rng, recorded, blocks):
    prompts, positions = recorded.shape
    jeffreys = rng.uniform(0.1, 3.0, (prompts, blocks + 1, positions, positions))
    jeffreys = jeffreys + jeffreys.swapaxes(-1, -2)
    parents = np.full((prompts, blocks + 1, 2 * positions - 1), -2)
    costs = np.full((prompts, blocks + 1, positions - 1), np.nan)
    for prompt in range(prompts):
        n = int((recorded[prompt] >= 0).sum())
        jeffreys[prompt, :, n:] = jeffreys[prompt, :, :, n:] = np.nan
        for state in range(blocks + 1):
            parents[prompt, state, : 2 * n - 1] = _random_parents(rng, n)
            costs[prompt, state, : n - 1] = np.sort(rng.uniform(0.01, 0.3, n - 1))
    jeffreys[..., np.arange(positions), np.arange(positions)] = 0.0
    groups["consensus"]["jeffreys_matrix"] = (("prompt", "state", "position", "source"), jeffreys)
    groups["condensation"]["parents"] = (("prompt", "state", "node"), parents)
    groups["condensation"]["merge_costs"] = (("prompt", "state", "merge"), costs)
    phases = np.resize(["exploration", "crossover", "condensed", ""], groups["temperature"]["value"].shape[-2:])
    groups["temperature"]["phase_by_entropy"] = (("block", "head"), phases)


def _random_parents(rng, n):
    parents = np.full(2 * n - 1, -1)
    roots = list(range(n))
    for node in range(n, 2 * n - 1):
        for _ in range(2):
            parents[roots.pop(int(rng.integers(len(roots))))] = node
        roots.append(node)
    return parents
