"""One item from checkpoint to result file, wherever it runs: in this process, a local worker, or a node of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rgprobe.files import sha256_of
from rgprobe.flow import run
from rgprobe.probe.loading import load
from rgprobe.rg_flow import RGFlow
from rgprobe.sweeping.claiming import claim
from rgprobe.sweeping.identity import Identity, identify
from rgprobe.sweeping.items import Item
from rgprobe.sweeping.ledger import Entry, Outcome, failure_of, read_entry, write_entry
from rgprobe.threads import torch_threads

__all__ = ["measure_item"]

SHOWN = 16  # hexadecimal digits of the identity in the name of a result


def measure_item(
    item: Item, directory: Path, *, threads: int = 1, measure: Callable[[Item], RGFlow] | None = None
) -> Outcome:
    """Write the result of an item into `directory`, unless one of the same identity is there.

    The bytes are those of `rgprobe run`. The file is named by the item and its identity, so that a result of other weights,
    prompts or options is never taken for it, nor overwritten. Whatever goes wrong is what the outcome says.

    Args:
        item: the checkpoint, the prompts, the options.
        directory: an existing folder.
        threads: of torch; equal bytes need equal threads.
        measure: instead of `rgprobe.run`.
    """
    try:
        with torch_threads(threads):
            return _measure_once(item, directory, measure or _run)
    except Exception as error:  # recorded and told; the other items do not suffer from it
        return Outcome("failed", failure_of(error))


def _measure_once(item: Item, directory: Path, measure: Callable[[Item], RGFlow]) -> Outcome:
    identity = identify(item)
    lock = directory / f".{identity.digest[:SHOWN]}.lock"
    if _reuse(item, identity, directory):
        if lock.exists():  # its holder was killed after the last thing that it wrote
            with claim(lock):
                pass
        return Outcome("reused")
    with claim(lock) as mine:
        if not mine:
            return Outcome("held")
        if _reuse(item, identity, directory):  # finished by another sweep since we looked
            return Outcome("reused")
        result = directory / f"{item.stem}-{identity.digest[:SHOWN]}.nc"
        for torn in directory.glob(f".{result.name}.*.part"):  # the writer is dead: its lock is ours
            torn.unlink(missing_ok=True)
        measure(item).save(result)
        _record(item, identity, result, directory)
    return Outcome("done")


def _run(item: Item) -> RGFlow:
    model = load(item.place.location, revision=item.place.revision, **item.loading)
    groups = {"groups": list(item.prompts.groups)} if item.prompts.groups else {}
    return run(model, list(item.prompts.texts), **{**item.running, **groups})


def _reuse(item: Item, identity: Identity, directory: Path) -> bool:
    """Whether a whole result of this identity is there, under this name or that of an earlier sweep."""
    entry = read_entry(directory / f"{item.stem}.json")
    for result in directory.glob(f"*-{identity.digest[:SHOWN]}.nc"):
        known = entry is not None and entry.identity == identity.digest and entry.result == result.name
        if known and entry is not None and sha256_of(result) != entry.sha256:
            continue  # damaged since
        _record(item, identity, result, directory)
        return True
    return False


def _record(item: Item, identity: Identity, result: Path, directory: Path) -> None:
    known = {"identity": identity.digest, "result": result.name, "sha256": sha256_of(result)}
    write_entry(directory, item, Entry.of(item, settings=identity.settings, **known))
