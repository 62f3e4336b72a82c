"""What an option may be, where many functions ask the same: whole numbers, one of several names, and yes or no."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any, TypeVar

from rgprobe.errors import OptionError, nearest

__all__ = ["checked_seed", "is_whole", "one_of", "true_or_false", "whole_number", "whole_numbers"]

Name = TypeVar("Name", bound=str | None)


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number by its type: Python's, numpy's, a tensor of one integer; no bool, float or text.

    Example:
        >>> is_whole(3), is_whole(3.0), is_whole(True), is_whole("3")
        (True, False, False, False)
    """
    # bools are indices to Python and to torch; who passes one has mistaken the option
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
        return False
    try:
        operator.index(value)
    except (TypeError, RuntimeError):  # of a tensor with several entries torch raises the latter
        return False
    return True


def whole_number(
    name: str, value: Any, *, least: int | None = None, most: int | None = None, remedy: str | None = None
) -> int:
    """The value as an int, if it is a whole number from `least` to `most`.

    Raises:
        OptionError: another type, floats and bools included, since rounding one would answer another question; or out of range.

    Example:
        >>> whole_number("nulls", 3, least=0)
        3
        >>> whole_number("layer", 7, least=0, most=6)
        Traceback (most recent call last):
        rgprobe.errors.OptionError: layer: expected a whole number from 0 to 6, received 7; pass a number from 0 to 6
    """
    if is_whole(value):
        number = operator.index(value)
        if (least is None or number >= least) and (most is None or number <= most):
            return number
    raise OptionError(name, expected=_range(least, most), received=_shown(value), remedy=remedy or _within(least, most))


def whole_numbers(
    name: str, values: Any, *, least: int | None = None, most: int | None = None, remedy: str | None = None
) -> list[int]:
    """Each of several values as `whole_number` has it, named by its place.

    Raises:
        OptionError: no sequence, a text, or an entry that is no such number.

    Example:
        >>> whole_numbers("sizes", range(1, 4), least=1)
        [1, 2, 3]
    """
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) != 1:
        raise OptionError(name, expected="a list of whole numbers", received=_shown(values),
                          remedy=remedy or "pass a list such as [1, 2, 4]")  # fmt: skip
    return [
        whole_number(f"{name}[{i}]", value, least=least, most=most, remedy=remedy) for i, value in enumerate(values)
    ]


def checked_seed(seed: Any) -> int:
    """The seed: None, which means another one each time to numpy, would make results that nobody can repeat.

    Raises:
        OptionError: no whole number >= 0.
    """
    return whole_number(
        "seed", seed, least=0, remedy="pass a whole number such as 0, so that the result can be repeated"
    )


def one_of(name: str, value: Any, allowed: Iterable[Name], *, remedy: str = "choose one of these") -> Name:
    """The value, if it is one of the names allowed, None among them or not.

    Raises:
        OptionError: anything else; of a text that comes near a name the remedy asks whether that was meant.

    Example:
        >>> one_of("sink", "exclude", ("exclude", "include"))
        'exclude'
        >>> one_of("sink", "exlude", ("exclude", "include"))
        Traceback (most recent call last):
        rgprobe.errors.OptionError: sink: expected exclude | include, received 'exlude'; did you mean exclude?
    """
    names = list(allowed)
    # by type first: an array compares entry by entry
    for each in names:
        if value is each or (isinstance(value, str) and value == each):
            return each
    texts = [str(each) for each in names]
    raise OptionError(name, expected=" | ".join(texts), received=_shown(value),
                      remedy=nearest(value, texts, remedy) if isinstance(value, str) else remedy)  # fmt: skip


def true_or_false(name: str, value: Any) -> bool:
    """The value, if it is True or False: any text that is not empty would count as True.

    Raises:
        OptionError: anything else.

    Example:
        >>> true_or_false("truncate", True)
        True
    """
    if type(value).__name__ in ("bool", "bool_"):  # numpy has its own, by both names
        return bool(value)
    raise OptionError(
        name, expected="True or False", received=_shown(value), remedy=f"pass {name}=True or leave it out"
    )


def _range(least: int | None, most: int | None) -> str:
    if most is None:
        return "a whole number" if least is None else f"a whole number >= {least}"
    return f"a whole number from {least} to {most}" if least is not None else f"a whole number <= {most}"


def _within(least: int | None, most: int | None) -> str:
    """A remedy that names numbers which would do."""
    if least is None and most is None:
        return "pass one such as 8"
    if least is not None and most is not None:
        return f"pass a number from {least} to {most}"
    return f"pass {least} or more" if most is None else f"pass {most} or less"


def _shown(value: Any) -> str:
    """A value on one line, cut where it is long.

    Example:
        >>> _shown("x" * 99)
        "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
