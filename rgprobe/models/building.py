"""One model is built at a time.

Building one leans on state that all threads of a process share: torch's generators, and switches that transformers sets while
it reads weights. Two threads that build at once would draw each other's numbers, and take each other's switches for a damaged
checkpoint. Models that are built do not share anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

__all__ = ["one_at_a_time", "seeded"]

P = ParamSpec("P")
T = TypeVar("T")

_BUILDING = threading.RLock()


def one_at_a_time(function: Callable[P, T]) -> Callable[P, T]:
    """Wrap a function so that one thread at a time runs it, or any other function that is wrapped like it."""

    @wraps(function)
    def alone(*args: P.args, **kwargs: P.kwargs) -> T:
        with _BUILDING:
            return function(*args, **kwargs)

    return alone


@contextmanager
def seeded(seed: int, *, devices: Sequence[int | torch.device] = ()) -> Iterator[None]:
    """torch's own generators under a seed, for code that draws from nothing else; they are as before afterwards.

    Args:
        seed: of the draws.
        devices: CUDA devices that draw too.

    Example:
        >>> before = torch.get_rng_state()
        >>> with seeded(0):
        ...     first = torch.rand(2)
        >>> with seeded(0):
        ...     bool((torch.rand(2) == first).all()), bool((torch.get_rng_state() == before).all())
        (True, False)
        >>> bool((torch.get_rng_state() == before).all())
        True
    """
    with _BUILDING, torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        yield
