"""One check for the options of every testbed."""

from __future__ import annotations

from rgprobe.errors import OptionError

__all__ = ["require"]


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
