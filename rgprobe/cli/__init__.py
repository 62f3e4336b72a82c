"""`rgprobe ...`: the command line. Importing it imports no torch; every command imports what it needs when it runs."""

from __future__ import annotations

from rgprobe.cli.application import main

__all__ = ["main"]
