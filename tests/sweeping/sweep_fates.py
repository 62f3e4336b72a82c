"""Work whose outcome is decided beforehand, without a model: it can be sent to other processes, and needs no torch there."""

import json
import os
import signal
import time
from pathlib import Path

from rgprobe.sweeping.items import Item, Place, PromptSet
from rgprobe.sweeping.ledger import Failure, Outcome


def items(*fates):
    """An item for each list of fates."""
    prompts = PromptSet("prompts", ("a",))
    return [
        Item(Place(name, name, None, name, None, name), prompts, {}, {"fate": json.dumps(fate)})
        for name, fate in ((f"item{index}", fate) for index, fate in enumerate(fates))
    ]


def attempts(notes):
    """How often each item was tried."""
    lines = [line.split()[0] for line in notes.read_text().splitlines()]
    return {name: lines.count(name) for name in lines}


def log(path, word):
    """Append a line; the system keeps lines of several processes apart."""
    with Path(path).open("a") as file:
        file.write(f"{word}\n")


def made_up(item, *, notes):
    """An outcome decided by the options of the item, without a model."""
    log(notes, f"{item.place.label} {os.getpid()}")
    attempts = Path(notes).read_text().count(f"{item.place.label} ")
    for fate in json.loads(item.running.get("fate", "[]")):
        match fate:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "die once" if attempts == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            case "held once" if attempts == 1:
                return Outcome("held")
            case "bad input":
                return Outcome("failed", Failure("CheckpointError", "no weights", 2))
            case "disk once" if attempts == 1:
                return Outcome("failed", Failure("EnvironmentFault", "no room", 3))
            case "slow":
                time.sleep(0.2)
    return Outcome("done")
