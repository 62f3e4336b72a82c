"""Two runs on the same prompts: do they differ, where, and by how much more than their own nulls?"""

from __future__ import annotations

from rgprobe.comparison.comparing import compare
from rgprobe.comparison.matching import NotCompared
from rgprobe.comparison.record import FlowComparison, open_comparison

__all__ = ["FlowComparison", "NotCompared", "compare", "open_comparison"]
