"""What another machine does per second, as its makers or its users say."""

from __future__ import annotations

from dataclasses import dataclass

from rgprobe.errors import OptionError

__all__ = ["Rates"]


@dataclass(frozen=True)
class Rates:
    """A machine that is not this one.

    Args:
        flops: matrix products, FLOPs per second, sustained rather than advertised.
        bandwidth: of memory, bytes per second.
        parts: devices that the layers are spread over, one after the other (device_map="auto"): they share memory, not time.

    Raises:
        OptionError: a rate that is no positive number.
    """

    flops: float
    bandwidth: float
    parts: int = 1

    def __post_init__(self) -> None:
        for name, value in (("flops", self.flops), ("bandwidth", self.bandwidth), ("parts", self.parts)):
            if not value > 0:
                raise OptionError(name, expected="a number above 0", received=str(value), remedy="leave it out")
