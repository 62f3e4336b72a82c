"""Typed errors. Each one says what was expected, what came, who is to blame and what to do about it.

The command line turns an error into one line on standard error and an exit status:

======================  ====  ==================================================
class                   exit  meaning
======================  ====  ==================================================
`BadInput`              2     a file, tensor, prompt or option is not acceptable
`EnvironmentFault`      3     disk, permissions, memory or a lock
`NumericalRefusal`      4     the number asked for does not exist or cannot be trusted
======================  ====  ==================================================
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BadInput",
    "CheckpointError",
    "DeviceError",
    "EnvironmentFault",
    "NumericalRefusal",
    "OptionError",
    "PromptError",
    "RGProbeError",
    "is_out_of_memory",
    "nearest",
]

# torch raises a plain RuntimeError when the CPU allocator fails; its own class for devices is known by name, without torch
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "not enough memory")


class RGProbeError(Exception):
    """Base of every error that rgprobe raises on purpose.

    Args:
        culprit: the file, tensor, token, option or index at fault.
        expected: what would have been acceptable.
        received: what came instead.
        remedy: what the person can do now.

    Example:
        >>> from rgprobe.errors import OptionError
        >>> print(OptionError("kappa", expected="a positive number", received="0.0", remedy="pass kappa > 0"))
        kappa: expected a positive number, received 0.0; pass kappa > 0
    """

    exit_code = 1

    def __init__(self, culprit: str, *, expected: str, received: str, remedy: str) -> None:
        self.culprit = culprit
        self.expected = expected
        self.received = received
        self.remedy = remedy
        super().__init__(f"{culprit}: expected {expected}, received {received}; {remedy}")


class BadInput(RGProbeError, ValueError):
    """What was passed in cannot be used. Exit status 2."""

    exit_code = 2


class CheckpointError(BadInput):
    """A checkpoint cannot be loaded: missing, corrupt, mismatching or unsafe."""


class PromptError(BadInput):
    """A prompt is empty, too long, or tokenises to ids that the model lacks."""


class OptionError(BadInput):
    """An option is unknown or has a value outside its domain."""


class DeviceError(BadInput):
    """The device asked for does not exist here."""


class EnvironmentFault(RGProbeError):
    """Disk, permissions, memory or a lock stand in the way. Exit status 3."""

    exit_code = 3


class NumericalRefusal(RGProbeError, ArithmeticError, ValueError):
    """The quantity is undefined or cannot be computed to a stated accuracy. Exit status 4."""

    exit_code = 4


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: the environment's fault, wherever it happened, and not that of the input being read.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError("out of memory"))
        (True, False)
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """The remedy for a name that is unknown: the one that was probably meant, if any comes near, else `otherwise`.

    Example:
        >>> nearest("temprature", ["temperature", "plateau"], "correct the name"), nearest("x", ["plateau"], "correct the name")
        ('did you mean temperature?', 'correct the name')
    """
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {found[0]}?" if found else otherwise
