"""The rows of the validation table by name, and where each reaches the function that it checks."""

from importlib import import_module

from rgprobe.validation import checks

ROWS = checks()
NAMES = [f"{row.catalogue} {row.system}: {row.quantity}" for row in ROWS]


def module_of(row):
    """The module, and the attribute by which `measure` calls the diagnostic."""
    place, name = row.diagnostic.split(":")
    return import_module(f"rgprobe.{place}" if "." in place else f"rgprobe.diagnostics.{place}"), name
