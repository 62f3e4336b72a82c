"""Arrays of unequal shape in one array."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

__all__ = ["Stack", "stack_ragged"]


class Stack:
    """Arrays along a new first axis, put in place as they come, so that they are never held twice.

    What an array lacks is filled. The only array of a stack is not copied. Where a longer one comes, what is there moves.

    Args:
        count: how many will come.
        fill: what stands where there is nothing.

    Example:
        >>> stack = Stack(2, -1)
        >>> stack.add(np.array([5]))
        >>> stack.add(np.array([3, 4]))
        >>> stack.array
        array([[ 5, -1],
               [ 3,  4]])
    """

    def __init__(self, count: int, fill: float | int) -> None:
        self.count, self.fill, self.filled = count, fill, 0
        self._array: np.ndarray | None = None

    @property
    def array(self) -> np.ndarray:
        """Everything that has come.

        Raises:
            LookupError: nothing has.
        """
        if self._array is None:
            raise LookupError("an empty stack")
        return self._array[: self.filled]

    def add(self, array: np.ndarray) -> None:
        """The next one."""
        if self.count == 1:
            self._array = array[None]
        else:
            room = self._room_for(array)
            part = room[self.filled]
            if part.shape != array.shape:
                part[...] = self.fill
            part[_corner(array)] = array
        self.filled += 1

    def _room_for(self, array: np.ndarray) -> np.ndarray:
        held = self._array
        if held is None:
            held = self._array = np.empty((self.count, *array.shape), array.dtype)
        shape = tuple(np.maximum(held.shape[1:], array.shape))
        if shape != held.shape[1:]:
            grown = np.empty((self.count, *shape), held.dtype)
            grown[: self.filled] = self.fill
            grown[: self.filled][(slice(None), *_corner(held[0]))] = held[: self.filled]
            held = self._array = grown
        return held


def _corner(array: np.ndarray) -> tuple[slice, ...]:
    return tuple(slice(0, size) for size in array.shape)


def stack_ragged(arrays: Iterable[np.ndarray], fill: float | int) -> np.ndarray:
    """Stack along a new first axis; what an array lacks is filled; one array alone is not copied.

    Example:
        >>> stack_ragged([np.array([3, 4]), np.array([5])], -1)
        array([[ 3,  4],
               [ 5, -1]])
    """
    held = list(arrays)
    stack = Stack(len(held), fill)
    for array in held:
        stack.add(array)
    return stack.array
