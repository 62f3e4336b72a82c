"""What decides the numbers of an item: a result is used again only under an equal identity."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rgprobe.belief_trace import library_versions
from rgprobe.diagnostics import select
from rgprobe.errors import OptionError
from rgprobe.flow import run
from rgprobe.probe.loading import find_device, find_source
from rgprobe.sweeping.items import Item, PromptSet
from rgprobe.tracing import trace

__all__ = ["Identity", "complete_options", "identify"]

FORMAT = 1
# what a sweep decides itself, or what has no effect on numbers
NOT_OPTIONS = ("model", "prompts", "on_progress", "on_estimate", "on_prompt", "options", "collect", "attention_mask")


@dataclass(frozen=True)
class Identity:
    """Everything that decides the numbers of one result.

    Attributes:
        source: kind, name and sha256 of every file: weights, configuration, tokenizer.
        prompts: sha256 of texts and groups.
        settings: options of the run, every default spelled out; dtype and kind of device.
        versions: of the libraries that results record.

    Two machines whose libraries differ do not share results: the last digits may differ, and the file says which it was.
    """

    source: Mapping[str, Any]
    prompts: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]

    @cached_property
    def digest(self) -> str:
        """sha256 of all of it, hexadecimal."""
        parts = {"format": FORMAT, "source": self.source, "prompts": self.prompts, "settings": self.settings,
                 "versions": self.versions}  # fmt: skip
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def identify(item: Item) -> Identity:
    """Take the digests of an item's files and texts; no weight is read into memory.

    Raises:
        CheckpointError: the source cannot be found or trusted.
        OptionError, DeviceError: an option that `rgprobe.run` or `rgprobe.load` would refuse, too.
    """
    pickled = bool(item.loading.get("allow_pickle", False))
    source = find_source(item.place.location, revision=item.place.revision, allow_pickle=pickled)
    settings = {
        **complete_options(item.running),
        "dtype": str(item.loading.get("dtype", "float32")).removeprefix("torch."),
        "device": find_device(str(item.loading.get("device", "auto"))).partition(":")[0],
    }
    record = {"kind": source.kind, "name": source.name, "sha256": source.sha256}
    return Identity(record, _digest_of_prompts(item.prompts), settings, library_versions())


def complete_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `rgprobe.run` with every default spelled out, and diagnostics by name.

    Raises:
        OptionError: an unknown option or diagnostic, or a value that is no JSON.

    Example:
        >>> complete_options({"diagnostics": "plateau,temperature"})["diagnostics"]
        ['plateau', 'temperature']
        >>> complete_options({"nulls": 3}) == complete_options({})
        True
    """
    parameters = [each for function in (run, trace) for each in inspect.signature(function).parameters.values()]
    known = {each.name: each.default for each in parameters if each.name not in NOT_OPTIONS}
    for name in given:
        if name not in known:
            raise OptionError(name, expected=f"an option among {', '.join(known)}", received="an unknown one",
                              remedy="correct the name")  # fmt: skip
    complete = {**known, **given}
    complete["diagnostics"] = [diagnostic.name for diagnostic in select(complete["diagnostics"])]
    try:
        return json.loads(json.dumps(complete))
    except (TypeError, ValueError) as error:
        raise OptionError("options", expected="numbers, texts and lists", received=str(error),
                          remedy="a sweep passes its options on to other processes")  from error  # fmt: skip


def _digest_of_prompts(prompts: PromptSet) -> str:
    return hashlib.sha256(json.dumps([prompts.texts, prompts.groups]).encode()).hexdigest()
