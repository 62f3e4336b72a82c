"""The ladder's result as tables of text: ratios, memory, errors, exponents and verdicts. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rgprobe.models.bench.result import EXACT_FORM, SAME_WIDTH, Cell, LadderResult, Timing

__all__ = ["Table", "tables"]

AGAINST_WIDTH = (EXACT_FORM, "frames-given", "parts")


@dataclass(frozen=True)
class Table:
    """Rows of text under a header and a sentence that says what they are."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def as_text(self) -> str:
        """Aligned columns, the first to the left.

        Example:
            >>> print(Table("Sizes", ("name", "N"), (("a", "12"),)).as_text())
            Sizes
              name   N
              a     12
        """
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        text = ["  ".join(cell.rjust(w) if c else cell.ljust(w) for c, (cell, w) in enumerate(zip(line, widths, strict=True)))
                for line in lines]  # fmt: skip
        return "\n".join([self.caption, *(f"  {line}".rstrip() for line in text)])

    def as_markdown(self) -> str:
        """A pipe table below its caption."""
        rule = ("---", *("---:" for _ in self.header[1:]))
        body = "\n".join(f"| {' | '.join(line)} |" for line in (self.header, rule, *self.rows))
        return f"{self.caption}.\n\n{body}"


def tables(result: LadderResult) -> tuple[Table, ...]:
    """Everything that the ladder says, in four tables: nothing in them is an absolute time."""
    return (_times(result), _against_width(result), _growth(result), _verdicts(result))


def _times(result: LadderResult) -> Table:
    """Time over that of the exact form."""
    rows = [
        (method.name, *(_ratios(result.cell(method.name, p), result.cell(EXACT_FORM, p)) for p in result.points))
        for method in result.methods
    ]
    caption = "CPU time over that of the exact form (common-frame), forward / forward with backward"
    return Table(caption, ("N x K", *(f"{n} x {k}" for n, k in result.points)), tuple(rows))


def _against_width(result: LadderResult) -> Table:
    """The exact form over plain attention."""
    rows = [
        (name, *(_ratios(result.cell(name, p), result.cell(SAME_WIDTH, p)) for p in result.points))
        for name in AGAINST_WIDTH
    ]
    caption = "CPU time over that of dot-product attention of equal feature width, forward / forward with backward"
    return Table(caption, ("N x K", *(f"{n} x {k}" for n, k in result.points)), tuple(rows))


def _growth(result: LadderResult) -> Table:
    """Exponents, and memory and error at the panel's point."""
    point = _panel(result)
    rows = []
    for method in result.methods:
        cell = result.cell(method.name, point)
        exponents = [
            _exponent(result, method.name, quantity, axis)
            for quantity in ("forward", "both", "both_memory")
            for axis in ("tokens", "dim")
        ]
        memory = "-" if cell is None else f"{_bytes(cell.forward_memory)} / {_bytes(cell.both_memory)}"
        rows.append((method.name, *exponents, memory))
    dim, tokens = result.options["growth_dim"], result.options["growth_tokens"]
    caption = (
        f"Growth exponents in N (at K = {dim}) and in K (at N = {tokens}), sizes and number of points in brackets; "
        f"peak memory beyond the inputs at {point[0]} x {point[1]}, forward / forward with backward"
    )
    header = ("", "forward N", "forward K", "with backward N", "with backward K", "memory N", "memory K", "MiB")
    return Table(caption, header, tuple(rows))


def _verdicts(result: LadderResult) -> Table:
    """Errors and domination."""
    rows = []
    for verdict in result.verdicts:
        errors = [c.error for c in result.cells if c.method == verdict.method and c.error is not None]
        timed = len(verdict.dominated) + len(
            [c for c in result.cells if c.method == verdict.method and c.forward and c.point not in verdict.dominated]
        )
        faster = ", ".join(f"{n} x {k}" for n, k in verdict.faster) or "nowhere"
        left_out = ", ".join(f"{n} x {k}" for n, k in verdict.omitted) or "nowhere"
        rows.append((verdict.method, _range(errors), f"{len(verdict.dominated)} of {timed}", faster, left_out))
    own = [c.error for c in result.cells if c.method == EXACT_FORM and c.error is not None]
    rows.append((EXACT_FORM, _range(own), "-", "-", "-"))
    caption = (
        "Error of the attention weights (least and largest over the points), and where the exact form dominates: the other "
        "takes at least 0.9 of its time forward and with backward, and errs as much or more, errors up to 1e-4 counting as "
        "rounding"
    )
    return Table(caption, ("", "error", "dominated at", "faster at", "over the budget at"), tuple(rows))


def _panel(result: LadderResult) -> tuple[int, int]:
    n, k = result.options["panel"]
    return n, k


def _ratios(cell: Cell | None, floor: Cell | None) -> str:
    if cell is None or floor is None:
        return "-"
    return f"{_ratio(cell.forward, floor.forward)} / {_ratio(cell.both, floor.both)}"


def _ratio(timing: Timing | None, floor: Timing | None) -> str:
    return "-" if timing is None or floor is None else _short(timing.median / floor.median)


def _short(x: float) -> str:
    """Two significant digits.

    Example:
        >>> _short(0.0123), _short(3.21), _short(1234.5)
        ('0.012', '3.2', '1,200')
    """
    rounded = float(f"{x:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:.2g}"


def _exponent(result: LadderResult, method: str, quantity: str, axis: str) -> str:
    for g in result.growth:
        if (g.method, g.quantity, g.axis) == (method, quantity, axis):
            return f"{g.exponent:.1f} ({g.low}-{g.high}, {g.points})"
    return "-"


def _bytes(count: int | None) -> str:
    return "-" if count is None else _short(count / 2**20)


def _range(errors: Sequence[float]) -> str:
    finite = [error for error in errors if math.isfinite(error)]
    if not finite:
        return "undefined"
    undefined = "" if len(finite) == len(errors) else f", undefined at {len(errors) - len(finite)}"
    return f"{min(finite):.0e} to {max(finite):.0e}{undefined}"
