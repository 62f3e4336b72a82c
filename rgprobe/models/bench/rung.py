"""A rung of the ladder: one way to compute attention, forward, forward with backward, and its weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rgprobe.models.bench.problem import Problem

__all__ = ["Claim", "RowRung", "Rung", "WholeRung"]

# Entries of one (rows, keys, K, K) tensor of a chunk: 4 MB in float32, near the caches, never over the memory.
CHUNK = 2**20


@dataclass(frozen=True)
class Claim:
    """What a rung is and promises.

    Args:
        name: short and unique.
        title: in words.
        exact: its weights are those of the definition; None where it computes something else (dot products).
        work: operations that one call takes at (N, K), up to a factor, where a budget must be able to refuse it.
        profiled: largest N at which its memory is measured, where it makes so many small calls that the profiler's own
            records take gigabytes beyond.
    """

    name: str
    title: str
    exact: bool | None
    work: Callable[[int, int], float] | None = None
    profiled: int | None = None


@dataclass(frozen=True)
class Rung(ABC):
    """One way to compute attention from a `Problem`."""

    claim: Claim

    @property
    def name(self) -> str:
        """Short name."""
        return self.claim.name

    @abstractmethod
    def inputs(self, problem: Problem) -> tuple[Tensor, ...]:
        """What it is given; nothing is computed the second time this is asked for."""

    @abstractmethod
    def forward(self, problem: Problem) -> Float[Tensor, "N D"]:
        """The output, without a graph."""

    @abstractmethod
    def both(self, problem: Problem) -> tuple[Tensor, ...]:
        """Gradients of <output, upstream> to the rung's own inputs."""

    @abstractmethod
    def weights(self, problem: Problem, rows: list[int]) -> Float[Tensor, "R N"] | None:
        """Attention weights of some queries; None for rungs without beliefs."""


@dataclass(frozen=True)
class WholeRung(Rung):
    """All rows in one call.

    Args:
        take: inputs that get gradients.
        attend: output from the problem's constants and those inputs.
        pattern: weights (N, N), the same way.
    """

    take: Callable[[Problem], tuple[Tensor, ...]]
    attend: Callable[..., Tensor]
    pattern: Callable[..., Tensor] | None = None

    def inputs(self, problem: Problem) -> tuple[Tensor, ...]:
        """See `Rung`."""
        return self.take(problem)

    def forward(self, problem: Problem) -> Float[Tensor, "N D"]:
        """See `Rung`."""
        with torch.no_grad():
            return self.attend(problem, *self.take(problem))

    def both(self, problem: Problem) -> tuple[Tensor, ...]:
        """See `Rung`."""
        leaves = _leaves(self.take(problem))
        out = self.attend(problem, *leaves)
        return torch.autograd.grad(out[..., : problem.dim], leaves, problem.upstream)

    def weights(self, problem: Problem, rows: list[int]) -> Float[Tensor, "R N"] | None:
        """See `Rung`."""
        if self.pattern is None:
            return None
        with torch.no_grad():
            return self.pattern(problem, *self.take(problem))[rows]


@dataclass(frozen=True)
class RowRung(Rung):
    """A few rows at a time, so that memory stays bounded: all pairs at once would hold N^2 K^2 numbers several times.

    With its backward, each chunk is differentiated at once and its graph dropped. In a network the loss needs all rows
    first, so each chunk would be computed twice, or N^2 K^2 numbers kept: what is timed here is a favour to the rung.

    Args:
        prepare: what is computed once per token, from mean, covariance, phi and values.
        some: output and weights of rows [start, stop) over keys [first, stop), from the problem's constants, the start,
            the stop and what was prepared.
        entries: numbers per pair in the largest tensor, of K.
        windowed: whether keys older than the problem's window are left out.
    """

    prepare: Callable[..., tuple[Tensor, ...]]
    some: Callable[..., tuple[Tensor, Tensor]]
    entries: Callable[[int], int]
    windowed: bool = False

    def inputs(self, problem: Problem) -> tuple[Tensor, ...]:
        """See `Rung`."""
        return problem.mean, problem.covariance, problem.phi, problem.values

    def forward(self, problem: Problem) -> Float[Tensor, "N D"]:
        """See `Rung`."""
        with torch.no_grad():
            shared = self.prepare(*self.inputs(problem))
            return torch.cat([self._rows(problem, shared, *span)[0] for span in self._chunks(problem)])

    def both(self, problem: Problem) -> tuple[Tensor, ...]:
        """See `Rung`."""
        leaves = _leaves(self.inputs(problem))
        shared = self.prepare(*leaves)
        cut = _leaves(shared)
        for start, stop in self._chunks(problem):
            out = self._rows(problem, cut, start, stop)[0]
            torch.autograd.backward(out, problem.upstream[start:stop])
        gradients = [torch.zeros_like(x) if x.grad is None else x.grad for x in cut]
        return torch.autograd.grad(shared, leaves, gradients)

    def weights(self, problem: Problem, rows: list[int]) -> Float[Tensor, "R N"]:
        """See `Rung`."""
        with torch.no_grad():
            shared = self.prepare(*self.inputs(problem))
            found = torch.zeros(len(rows), problem.n_tokens, dtype=problem.mean.dtype)
            for place, row in enumerate(rows):
                found[place, self._first(problem, row) : row + 1] = self._rows(problem, shared, row, row + 1)[1]
        return found

    def _rows(self, problem: Problem, shared: tuple[Tensor, ...], start: int, stop: int) -> tuple[Tensor, Tensor]:
        first = self._first(problem, start)
        query, key = torch.arange(start, stop).unsqueeze(-1), torch.arange(first, stop)
        hidden = key > query
        if self.windowed:
            hidden = hidden | (query - key >= problem.window)
        return self.some(problem.tau, shared, slice(start, stop), slice(first, stop), hidden)

    def _first(self, problem: Problem, start: int) -> int:
        return max(0, start - problem.window + 1) if self.windowed else 0

    def _chunks(self, problem: Problem) -> Iterator[tuple[int, int]]:
        """Rows [start, stop); those of a window are few, so that few keys outside it are looked at."""
        n, start = problem.n_tokens, 0
        most = max(1, problem.window // 4) if self.windowed else n
        while start < n:
            # keys of the last row of the chunk: early rows see few, so their chunks may be taller
            rows = 1
            while rows < most and start + 2 * rows <= n and self._entries(problem, start, 2 * rows) <= CHUNK:
                rows *= 2
            yield start, min(start + rows, n)
            start += rows

    def _entries(self, problem: Problem, start: int, rows: int) -> int:
        return rows * (start + rows - self._first(problem, start)) * self.entries(problem.dim)


def _leaves(tensors: tuple[Tensor, ...]) -> tuple[Any, ...]:
    return tuple(x.detach().requires_grad_() for x in tensors)
