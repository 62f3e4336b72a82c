"""The report written to disk, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from rgprobe.comparison import FlowComparison, compare
from rgprobe.errors import OptionError, PromptError
from rgprobe.files import write_text
from rgprobe.plots.arrays import Flows, named_flows
from rgprobe.report.page import Refused, page
from rgprobe.rg_flow import RGFlow

__all__ = ["write_report"]


def write_report(flows: Flows, path: str | os.PathLike[str], *, comparison: FlowComparison | None = None) -> Path:
    """Write one HTML file that opens offline in any browser and fetches nothing.

    It says in plain words what was measured, against which null, and which level of claim that carries; then the figures
    of every diagnostic that the flow holds, the condensation trees and consensus matrices to explore, and the provenance.
    Of several flows, each is first compared with the first one, where that can be done.

    Args:
        flows: an `RGFlow`, a list of them, or a dict by name; several are drawn into the same figures.
        comparison: what `rgprobe.compare` gave, to be shown instead.
        path: where to write; an older file is replaced only once the new one is complete.

    Returns:
        The path written.

    Raises:
        EnvironmentFault: the folder is missing or not writable, or the disk is full.
    """
    target, named = Path(path), named_flows(flows)
    comparisons = [comparison] if comparison is not None else list(_with_the_first(named))
    write_text(target, page(named, comparisons))
    return target


def _with_the_first(flows: Mapping[str, RGFlow]) -> Iterator[FlowComparison | Refused]:
    (first, reference), *others = flows.items()
    for name, flow in others:
        try:
            yield compare({first: reference, name: flow})
        except (PromptError, OptionError) as error:  # other prompts or options: the runs are shown, and not compared
            yield Refused((first, name), str(error))
