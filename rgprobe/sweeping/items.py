"""What a sweep is made of: one item per source and prompt set. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rgprobe.data import load_groups, load_prompts
from rgprobe.errors import OptionError, PromptError
from rgprobe.files import file_name
from rgprobe.models.shipped import prompts_unseen_by, shipped_names

__all__ = ["Item", "Place", "PromptSet", "places_of", "plan_items", "prompt_sets", "take_shard"]

T = TypeVar("T")
STEP = re.compile(r"(?:step|checkpoint|ckpt|iter)[-_]?(\d+)$", re.IGNORECASE)
CHECKPOINTS = "checkpoints"  # the folder in which `rgprobe train` keeps them


@dataclass(frozen=True)
class PromptSet:
    """Texts under a name.

    Attributes:
        name: part of the names of results.
        texts: the prompts.
        groups: the label of each prompt, or none at all.
    """

    name: str
    texts: tuple[str, ...]
    groups: tuple[str, ...] = ()

    @classmethod
    def labelled(cls, name: str, prompts: Iterable[tuple[str, str]]) -> PromptSet:
        """From texts with the label of their group, "" for none.

        Example:
            >>> PromptSet.labelled("two", [("A text.", ""), ("Another.", "")]).groups
            ()
        """
        texts, groups = zip(*prompts, strict=True)
        return cls(name, texts, groups if any(groups) else ())


@dataclass(frozen=True)
class Place:
    """A checkpoint among others.

    Attributes:
        source: shipped name, directory or hub id, as it was given.
        location: the same; a directory as an absolute path, since workers may have another working directory.
        revision: of a hub id, from `id@revision`.
        run: the training run it belongs to; what to call it where it belongs to none.
        step: training step, from a name such as `step-000100`, `checkpoint-500` or `@step1000`; None without one.
        label: run and checkpoint, unique within a sweep.
    """

    source: str
    location: str
    revision: str | None
    run: str
    step: int | None
    label: str


@dataclass(frozen=True)
class Item:
    """One unit of work: a checkpoint to be measured on a prompt set.

    Attributes:
        place: the checkpoint.
        prompts: the prompt set.
        loading: options of `rgprobe.load`.
        running: options of `rgprobe.run`.
    """

    place: Place
    prompts: PromptSet
    loading: Mapping[str, Any] = field(default_factory=dict)
    running: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """What the names of its files start with."""
        return file_name(f"{self.place.label}--{self.prompts.name}")


def plan_items(
    sources: Sequence[str | Path], prompts: Any, *, loading: Mapping[str, Any], running: Mapping[str, Any]
) -> list[Item]:
    """Every source on every prompt set, in that order.

    Args:
        sources: see `places_of`.
        prompts: see `prompt_sets`; None gives each source the set that suits it, as `rgprobe run` does.
        loading: options of `rgprobe.load`.
        running: options of `rgprobe.run`.

    Raises:
        OptionError: no source, or a source or prompt set that is named twice.
        PromptError: no prompts.
    """
    sets = None if prompts is None else prompt_sets(prompts)
    items = [
        Item(place, each, loading, running)
        for place in places_of(sources)
        for each in (sets if sets is not None else [_suited(place.source)])
    ]
    seen: set[str] = set()
    for item in items:
        if item.stem in seen:
            raise OptionError("sources", expected="each source once", received=f"{item.stem} twice",
                              remedy="leave one out, or rename it")  # fmt: skip
        seen.add(item.stem)
    return items


def prompt_sets(prompts: Any) -> list[PromptSet]:
    """Prompt sets from texts, from texts by name, or from records.

    Raises:
        PromptError: no texts, or something else than texts.

    Example:
        >>> [each.name for each in prompt_sets({"prose": ["Once upon a time"], "code": ["def f(x):"]})]
        ['prose', 'code']
    """
    if isinstance(prompts, Mapping):
        return [each if isinstance(each, PromptSet) else _named_set(name, each) for name, each in prompts.items()]
    if isinstance(prompts, PromptSet):
        return [prompts]
    if isinstance(prompts, Sequence) and prompts and all(isinstance(each, PromptSet) for each in prompts):
        return list(prompts)
    return [_named_set("prompts", prompts)]


def places_of(sources: Sequence[str | Path]) -> list[Place]:
    """Checkpoints, the folders of training runs replaced by the checkpoints that they hold, in the order of steps.

    Args:
        sources: shipped names, checkpoint directories, folders of checkpoints, or hub ids, `id@revision` where one is meant.

    Raises:
        OptionError: no source.

    Example:
        >>> places_of(["org/model@step1000"])
        [Place(source='org/model', location='org/model', revision='step1000', run='org/model', step=1000, ...)]
    """
    if isinstance(sources, str | Path):
        sources = [sources]
    named = [found for source in sources for found in _expanded(str(source))]
    if not named:
        raise OptionError("sources", expected="at least one checkpoint", received="none",
                          remedy="pass names, directories or hub ids")  # fmt: skip
    folders = {name: _folder(name) for name, revision in named if _is_local(name)}
    short = _shortest_distinct(list(dict.fromkeys(folders.values())))
    places = []
    for name, revision in named:
        last = Path(name).expanduser().resolve().name if name in folders else revision or name
        run = short[folders[name]] if name in folders else name
        found = STEP.search(last)
        label = f"{run}@{last}" if found or revision else run
        location = str(Path(name).expanduser().absolute()) if name in folders else name
        places.append(Place(name, location, revision, run, int(found[1]) if found else None, label))
    return places


def take_shard(items: Sequence[T], shard: str | tuple[int, int] | None) -> list[T]:
    """Every n-th item from the i-th on, for a shard "i/n", i from 1 to n; the n shards together are all items, each once.

    Raises:
        OptionError: not such a pair.

    Example:
        >>> take_shard(["a", "b", "c", "d", "e"], "2/3")
        ['b', 'e']
    """
    if shard is None:
        return list(items)
    pair = shard.split("/") if isinstance(shard, str) else [str(part) for part in shard]
    if len(pair) != 2 or not all(part.isdecimal() for part in pair) or not 1 <= int(pair[0]) <= int(pair[1]):
        raise OptionError("--shard", expected="i/n with i from 1 to n", received=str(shard), remedy="write, say, 3/8")
    return list(items[int(pair[0]) - 1 :: int(pair[1])])


def _suited(source: str) -> PromptSet:
    name = prompts_unseen_by(source)
    return PromptSet.labelled(name, zip(load_prompts(name), load_groups(name), strict=True))


def _named_set(name: str, prompts: Any) -> PromptSet:
    texts = (prompts,) if isinstance(prompts, str) else tuple(prompts)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise PromptError(f"prompt set {name!r}", expected="at least one text, and texts only",
                          received=", ".join(sorted({type(text).__name__ for text in texts})) or "none",
                          remedy="pass a list of strings")  # fmt: skip
    return PromptSet(name, texts)


def _is_local(name: str) -> bool:
    return name not in shipped_names() and (Path(name).expanduser().exists() or name.startswith((".", "/", "~")))


def _expanded(name: str) -> list[tuple[str, str | None]]:
    """(source, revision) pairs that a name stands for."""
    if name in shipped_names():
        return [(name, None)]
    if not _is_local(name):
        hub, _, revision = name.partition("@")
        return [(hub, revision or None)]
    path = Path(name).expanduser()
    inner = path / CHECKPOINTS
    folder = inner if inner.is_dir() else path
    if folder is path and (path / "config.json").exists():
        return [(name, None)]
    held = [entry for entry in folder.glob("*/") if STEP.search(entry.name) and (entry / "config.json").is_file()]
    held.sort(key=lambda entry: (int(STEP.search(entry.name)[1]), entry.name))  # type: ignore[index]
    return [(str(entry), None) for entry in held] or [(name, None)]


def _folder(name: str) -> Path:
    """The folder of the training run of a checkpoint directory; itself, where its name has no step."""
    path = Path(name).expanduser().resolve()
    if not STEP.search(path.name):
        return path
    return path.parent.parent if path.parent.name == CHECKPOINTS else path.parent


def _shortest_distinct(folders: Sequence[Path]) -> dict[Path, str]:
    """Each folder by as many of its last names as tell it from the others."""
    names = {folder: folder.name for folder in folders}
    for depth in range(2, max((len(folder.parts) for folder in folders), default=0) + 1):
        twice = {folder for folder in folders if list(names.values()).count(names[folder]) > 1}
        names |= {folder: "/".join(folder.parts[-depth:]).lstrip("/") for folder in twice}
    return names
