"""Numbers and verdict words as the report's prose writes them."""

from __future__ import annotations

import numpy as np

from rgprobe.report.embedding import escaped

__all__ = ["chip", "listed", "number", "signed"]


def number(value: float) -> str:
    """Three significant digits, a true minus sign, a dash where undefined.

    Example:
        >>> number(-0.012345), number(float("nan")), number(1234.5), number(-2.42e-05)
        ('−0.0123', '—', '1230', '−2.4×10⁻⁵')
    """
    if not np.isfinite(value):
        return "—"
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        digits, exponent = f"{value:.1e}".split("e")
        raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{digits}×10{raised}".replace("-", "−")
    text = f"{value:.3g}"
    return (f"{float(text):.0f}" if "e" in text else text).replace("-", "−")


def signed(value: float) -> str:
    """`number` with its sign, also where positive."""
    return f"+{number(value)}" if np.isfinite(value) and value > 0 else number(value)


def listed(names: list[str]) -> str:
    """Names in bold, separated by commas."""
    return ", ".join(f"<b>{escaped(name)}</b>" for name in names)


def chip(verdict: str) -> str:
    """A verdict as a small label."""
    return f"<span class='chip {escaped(verdict.replace(' ', '-'))}'>{escaped(verdict)}</span>" if verdict else ""
