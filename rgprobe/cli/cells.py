"""Cells of the tables that commands print, and of the records that they write as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["label", "number", "plain"]


def number(value: float) -> str:
    """Three significant digits, or a word: a person reads it.

    Example:
        >>> number(0.012345), number(float("nan"))
        ('0.0123', 'undefined')
    """
    return f"{value:.3g}" if math.isfinite(value) else "undefined"


def plain(value: Any) -> Any:
    """What JSON can hold, for a cell of a table: None where a number is undefined or absent.

    Example:
        >>> plain(np.float32(0.5)), plain(float("inf")), plain(pd.NA), plain(np.int64(3)), plain("text")
        (0.5, None, None, 3, 'text')
    """
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return None if value is pd.NA else value.item() if isinstance(value, np.generic) else value


def label(row: Mapping[str, Any]) -> str:
    """Diagnostic and quantity as prose: many quantities mean nothing without their diagnostic.

    Example:
        >>> label({"diagnostic": "consensus", "quantity": "within_groups"})
        'consensus: within groups'
        >>> label({"diagnostic": "free_energy", "quantity": "free_energy_slope"})
        'free energy slope'
    """
    diagnostic, quantity = (str(row[key]).replace("_", " ") for key in ("diagnostic", "quantity"))
    return quantity if diagnostic in quantity else f"{diagnostic}: {quantity}"
