"""`trace_cache`: activations that something else has recorded become a `BeliefTrace`, which every diagnostic reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rgprobe.belief_trace import BeliefTrace, assemble
from rgprobe.checks import one_of
from rgprobe.errors import OptionError, PromptError
from rgprobe.probe.attention import SINK_POLICIES
from rgprobe.probe.cache_rows import rows_of_cache
from rgprobe.probe.prompt_trace import COLLECTIONS, PASSES, REDUCTIONS, trace_prompt
from rgprobe.probe.prompts import EncodedPrompt
from rgprobe.probe.recorded import Recorded, not_recorded
from rgprobe.tracing import checked_basis, checked_groups, checked_positions, recorded_positions

__all__ = ["trace_cache"]

READABLE = ("lens", "thermal")  # beliefs of which activations alone can tell


def trace_cache(
    cache: Any,
    *,
    mask: Any = None,
    tokens: Any = None,
    tokenizer: Any = None,
    readout: Callable[[Tensor], Tensor] | None = None,
    causal: bool | None = None,
    belief: str = "lens",
    positions: int | Sequence[int] = 32,
    sink: str = "exclude",
    basis: int = 1024,
    groups: Sequence[str] | None = None,
    name: str = "recorded activations",
) -> BeliefTrace:
    """Read recorded activations as `rgprobe.trace` reads a model; `rgprobe.measure` takes what comes out.

    What the activations allow is collected: attention from `blocks.{l}.attn.hook_pattern` or `hook_attn_scores`, states from
    `blocks.{l}.hook_resid_pre` and `hook_resid_post` (what leaves a block enters the next: either name will do), units from
    `blocks.{l}.mlp.hook_post`; lens beliefs from states and a readout; thermal beliefs from attention and
    `blocks.{l}.attn.hook_v`. What is missing, and why, stands in `provenance["not_recorded"]`.

    Args:
        cache: a transformer_lens `ActivationCache`, or a mapping of hook names to tensors or arrays, with a batch of prompts or
            without.
        mask: (B, N), 1 for tokens and 0 for padding on either side. Without it every token counts.
        tokens: (B, N) ids, or a list of texts per prompt; needed for the probability of the next token, and to name tokens.
        tokenizer: for the text of ids.
        readout: from states (..., d) to logits (..., V), the model's final norm included: `rg.load(...).readout`.
        causal: whether a token saw only itself and earlier ones; by default what the recorded attention shows.
        belief: "lens" or "thermal".
        positions, sink, basis, groups: as in `rgprobe.trace`.
        name: what to call the source.

    Raises:
        BadInput: names, shapes or numbers that are no activations of one pass.
        OptionError: beliefs of which these activations cannot tell, or an unknown policy.

    Example:
        >>> import torch
        >>> states = {f"blocks.{block}.hook_resid_{end}": torch.randn(2, 9, 4) for block in (0, 1) for end in ("pre", "post")}
        >>> trace = trace_cache(states)
        >>> trace.states.dims, trace.provenance["not_recorded"]["attention"]
        (('prompt', 'state', 'position', 'width'), 'blocks.0.attn.hook_pattern and 1 more not recorded')
    """
    one_of("belief", belief, READABLE, remedy="choose one of these, or load the model with rg.load")
    one_of("sink", sink, SINK_POLICIES)
    rows = rows_of_cache(cache, mask)
    probes = [Recorded(row, name=name, readout=readout, causal=causal, tokenizer=tokenizer) for row in rows]
    encoded = [
        _prompt(index, _length(probe), _row(tokens, mask, index, len(rows)), tokenizer)
        for index, probe in enumerate(probes)
    ]
    basis, positions, labels = checked_basis(basis), checked_positions(positions), checked_groups(groups, len(rows))
    missing = _missing(probes[0], belief)
    collect = _collections(missing)
    recorded = [recorded_positions(len(prompt), positions, sink) for prompt in encoded]
    parts = (
        trace_prompt(probe, prompt, torch.from_numpy(chosen), belief=belief, sink=sink, basis=basis, collect=collect)
        for probe, prompt, chosen in zip(probes, encoded, recorded, strict=True)
    )
    options = {"belief": belief, "belief_options": {}, "sink": sink, "basis": basis, "collect": collect,
               "positions": positions, "groups": labels}  # fmt: skip
    trace = assemble(probes[0], encoded, recorded, parts, options)
    trace.provenance["not_recorded"] = missing
    return trace


def _missing(probe: Recorded, belief: str) -> dict[str, str]:
    """Collections that these activations do not allow, with the reason.

    Raises:
        OptionError: thermal beliefs without attention or values.
    """
    absent = not_recorded(probe)
    if belief == "thermal":
        if reasons := [absent[kind] for kind in ("attention", "values") if kind in absent]:
            raise OptionError("belief thermal", expected="attention and values of every block",
                              received="; ".join(reasons), remedy="record them, or leave belief out")  # fmt: skip
    elif "states" in absent:
        absent["beliefs"] = absent["states"]
    elif probe.vocabulary == 0:
        absent["beliefs"] = "no readout was given"
    if "states" in absent:
        absent["sketches"] = absent["states"]
    absent.pop("values", None)
    passes = dict.fromkeys(PASSES, "takes passes of its own, and there is no model here to run again")
    return {**absent, **passes, "couplings": "activations do not hold a gauge model's temperatures"}


def _collections(missing: dict[str, str]) -> list[str]:
    """What there is to collect; the reductions read attention."""
    possible = COLLECTIONS if "attention" in missing else (*COLLECTIONS, *REDUCTIONS)
    return sorted(set(possible) - missing.keys())


def _length(probe: Recorded) -> int:
    name, tensor = next(iter(probe.activations.items()))
    return int(tensor.shape[1 if name.endswith(("hook_pattern", "hook_attn_scores")) else 0])


def _row(tokens: Any, mask: Any, index: int, prompts: int) -> list[Any] | None:
    """Tokens of one prompt, those under the mask alone where they are padded."""
    if tokens is None:
        return None
    rows = tokens if prompts > 1 or (len(tokens) == 1 and not isinstance(tokens[0], (str, int))) else [tokens]
    if len(rows) != prompts:
        raise PromptError("tokens", expected=f"a row for each of {prompts} prompts", received=str(len(rows)),
                          remedy="pass the ids or texts of every prompt")  # fmt: skip
    row = rows[index].tolist() if hasattr(rows[index], "tolist") else list(rows[index])
    if mask is None:
        return row
    keep = torch.atleast_2d(torch.as_tensor(mask))[index].tolist()
    return [token for token, kept in zip(row, keep, strict=True) if kept] if len(row) == len(keep) else row


def _prompt(index: int, length: int, given: list[Any] | None, tokenizer: Any) -> EncodedPrompt:
    """Ids are -1 where they are not known: nothing that depends on them is then reported."""
    if given is not None and len(given) != length:
        raise PromptError(f"tokens of prompt {index}", expected=f"{length}, as activations", received=str(len(given)),
                          remedy="pass the tokens that the model was given")  # fmt: skip
    if given is None or isinstance(given[0], str):
        texts = tuple(map(str, range(length) if given is None else given))
        return EncodedPrompt("" if given is None else "".join(texts), torch.full((length,), -1), texts)
    texts = tuple(f"<{token}>" if tokenizer is None else str(tokenizer.decode([token])) for token in given)
    return EncodedPrompt("".join(texts), torch.tensor(given), texts)
