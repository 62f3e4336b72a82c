"""`trace`: one streaming pass of a model over prompts, reduced layer by layer into a `BeliefTrace`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rgprobe.belief_trace import BeliefTrace, assemble
from rgprobe.checks import is_whole, one_of, whole_number, whole_numbers
from rgprobe.errors import OptionError
from rgprobe.probe.attention import SINK_POLICIES
from rgprobe.probe.estimators import estimator_of
from rgprobe.probe.loading import load
from rgprobe.probe.model import Probe
from rgprobe.probe.prompt_trace import COLLECTIONS, PASSES, REDUCTIONS, PromptTrace, trace_prompt

__all__ = [
    "COLLECTIONS",
    "BeliefTrace",
    "checked_basis",
    "checked_groups",
    "checked_positions",
    "recorded_positions",
    "trace",
]


def trace(
    model: Any,
    prompts: Any,
    *,
    belief: str = "lens",
    belief_options: Mapping[str, Any] | None = None,
    positions: int | Sequence[int] = 32,
    sink: str = "exclude",
    bos: str = "model",
    truncate: bool = False,
    attention_mask: Any = None,
    basis: int = 1024,
    answers: Sequence[str | Sequence[str]] | None = None,
    groups: Sequence[str] | None = None,
    collect: Sequence[str] = COLLECTIONS,
    on_prompt: Callable[[int], None] | None = None,
) -> BeliefTrace:
    """Stream a model over prompts and keep what the diagnostics need.

    Each prompt runs alone and unpadded. Attention statistics cover every token; beliefs and states are kept at the
    recorded tokens only, because a readout of every token at every layer costs several forward passes.

    Args:
        model: anything `rgprobe.load` takes.
        prompts: texts, token ids, or a tokenizer's output with its attention mask.
        belief: "lens", "thermal", "fisher", "downstream", "ensemble" or, for gauge models, "native"; see
            `rgprobe.probe.estimators` for what each assumes, and docs/beliefs.md for what depends on the choice.
        belief_options: of that estimator, such as {"rank": 8}; by default those in its record.
        positions: how many evenly spaced tokens to record, or which.
        sink: "exclude" renormalises attention rows without key 0 and leaves token 0 out of the recorded ones; "include"
            keeps it. Attention and geometry are always reported both ways; the policy says which one is read first.
        bos: "model" (as its tokenizer does), "always" or "never".
        truncate: cut prompts over the context length instead of refusing them.
        attention_mask: for a padded (B, N) batch of ids.
        basis: classes kept apart in the reduced basis of lens beliefs; divergences there are lower bounds, exact when
            the vocabulary fits.
        answers: per prompt, a text or several: the rank and probability of the first one's first token, and the total
            probability of all their first tokens, are followed at the prompt's last token. Texts are tokenised as they are
            given, a leading space included. By default the prompt's own next token is followed, at every recorded token.
        groups: a label per prompt, such as the family of paraphrases that it belongs to; "" for none.
        collect: what to collect, among `COLLECTIONS` (all by default), `REDUCTIONS` and `PASSES`; the rest costs nothing.
        on_prompt: called with the number of prompts done.

    Raises:
        OptionError: an unknown policy, belief or collection, beliefs that the model does not have, labels that are not one
            text per prompt, or positions or a basis that are not whole numbers in range: nothing is rounded.
        PromptError: see `rgprobe.probe.prompts.encode_prompts`.

    Example:
        >>> import rgprobe as rg
        >>> t = rg.trace("standard-small", ["Now is the winter of our discontent"], positions=4)
        >>> t.depth_dim, t.recorded(0).shape
        ('state', (4,))
    """
    estimator = estimator_of(belief)
    believed: dict[str, Any] = {"belief": belief, "belief_options": estimator.complete(belief_options)}
    basis, positions = checked_basis(basis), checked_positions(positions)
    one_of("sink", sink, SINK_POLICIES)
    for name in collect:
        one_of("collect", name, (*COLLECTIONS, *REDUCTIONS, *PASSES))
    probe = load(model)
    estimator.check(probe)
    encoded = probe.encode(prompts, bos=bos, truncate=truncate, attention_mask=attention_mask)
    recorded = [recorded_positions(len(prompt), positions, sink) for prompt in encoded]
    wanted = _answer_ids(probe, answers, len(encoded))
    labels = checked_groups(groups, len(encoded))
    options = {**believed, "positions": positions, "sink": sink, "bos": bos, "truncate": truncate, "basis": basis,
               "collect": list(collect), "answers": answers, "groups": labels}  # fmt: skip

    def parts() -> Iterator[PromptTrace]:
        for index, (prompt, chosen) in enumerate(zip(encoded, recorded, strict=True)):
            at, follow = torch.from_numpy(chosen), wanted[index]
            yield trace_prompt(probe, prompt, at, sink=sink, basis=basis, collect=collect, answers=follow, **believed)
            if on_prompt is not None:
                on_prompt(index + 1)

    return assemble(probe, encoded, recorded, parts(), options)


def recorded_positions(length: int, positions: int | Sequence[int], sink: str) -> np.ndarray:
    """Evenly spaced token indices, without the sink where there is any other token; or those asked for, in order.

    Raises:
        OptionError: neither a count nor token indices, or an index past the end of the prompt.
    """
    wanted = checked_positions(positions)
    first = 1 if sink == "exclude" and length > 1 else 0
    if isinstance(wanted, list):
        remedy = "leave out those past the end of the prompt"
        return np.array(sorted(set(whole_numbers("positions", wanted, least=0, most=length - 1, remedy=remedy))))
    return np.unique(np.linspace(first, length - 1, min(wanted, length - first)).round().astype(np.int64))


def checked_positions(positions: Any) -> int | list[int]:
    """A count of tokens, or their indices, as plain integers.

    Raises:
        OptionError: neither.

    Example:
        >>> checked_positions(np.int64(4)), checked_positions(range(3))
        (4, [0, 1, 2])
    """
    if is_whole(positions):
        return whole_number("positions", positions, least=1, remedy="use 32")
    remedy = "pass how many tokens to record, or a list of their indices"
    indices = whole_numbers("positions", positions, least=0, remedy=remedy)
    if not indices:
        raise OptionError("positions", expected="at least one token index", received="none", remedy=remedy)
    return indices


def checked_basis(basis: Any) -> int:
    """The number of classes kept apart.

    Raises:
        OptionError: no whole number, or none: beliefs of one class are all alike.
    """
    return whole_number("basis", basis, least=1, remedy="use 1024, the default, or the size of the vocabulary")


def _answer_ids(probe: Probe, answers: Sequence[str | Sequence[str]] | None, count: int) -> list[tuple[int, ...]]:
    """First token ids of the answers of each prompt."""
    if answers is None:
        return [()] * count
    given = _per_prompt(answers)
    texts = [[answer] if isinstance(answer, str) else _per_prompt(answer) for answer in given]
    if len(given) != count or not all(row and all(isinstance(text, str) for text in row) for row in texts):
        raise OptionError("answers", expected=f"a text, or several, for each of {count} prompts",
                          received=f"{type(answers).__name__} of {len(given)}", remedy="give one entry per prompt")  # fmt: skip
    return [tuple(int(prompt.ids[0]) for prompt in probe.encode(row, bos="never")) for row in texts]


def checked_groups(groups: Any, count: int) -> list[str] | None:
    """One label for each prompt, or None.

    Raises:
        OptionError: anything else.
    """
    if groups is None:
        return None
    labels = _per_prompt(groups)
    if len(labels) != count or not all(isinstance(label, str) for label in labels):
        kind = f"{type(groups).__name__} of {len(labels)}"
        raise OptionError("groups", expected=f"a text for each of {count} prompts", received=kind,
                          remedy='label every prompt, with "" where it is in no group')  # fmt: skip
    return [str(label) for label in labels]


def _per_prompt(given: Any) -> list[Any]:
    """Entries of an iterable; none of a text, which would fall into letters, or of anything that is not iterable."""
    return [] if isinstance(given, (str, bytes)) or not isinstance(given, Iterable) else list(given)
