"""Every diagnostic on systems whose answer is known. Each file holds rows, `CHECKS`; being in this folder registers them,
and so does being in a diagnostic's own file.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from importlib import import_module

from threadpoolctl import threadpool_limits

from rgprobe import diagnostics
from rgprobe.errors import OptionError, nearest
from rgprobe.threads import torch_threads
from rgprobe.validation.record import Check, Outcome

__all__ = ["Check", "Outcome", "checks", "named", "validate"]


def checks() -> tuple[Check, ...]:
    """Every row, in the order of the catalogue: those of this folder, and those that a diagnostic brings along."""
    places = ((__name__, __path__), (diagnostics.__name__, diagnostics.__path__))
    modules = [import_module(f"{name}.{module.name}") for name, path in places for module in pkgutil.iter_modules(path)]
    found = [check for module in modules for check in getattr(module, "CHECKS", ())]
    return tuple(sorted(found, key=lambda check: int(check.catalogue[1:])))


def named(names: str | None) -> tuple[Check, ...]:
    """Rows of some diagnostics: a comma-separated list of modules or catalogue identifiers; None for every row.

    Raises:
        OptionError: a name that no row has.

    Example:
        >>> {check.catalogue for check in named("D3,plateau")} == {"D3", "D12"}
        True
    """
    rows = checks()
    if names is None:
        return rows
    wanted = {name.strip() for name in names.split(",")}
    known = {name for check in rows for name in _names(check)}
    if unknown := sorted(wanted - known):
        raise OptionError(
            "--only", expected=f"names among {', '.join(sorted(known))}", received=", ".join(unknown),
            remedy=nearest(unknown[0], known, "correct the name"),
        )  # fmt: skip
    return tuple(check for check in rows if wanted & _names(check))


def _names(check: Check) -> set[str]:
    return {check.catalogue, check.diagnostic.partition(":")[0].rpartition(".")[2]}


def validate(
    rows: Sequence[Check] | None = None, *, on_progress: Callable[[int, int, str], None] | None = None
) -> tuple[Outcome, ...]:
    """Run rows of the table, all by default, on one thread so that equal code gives equal numbers.

    Args:
        rows: among `checks()`.
        on_progress: called with (rows done, rows in all, what comes next).

    Raises:
        OptionError: no row.

    Example:
        >>> outcomes = validate(checks()[:1])
        >>> outcomes[0].verdict
        'pass'
    """
    chosen = checks() if rows is None else tuple(rows)
    if not chosen:
        raise OptionError("checks", expected="at least one row", received="none", remedy="pass rows of checks()")
    with torch_threads(1), threadpool_limits(limits=1):
        return tuple(_run(check, index, len(chosen), on_progress) for index, check in enumerate(chosen))


def _run(check: Check, index: int, total: int, on_progress: Callable[[int, int, str], None] | None) -> Outcome:
    if on_progress is not None:
        on_progress(index, total, f"{check.catalogue} {check.system}")
    return check.run()
