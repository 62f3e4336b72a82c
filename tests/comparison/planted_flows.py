"""Flows of made-up measurements, put together by `assemble_node` as `rgprobe.run` does, with differences planted in them."""

import json

import numpy as np
import xarray as xr

from rgprobe.assembly import NullMeasurements, assemble_node
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.rg_flow import RGFlow

PROMPTS, DEPTHS, SEEDS = 24, 4, 5


def diagnostic(name, quantities, depth="state", units="nats"):
    return Diagnostic(name, "D0", f"Title of {name}", depth, tuple(Quantity(q, units, f"meaning of {q}") for q in quantities),
                      frozenset(), lambda trace: Measurement(xr.Dataset()), "assumed", "read it so", "never")  # fmt: skip


def measured(array, quantities, dims=("prompt", "state")):
    """array: (quantity, *dims)."""
    coords = {"sink": ["excluded", "included"]} if "sink" in dims else {}
    return Measurement(xr.Dataset({q: (dims, row) for q, row in zip(quantities, array, strict=True)}, coords=coords))


def flow_of(nodes, *, name="a", texts=None, vocabulary=61, token=5, positions=(1, 2, 3), weights=None, **options):
    """nodes: by diagnostic, datasets that `assemble_node` gave."""
    prompts = next(iter(nodes.values())).sizes["prompt"]
    texts = texts if texts is not None else [f"text {index}" for index in range(prompts)]
    group = xr.Dataset(
        {
            "token_ids": (("prompt", "token"), np.full((prompts, 6), token)),
            "token_mask": (("prompt", "token"), np.ones((prompts, 6), dtype=np.int8)),
            "positions": (("prompt", "position"), np.tile(positions, (prompts, 1))),
        },
        attrs={"texts": json.dumps({"prompts": texts, "tokens": [["x"] * 6] * prompts})},
    )
    provenance = {
        "source": {"kind": "directory", "name": name, "sha256": {"model.safetensors": weights} if weights else None},
        "family": "standard", "config": {"vocab_size": vocabulary}, "n_parameters": 1234, "belief": "lens", "seed": 0,
        "options": {"belief": "lens", "sink": "exclude", "bos": "model", "positions": 3, "basis": 64, **options},
        "nulls": {"random_init_seeds": [1] * SEEDS, "shuffle_seeds": []}, "truncated_tokens": [0] * prompts,
    }  # fmt: skip
    root = xr.Dataset(attrs={"provenance": json.dumps(provenance), "format": "rgprobe flow 1"})
    return RGFlow(xr.DataTree.from_dict({"/": root, "prompts": group, **nodes}))


def planted_flow(values, *, nulls=(), names=None, dims=("prompt", "state"), diagnostic_name="fake", **changes):
    """values: (quantity, *dims); nulls: one such array per random initialisation."""
    names = names or [f"q{index}" for index in range(len(values))]
    depth = next(dim for dim in dims if dim in ("block", "state", "transition"))
    node = assemble_node(
        diagnostic(diagnostic_name, names, depth),
        measured(values, names, dims),
        NullMeasurements([measured(null, names, dims) for null in nulls]),
        seed=0,
    )
    return flow_of({diagnostic_name: node}, **changes)


def random_values(rng, quantities, *, depths=DEPTHS, difficulty=None, shift=0.0, spread=0.0, prompts=PROMPTS):
    """Prompt difficulties that all flows share, an effect of the checkpoint at each depth, noise."""
    shared = 0.0 if difficulty is None else difficulty
    effect = spread * rng.standard_normal((quantities, 1, depths))
    return shared + shift + effect + rng.standard_normal((quantities, prompts, depths))
