"""The report written to disk, whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from rgprobe.errors import EnvironmentFault
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
    text = page(named_flows(flows))
    try:
        _write_whole(target, text.encode("utf-8"))
    except OSError as error:
        raise EnvironmentFault(
            str(target),
            expected="a folder that can be written to, with room for about 8 MB",
            received=error.strerror or type(error).__name__,
            remedy="free some space or choose another path",
        ) from error
    return target


def _write_whole(target: Path, content: bytes) -> None:
    """Write under a temporary name, flush to the disk, rename."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
