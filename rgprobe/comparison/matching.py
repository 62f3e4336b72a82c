"""Which runs may be compared, and which of their quantities: what differs by accident is refused or set aside by name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rgprobe.errors import OptionError, PromptError
from rgprobe.rg_flow import RGFlow

__all__ = ["Groups", "NotCompared", "grouped", "needs_same_tokenizer", "require_comparable", "same_tokens"]

Groups = dict[str, tuple[RGFlow, ...]]

# Options that change what a number means. Positions are compared as recorded, too.
DECISIVE = {
    "belief": "the belief estimator",
    "belief_options": "the options of the belief estimator",
    "sink": "the sink policy",
    "bos": "the policy for the opening special token",
    "positions": "the recorded positions",
    "basis": "the size of the reduced basis",
    "answers": "the class of answers",
    "groups": "the groups of the prompts",
}
# Pure numbers that neither count tokens nor classes of the vocabulary. What is not listed here, or added later, is compared
# between equal tokenizers alone: bits per token are not the same unit where a token is not the same piece of text.
FREE_OF_TOKENIZER = {
    "attention_entropy": ("normalised_entropy",),
    "temperature": ("theta", "theta_entropy", "tail_index"),
    "plateau": ("angle", "cka_distance", "kernel_step", "kernel_distance_to_init"),
    "condensation": ("effective_fraction", "quarter_loss"),
    "collapse": ("cosine", "dong_residual"),
    "consensus": ("fraction_below",),
    "modularity": ("modularity",),
}


@dataclass(frozen=True)
class NotCompared:
    """A quantity, or its excess over a null, that is left out of a comparison.

    Attributes:
        diagnostic: its name.
        quantity: its name; "every quantity" where it is the whole diagnostic.
        reason: why.
    """

    diagnostic: str
    quantity: str
    reason: str


def grouped(runs: Mapping[str, RGFlow | Sequence[RGFlow]]) -> Groups:
    """Two names, each with one run or with runs of several training seeds.

    Raises:
        OptionError: not two printable names, one run on one side and several on the other, or a checkpoint that is there
            twice.
    """
    if not isinstance(runs, Mapping):
        raise OptionError("runs", expected="a dict of two names, each with its runs", received=type(runs).__name__,
                          remedy='name them: {"standard": a, "gauge": b}')  # fmt: skip
    groups = {str(name): _runs(str(name), each) for name, each in runs.items()}
    counts = [len(group) for group in groups.values()]
    if len(groups) != 2 or min(counts) == 0:
        raise OptionError("runs", expected="two names, each with its runs", received=f"{len(groups)} names, {counts} runs",
                          remedy="compare more than two pair by pair")  # fmt: skip
    for name in groups:
        if not name.strip() or not name.isprintable():
            raise OptionError("runs", expected="names of printable characters", received=repr(name),
                              remedy="choose other names")  # fmt: skip
    if min(counts) == 1 < max(counts):
        raise OptionError("runs", expected="one run of each, or several of each", received=f"{counts[0]} and {counts[1]}",
                          remedy="train more seeds of the single one, or compare it with one run")  # fmt: skip
    for name, group in groups.items():
        weights = [_weights(flow) for flow in group]
        known = [digest for digest in weights if digest is not None]
        if len(set(known)) < len(known):
            raise OptionError(f"runs of {name!r}", expected="checkpoints trained apart", received="the same weights twice",
                              remedy="pass each training seed once")  # fmt: skip
    return groups


def _runs(name: str, given: Any) -> tuple[RGFlow, ...]:
    runs = (given,) if isinstance(given, RGFlow) else tuple(given) if isinstance(given, Sequence) else (given,)
    others = [type(run).__name__ for run in runs if not isinstance(run, RGFlow)]
    if others:
        raise OptionError(f"runs of {name!r}", expected="an RGFlow, or a list of them", received=others[0],
                          remedy="pass what rgprobe.run or rgprobe.open_flow gave")  # fmt: skip
    return runs


def require_comparable(groups: Groups) -> None:
    """Refuse what would make a difference mean something else than the checkpoints.

    Raises:
        PromptError: other prompt texts, or prompts cut differently.
        OptionError: another belief estimator, sink or BOS policy, other positions, basis or answers.
    """
    labelled = [
        (_label(name, index, group), flow) for name, group in groups.items() for index, flow in enumerate(group)
    ]
    (first_label, first), *others = labelled
    for label, flow in others:
        _require_same_prompts(first_label, first, label, flow)
        for option, words in DECISIVE.items():
            mine, theirs = (json.dumps(f.provenance["options"].get(option)) for f in (first, flow))
            if mine != theirs:
                raise OptionError(option, expected=f"{words} of {first_label!r}, {mine}", received=f"{theirs} in {label!r}",
                                  remedy="run both with the same options")  # fmt: skip
        if same_tokens([first, flow]) and not np.array_equal(_positions(first), _positions(flow)):
            raise OptionError("positions", expected=f"those recorded in {first_label!r}", received=f"others in {label!r}",
                              remedy="run both with the same positions")  # fmt: skip


def same_tokens(flows: Sequence[RGFlow]) -> bool:
    """Whether all runs read the same token ids out of vocabularies of one size."""
    ids = [flow.to_xarray()["prompts"].to_dataset()["token_ids"].values for flow in flows]
    return len({_vocabulary(flow) for flow in flows}) == 1 and all(np.array_equal(ids[0], other) for other in ids[1:])


def needs_same_tokenizer(diagnostic: str, quantity: str) -> bool:
    """Whether a quantity counts tokens or classes of the vocabulary, or is not known not to.

    Example:
        >>> needs_same_tokenizer("elimination", "entropy"), needs_same_tokenizer("temperature", "theta")
        (True, False)
    """
    return quantity not in FREE_OF_TOKENIZER.get(diagnostic, ())


def _require_same_prompts(first_label: str, first: RGFlow, label: str, flow: RGFlow) -> None:
    mine, theirs = first.prompts, flow.prompts
    culprit, remedy = f"prompts of {label!r}", "run both on the same prompts"
    if len(mine) != len(theirs):
        raise PromptError(
            culprit, expected=f"the {len(mine)} of {first_label!r}", received=f"{len(theirs)}", remedy=remedy
        )
    for index, (one, other) in enumerate(zip(mine, theirs, strict=True)):
        if one != other:
            raise PromptError(culprit, expected=f"the texts of {first_label!r}", received=f"another text as number {index}",
                              remedy=remedy)  # fmt: skip
    if not any(mine) and not same_tokens([first, flow]):  # a model without tokenizer has ids and no texts
        raise PromptError(culprit, expected=f"the token ids of {first_label!r}", received="others", remedy=remedy)
    if _cut(first) != _cut(flow):
        raise PromptError(culprit, expected=f"prompts cut as for {first_label!r}", received="prompts cut elsewhere",
                          remedy="shorten the prompts to the smaller context length")  # fmt: skip


def _vocabulary(flow: RGFlow) -> int | None:
    config = flow.provenance["config"]
    return config.get("vocab_size", config.get("d_vocab"))


def _cut(flow: RGFlow) -> tuple[int, ...]:
    return tuple(flow.provenance.get("truncated_tokens", ()))


def _positions(flow: RGFlow) -> np.ndarray:
    return flow.to_xarray()["prompts"].to_dataset()["positions"].values


def _weights(flow: RGFlow) -> str | None:
    """Digest of everything that is in the checkpoint, where it was read from files."""
    digests: Any = flow.provenance["source"].get("sha256")
    return json.dumps(digests, sort_keys=True) if digests else None


def _label(name: str, index: int, group: Sequence[RGFlow]) -> str:
    return f"{name}[{index}]" if len(group) > 1 else name
