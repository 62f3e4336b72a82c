"""`measure`: diagnostics on an existing trace, whether of a model or of recorded activations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from rgprobe.assembly import NullMeasurements, assemble_node
from rgprobe.checks import checked_seed
from rgprobe.diagnostics import Diagnostic, Measurement, select
from rgprobe.errors import OptionError
from rgprobe.rg_flow import RGFlow
from rgprobe.tracing import BeliefTrace

__all__ = ["assemble_flow", "measure", "measurements"]


@threadpool_limits.wrap(limits=1, user_api="blas")
def measure(
    trace: BeliefTrace,
    *,
    diagnostics: str | Sequence[str] = "default",
    random_inits: Sequence[BeliefTrace] = (),
    shuffles: Sequence[BeliefTrace] = (),
    scaled_inits: Sequence[BeliefTrace] = (),
    seed: int = 0,
) -> RGFlow:
    """Diagnostics of one trace, against the traces of its null models.

    `rgprobe.run` makes all of these traces itself. This is for those who have activations and no model (`rgprobe.trace_cache`),
    or want one trace measured twice.

    Args:
        trace: of the model.
        diagnostics: "default" or "all", of which what the trace does not allow is left out, with the reason in
            `provenance["not_measured"]`; or names.
        random_inits: traces of random initialisations of the same architecture, on the same prompts. Without them every verdict
            is "descriptive".
        shuffles: traces of the same model on the same prompts with their tokens in random order.
        scaled_inits: traces of the random initialisations with logits as large as the model's, see `rgprobe.run`.
        seed: of the bootstrap.

    Raises:
        OptionError: an unknown name, a named diagnostic that the trace does not allow, a null of other prompts, or a seed
            that is no whole number >= 0.

    Example:
        >>> import rgprobe as rg
        >>> trace = rg.trace("standard-small", ["Now is the winter of our discontent made glorious summer"])
        >>> measure(trace, diagnostics="collapse").to_dataframe("collapse").columns[:3].tolist()
        ['quantity', 'sink', 'state']
    """
    seed = checked_seed(seed)
    drawn = {"random_init": random_inits, "scaled_init": scaled_inits, "shuffled_tokens": shuffles}
    nulls = [null for traces in drawn.values() for null in traces]
    for null in nulls:
        if null.n_prompts != trace.n_prompts or null.belief != trace.belief:
            raise OptionError(
                "random_inits, shuffles, scaled_inits",
                expected=f"{trace.n_prompts} prompts and {trace.belief} beliefs, as the trace",
                received=f"{null.n_prompts} prompts and {null.belief} beliefs", remedy="trace the same prompts alike",
            )  # fmt: skip
    if scaled_inits and len(scaled_inits) != len(random_inits):
        raise OptionError("scaled_inits", expected=f"one for each of {len(random_inits)} random_inits",
                          received=str(len(scaled_inits)), remedy="trace all of them")  # fmt: skip
    chosen, reasons = _measurable(select(diagnostics), [trace, *nulls])
    if not chosen or (reasons and diagnostics not in ("default", "all")):
        raise OptionError(
            "diagnostics", expected="what this trace allows", remedy="record what is missing, or name others",
            received="; ".join(f"{name}, which {reason}" for name, reason in reasons.items()),
        )  # fmt: skip
    measured = {name: [measurements(chosen, each) for each in traces] for name, traces in drawn.items()}
    seeds = {"random_init_seeds": [None] * len(random_inits), "shuffle_seeds": [None] * len(shuffles)}
    provenance = {"family": "standard", "source": {"kind": "arrays", "name": "arrays", "sha256": {}},
                  "truncated_tokens": [0] * trace.n_prompts, "belief": trace.belief, **trace.provenance,
                  "seed": seed, "nulls": seeds, "not_measured": reasons}  # fmt: skip
    return assemble_flow(chosen, measurements(chosen, trace), measured, trace, provenance)


def measurements(chosen: Sequence[Diagnostic], trace: BeliefTrace) -> dict[str, Measurement]:
    """Each diagnostic on one trace, by name."""
    return {diagnostic.name: diagnostic.measure(trace) for diagnostic in chosen}


def assemble_flow(
    chosen: Sequence[Diagnostic],
    measured: Mapping[str, Measurement],
    nulls: Mapping[str, Sequence[Mapping[str, Measurement]]],
    trace: BeliefTrace,
    provenance: dict[str, Any],
) -> RGFlow:
    """One result from the measurements of a model and of its nulls, by the fields of `NullMeasurements`."""
    nodes = {
        d.name: assemble_node(
            d,
            measured[d.name],
            NullMeasurements(**{name: [m[d.name] for m in draws] for name, draws in nulls.items()}),
            seed=provenance["seed"],
        )
        for d in chosen
    }
    return RGFlow(_tree(nodes, trace, provenance))


def _measurable(
    wanted: Sequence[Diagnostic], traces: Sequence[BeliefTrace]
) -> tuple[tuple[Diagnostic, ...], dict[str, str]]:
    """Those that all traces allow, and why the others are not."""
    missing = {name: reason for trace in traces for name, reason in trace.provenance.get("not_recorded", {}).items()}
    held = set.intersection(*(_held(trace) for trace in traces))
    family, belief = str(traces[0].provenance.get("family", "standard")), traces[0].belief
    reasons = {}
    for diagnostic in wanted:
        absent = sorted(diagnostic.requires - held)
        if not diagnostic.applies(belief=belief, family=family):
            reasons[diagnostic.name] = f"is not defined for {belief} beliefs of a {family} model"
        elif absent:
            reasons[diagnostic.name] = "needs " + ", ".join(
                f"{name} ({missing.get(name, 'not collected')})" for name in absent
            )
    return tuple(diagnostic for diagnostic in wanted if diagnostic.name not in reasons), reasons


def _held(trace: BeliefTrace) -> set[str]:
    """Collections that a trace holds: what it was told to collect, or what its arrays show."""
    told = trace.provenance.get("options", {}).get("collect")
    if told is not None:
        return set(told)
    shown = {"attention": len(trace.attention) and trace.graph.size, "states": trace.states.size,
             "sketches": trace.sketches.size, "beliefs": len(trace.log_probabilities) + len(trace.gaussians),
             "units": len(trace.units), "couplings": len(trace.couplings)}  # fmt: skip
    return {name for name, size in shown.items() if size} | set(trace.reductions)


def _tree(nodes: Mapping[str, xr.Dataset], trace: BeliefTrace, provenance: dict[str, Any]) -> xr.DataTree:
    texts = json.dumps({"prompts": trace.prompts, "tokens": trace.tokens, "groups": trace.groups})
    prompts = xr.Dataset(
        {
            "token_ids": (("prompt", "token"), trace.token_ids),
            "token_mask": (("prompt", "token"), trace.token_mask.astype(np.int8)),
            "positions": (("prompt", "position"), trace.positions),
        },
        attrs={"texts": texts},
    )
    root = xr.Dataset(
        attrs={"provenance": json.dumps(provenance, sort_keys=True, default=str), "format": "rgprobe flow 1"}
    )
    return xr.DataTree.from_dict({"/": root, "prompts": prompts, **dict(nodes)})
