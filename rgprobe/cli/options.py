"""Options that several commands share."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rgprobe.data import prompt_set_names
from rgprobe.errors import OptionError
from rgprobe.models.shipped import shipped_names

__all__ = [
    "AllowPickle",
    "Belief",
    "BeliefOption",
    "Bos",
    "BosOption",
    "Debug",
    "Device",
    "DeviceMap",
    "Dtype",
    "DtypeOption",
    "Layers",
    "MaxMemory",
    "OffloadFolder",
    "Positions",
    "Quiet",
    "ScaledNulls",
    "Sink",
    "SinkOption",
    "Truncate",
    "known_prompt_sets",
    "known_sources",
    "parse_memory",
    "parse_positions",
]


SIZE = re.compile(r"\d+(\.\d+)?[KMGT]i?B")


class Belief(StrEnum):
    """Belief estimators."""

    lens = "lens"
    thermal = "thermal"
    native = "native"
    fisher = "fisher"
    downstream = "downstream"
    ensemble = "ensemble"


class Sink(StrEnum):
    """What to do with token 0, where attention sinks."""

    exclude = "exclude"
    include = "include"


class Bos(StrEnum):
    """Who decides about the opening special token."""

    model = "model"
    always = "always"
    never = "never"


class Dtype(StrEnum):
    """Dtypes of weights."""

    float32 = "float32"
    float64 = "float64"
    bfloat16 = "bfloat16"
    float16 = "float16"


BeliefOption = Annotated[
    Belief,
    typer.Option(
        "--belief",
        help="What a token's belief is: its prediction (lens), its attention row (thermal), in gauge models its own mean and "
        "covariance (native); or its state, as sharp as its prediction makes it (fisher), as later outputs notice it "
        "(downstream: a backward pass for each of 32 draws), or as noise leaves it (ensemble: 160 passes).",
    ),
]
Positions = Annotated[
    str,
    typer.Option(
        "--positions",
        metavar="N|I,J,...",
        help="How many evenly spaced tokens to record, or which: '0,5,9'; '7,' is one.",
    ),
]
SinkOption = Annotated[
    Sink, typer.Option("--sink", help="Leave token 0, where attention sinks, out of the statistics, or keep it.")
]
BosOption = Annotated[
    Bos, typer.Option("--bos", help="Opening special token: as the model's tokenizer does, always, or never.")
]
Truncate = Annotated[bool, typer.Option("--truncate", help="Cut prompts over the context length instead of refusing.")]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N. No silent fallback.")]
DtypeOption = Annotated[
    Dtype, typer.Option("--dtype", help="Dtype of the weights; statistics are never below float32.")
]
ScaledNulls = Annotated[
    bool,
    typer.Option(
        "--scaled-nulls",
        help="Measure each random initialisation once more with logits as large as the model's: what is left of claims about "
        "predictions? A further pass for each.",
    ),
]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Accept pickled weights; they are read with weights_only=True.")
]
DeviceMap = Annotated[
    str | None,
    typer.Option(
        "--device-map",
        metavar="auto|...",
        help="Spread a checkpoint over all GPUs, then memory, then disk (auto), instead of --device; takes --nulls 0 where "
        "weights end up off the devices.",
        show_default=False,
    ),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        "--max-memory",
        metavar="0=70GiB,cpu=200GiB",
        help="What --device-map may use, by GPU number and cpu; the rest stays on disk.",
        show_default=False,
    ),
]
OffloadFolder = Annotated[
    Path | None,
    typer.Option(
        "--offload-folder",
        metavar="DIR",
        help="Where --device-map puts weights that fit nowhere and cannot stay in their own files.",
        show_default=False,
    ),
]
Layers = Annotated[
    int | None,
    typer.Option(
        "--layers",
        min=1,
        metavar="N",
        help="Read the first N blocks only, and measure that shorter model.",
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar, and no estimate of the time it takes.")]
# read by `main`, which is where failures end up; declared here so that every command takes and explains it
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")]


def known_sources(begun: str) -> list[str]:
    """What a shell may complete a checkpoint's name to; it completes directories by itself.

    Example:
        >>> known_sources("st")
        ['standard-small']
    """
    return [name for name in shipped_names() if name.startswith(begun)]


def known_prompt_sets(begun: str) -> list[str]:
    """What a shell may complete the name of a prompt set to."""
    return [name for name in prompt_set_names() if name.startswith(begun)]


def parse_memory(text: str | None) -> dict[int | str, str] | None:
    """What each device may hold, by number or "cpu".

    Raises:
        OptionError: a text of another form.

    Example:
        >>> parse_memory("0=70GiB,cpu=200GiB"), parse_memory(None)
        ({0: '70GiB', 'cpu': '200GiB'}, None)
    """
    if text is None:
        return None
    pairs = [part.strip().partition("=") for part in text.split(",")]
    if not all(SIZE.fullmatch(size) and (device == "cpu" or device.isdecimal()) for device, _, size in pairs):
        raise OptionError("--max-memory", expected="sizes by GPU number or cpu, such as 0=70GiB,cpu=200GiB",
                          received=repr(text), remedy="write, say, --max-memory 0=70GiB,cpu=200GiB")  # fmt: skip
    return {int(device) if device.isdecimal() else device: size for device, _, size in pairs}


def parse_positions(text: str) -> int | list[int]:
    """A count, or token indices where there is a comma.

    Raises:
        OptionError: neither.

    Example:
        >>> parse_positions("32"), parse_positions("0,5,9"), parse_positions("7,")
        (32, [0, 5, 9], [7])
    """
    try:
        if "," not in text:
            count = int(text)
            if count > 0:
                return count
        else:
            indices = [int(part) for part in text.removesuffix(",").split(",")]
            if min(indices) >= 0:
                return indices
    except ValueError:
        pass
    raise OptionError(
        "--positions", expected="a count of at least 1, or token indices such as 0,5,9", received=repr(text),
        remedy="the default is 32",
    )  # fmt: skip
