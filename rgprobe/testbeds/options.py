"""Refusals that testbeds share: of options, and of what was seen of a sentence's leaves."""

from __future__ import annotations

from rgprobe.errors import NumericalRefusal, OptionError

__all__ = ["evidence_refusal", "require"]


def require(fits: bool, name: str, *, expected: str, received: object) -> None:
    """Refuse the option `name` unless `fits`; write `fits` so that NaN makes it false.

    Raises:
        OptionError: `fits` is false.

    Example:
        >>> require(2 > 1, "depth", expected="an integer >= 1", received=2)
        >>> require(False, "depth", expected="an integer >= 1", received=0)
        Traceback (most recent call last):
        rgprobe.errors.OptionError: depth: expected an integer >= 1, received 0; choose another depth
    """
    if not fits:
        raise OptionError(name, expected=expected, received=f"{received}", remedy=f"choose another {name}")


def evidence_refusal(row: int, expected: str, received: str) -> NumericalRefusal:
    """The error for evidence that no sentence of a grammar gives, in one row of a batch."""
    remedy = "pass evidence from leaf_evidence, with unknown leaves marked"
    return NumericalRefusal(f"evidence[{row}]", expected=expected, received=received, remedy=remedy)
