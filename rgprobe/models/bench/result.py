"""What the attention ladder found: a frozen record, and its JSON form. Importing this module imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from rgprobe.models.bench.saved import read_record, written_record

__all__ = [
    "EXACT_FORM",
    "SAME_DIM",
    "SAME_WIDTH",
    "SCHEMA",
    "SCHEMA_VERSION",
    "Cell",
    "Growth",
    "LadderResult",
    "Method",
    "Timing",
    "Verdict",
]

SCHEMA, SCHEMA_VERSION = "rgprobe.attention-ladder", 1
# Names of the methods that others are compared with.
EXACT_FORM, SAME_WIDTH, SAME_DIM = "common-frame", "dot-product-width", "dot-product-dim"


@dataclass(frozen=True)
class Timing:
    """CPU seconds of one call on the machine that ran it: divide two of them, never quote one.

    Args:
        median: over the timed calls.
        low: fastest.
        high: slowest.
        calls: how many were timed, each in another round.
    """

    median: float
    low: float
    high: float
    calls: int


@dataclass(frozen=True)
class Method:
    """A rung: short name, what it is, and whether it computes the definition (None: it computes something else)."""

    name: str
    title: str
    exact: bool | None


@dataclass(frozen=True)
class Cell:
    """One method at one point.

    Args:
        method: its short name.
        tokens: N.
        dim: K.
        forward: time of the output; None where the budget left it out.
        both: time of the output and all gradients.
        forward_memory: largest number of bytes allocated at once beyond the inputs; None where not measured.
        both_memory: the same, with gradients.
        error: largest absolute error of an attention weight, in float32, against float64; None without beliefs.
        omitted: why something is missing; empty where nothing is.
    """

    method: str
    tokens: int
    dim: int
    forward: Timing | None = None
    both: Timing | None = None
    forward_memory: int | None = None
    both_memory: int | None = None
    error: float | None = None
    omitted: str = ""

    @property
    def point(self) -> tuple[int, int]:
        """(N, K)."""
        return self.tokens, self.dim


@dataclass(frozen=True)
class Growth:
    """Least-squares slope of log quantity against log size.

    Args:
        method: short name.
        quantity: "forward", "both" (times), "forward_memory" or "both_memory".
        axis: "tokens" or "dim".
        fixed: the other size.
        exponent: the slope.
        low: smallest size.
        high: largest size.
        points: how many sizes.
    """

    method: str
    quantity: str
    axis: str
    fixed: int
    exponent: float
    low: int
    high: int
    points: int


@dataclass(frozen=True)
class Verdict:
    """Where a method is dominated: not noticeably faster than the exact form, and no more accurate.

    Args:
        method: short name.
        dominated: points where it is.
        faster: points where it takes less than 0.9 of the time, in at least one direction; points in neither list are
            those where it is as fast or slower, and more accurate.
        omitted: points where the budget left its forward out.
    """

    method: str
    dominated: tuple[tuple[int, int], ...]
    faster: tuple[tuple[int, int], ...]
    omitted: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class LadderResult:
    """All of it.

    Example:
        >>> result = LadderResult({}, {}, (), (Cell("loop", 2, 1, error=0.0),), (), ())
        >>> LadderResult.from_json(result.to_json()) == result
        True
    """

    options: Mapping[str, Any]
    versions: Mapping[str, str]
    methods: tuple[Method, ...]
    cells: tuple[Cell, ...]
    growth: tuple[Growth, ...]
    verdicts: tuple[Verdict, ...]

    def cell(self, method: str, point: tuple[int, int]) -> Cell | None:
        """One method at one point."""
        return next((c for c in self.cells if c.method == method and c.point == point), None)

    @property
    def points(self) -> tuple[tuple[int, int], ...]:
        """Where something was measured, in order."""
        return tuple(dict.fromkeys(cell.point for cell in self.cells))

    def to_json(self) -> str:
        """JSON with the name and version of its schema."""
        return written_record(self, SCHEMA, SCHEMA_VERSION)

    @classmethod
    def from_json(cls, text: str) -> LadderResult:
        """The record behind a JSON text.

        Raises:
            BadInput: the text is not JSON of this schema and version.
        """
        return read_record(text, SCHEMA, SCHEMA_VERSION, command="rgprobe bench attention", build=cls._built)

    @classmethod
    def _built(cls, found: Mapping[str, Any]) -> LadderResult:
        return cls(
            found["options"],
            found["versions"],
            tuple(Method(**x) for x in found["methods"]),
            tuple(_cell(x) for x in found["cells"]),
            tuple(Growth(**x) for x in found["growth"]),
            tuple(Verdict(x["method"], *(_points(x[f.name]) for f in fields(Verdict)[1:])) for x in found["verdicts"]),
        )


def _cell(found: dict[str, Any]) -> Cell:
    times = {name: None if found[name] is None else Timing(**found[name]) for name in ("forward", "both")}
    return Cell(**{**found, **times})


def _points(pairs: Iterable[Iterable[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((n, k) for n, k in pairs)
