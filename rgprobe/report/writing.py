"""The report written to disk, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from rgprobe.files import write_text
from rgprobe.plots.arrays import Flows, named_flows
from rgprobe.report.page import page

__all__ = ["write_report"]


def write_report(flows: Flows, path: str | os.PathLike[str]) -> Path:
    """Write one HTML file that opens offline in any browser and fetches nothing.

    It says in plain words what was measured, against which null, and which level of claim that carries; then the figures
    of every diagnostic that the flow holds, the condensation trees and consensus matrices to explore, and the provenance.

    Args:
        flows: an `RGFlow`, a list of them, or a dict by name; several are drawn into the same figures.
        path: where to write; an older file is replaced only once the new one is complete.

    Returns:
        The path written.

    Raises:
        EnvironmentFault: the folder is missing or not writable, or the disk is full.
    """
    target = Path(path)
    write_text(target, page(named_flows(flows)))
    return target
