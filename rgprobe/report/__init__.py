"""One HTML file that opens offline: what was measured, against which null, and what that allows one to say."""

from __future__ import annotations

from rgprobe.report.sweep_page import write_sweep_report
from rgprobe.report.writing import write_report

__all__ = ["write_report", "write_sweep_report"]
