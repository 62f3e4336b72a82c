"""Diagnostics: one concept per file. Each file defines `DIAGNOSTIC`; being in this folder registers it."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Sequence
from importlib import import_module

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.errors import OptionError, nearest

__all__ = ["Diagnostic", "Measurement", "Quantity", "applicable", "available", "select"]


def available() -> dict[str, Diagnostic]:
    """Every diagnostic of this package by name."""
    modules = (import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    found = [module.DIAGNOSTIC for module in modules if hasattr(module, "DIAGNOSTIC")]
    return {diagnostic.name: diagnostic for diagnostic in sorted(found, key=lambda d: (int(d.catalogue[1:]), d.name))}


def select(names: str | Sequence[str]) -> tuple[Diagnostic, ...]:
    """Diagnostics by name, by a comma-separated list, "default" (those that cost little) or "all".

    Raises:
        OptionError: an unknown name.

    Example:
        >>> [d.name for d in select("temperature,plateau")], set(select("default")) < set(select("all"))
        (['temperature', 'plateau'], True)
    """
    known = available()
    wanted = names.split(",") if isinstance(names, str) else list(names) if isinstance(names, Iterable) else [names]
    if wanted in (["all"], ["default"]):
        return tuple(diagnostic for diagnostic in known.values() if diagnostic.default or wanted == ["all"])
    for name in wanted:
        if not isinstance(name, str) or name not in known:
            raise OptionError(
                "diagnostics", expected=f"default, all, or names among {', '.join(known)}", received=repr(name),
                remedy=nearest(str(name), ["default", "all", *known], "correct the name"),
            )  # fmt: skip
    return tuple(known[name] for name in dict.fromkeys(wanted))


def applicable(chosen: Sequence[Diagnostic], *, belief: str, family: str) -> tuple[Diagnostic, ...]:
    """Those that are defined for these beliefs of a model of this family.

    Raises:
        OptionError: none of them is.
    """
    kept = tuple(diagnostic for diagnostic in chosen if diagnostic.applies(belief=belief, family=family))
    if not kept:
        raise OptionError(
            "diagnostics", expected=f"at least one that is defined for {belief} beliefs of a {family} model",
            received=", ".join(diagnostic.name for diagnostic in chosen), remedy="name others, or choose other beliefs",
        )  # fmt: skip
    return kept
