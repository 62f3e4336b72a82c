"""Where items are worked on. A pool takes items and gives back what became of them; it may lose a worker, never an item."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

from rgprobe.sweeping.items import Item
from rgprobe.sweeping.ledger import Outcome

__all__ = ["InProcess", "Pool", "Work"]

Work = Callable[[Item], Outcome]


class Pool(ABC):
    """Workers of one kind."""

    @property
    @abstractmethod
    def free(self) -> int:
        """How many more items it takes now."""

    @property
    @abstractmethod
    def busy(self) -> int:
        """How many items it has."""

    @abstractmethod
    def submit(self, item: Item) -> None:
        """Hand an item over."""

    @abstractmethod
    def finished(self) -> list[tuple[Item, Outcome]]:
        """Wait until something has happened to at least one item; call only while it is busy."""

    @abstractmethod
    def close(self) -> None:
        """Let the workers go; what they work on is lost."""


class InProcess(Pool):
    """One item after the other, here."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._waiting: deque[Item] = deque()

    @property
    def free(self) -> int:
        """One at a time."""
        return 1 - len(self._waiting)

    @property
    def busy(self) -> int:
        """Items that were handed over."""
        return len(self._waiting)

    def submit(self, item: Item) -> None:
        """Keep an item until somebody waits for it."""
        self._waiting.append(item)

    def finished(self) -> list[tuple[Item, Outcome]]:
        """Work on it now."""
        item = self._waiting.popleft()
        return [(item, self._work(item))]

    def close(self) -> None:
        """Nothing to let go."""
