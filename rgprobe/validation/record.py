"""The rows of the validation table; they stand beside diagnostics, so that a diagnostic's file may bring its own."""

from __future__ import annotations

from rgprobe.diagnostics.check import Check, Outcome

__all__ = ["Check", "Outcome"]
