"""`rgprobe run`: a checkpoint in; its result, trees and report out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rgprobe.cli.compare_command import RESULT as COMPARISON
from rgprobe.cli.options import (
    AllowPickle,
    Belief,
    BeliefOption,
    Bos,
    BosOption,
    Debug,
    Device,
    DeviceMap,
    Dtype,
    DtypeOption,
    Layers,
    MaxMemory,
    OffloadFolder,
    Positions,
    Quiet,
    ScaledNulls,
    Sink,
    SinkOption,
    Truncate,
    known_prompt_sets,
    known_sources,
    parse_memory,
    parse_positions,
)
from rgprobe.cli.output_directory import Staging, staged_output
from rgprobe.cli.progress import Report, progress_bar
from rgprobe.cli.prompt_file import read_labelled_prompts
from rgprobe.data import load_prompts
from rgprobe.errors import BadInput
from rgprobe.files import file_name
from rgprobe.models.shipped import prompts_unseen_by, shipped_names

if TYPE_CHECKING:
    from rgprobe.comparison import FlowComparison
    from rgprobe.estimating import CostEstimate
    from rgprobe.rg_flow import RGFlow

__all__ = ["run_command"]

SEEDS_OF_SHIPPED, SEEDS = 5, 3
REPORT = "report.html"
LONG = 20  # seconds: a run that takes longer is worth announcing


@dataclass(frozen=True)
class _Request:
    """What to run on each source."""

    prompts: tuple[str, ...]  # empty: the set that suits the source
    loading: dict[str, Any]
    running: dict[str, Any]
    announced: bool  # whether to say beforehand what each source will cost


def run_command(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="Shipped name, directory or hub id. Default: every shipped checkpoint.",
            show_default=False,
            autocompletion=known_sources,
        ),
    ] = None,
    *,
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|SET",
            help='UTF-8 text, one prompt per paragraph (blank lines between); .jsonl: a JSON string or {"text": ...} per '
            "line; or a shipped set: held_out (24 passages of Hamlet and The Tempest, never seen by the shipped "
            "checkpoints; their default), passages (24 of modern prose; the default for all others) or families (24 of 8 "
            'paraphrases each, and their controls). A "group" per line of .jsonl says which prompts belong together.',
            show_default=False,
            autocompletion=known_prompt_sets,
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text", metavar="TEXT", help="A prompt; may be repeated, and adds to --prompts.", show_default=False
        ),
    ] = None,
    belief: BeliefOption = Belief.lens,
    nulls: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help=f"Random initialisations to compare with; 'beats null' takes 5 and 20 prompts. Default: {SEEDS}, "
            f"or {SEEDS_OF_SHIPPED} where no SOURCE is given.",
            show_default=False,
        ),
    ] = None,
    scaled_nulls: ScaledNulls = False,
    diagnostics: Annotated[
        str,
        typer.Option(
            metavar="default|all|NAMES",
            help="'default': those that cost little; 'all'; or names such as temperature,condensation.",
        ),
    ] = "default",
    positions: Positions = "32",
    sink: SinkOption = Sink.exclude,
    bos: BosOption = Bos.model,
    truncate: Truncate = False,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of null models and intervals.")] = 0,
    device: Device = "auto",
    dtype: DtypeOption = Dtype.float32,
    device_map: DeviceMap = None,
    max_memory: MaxMemory = None,
    offload_folder: OffloadFolder = None,
    layers: Layers = None,
    allow_pickle: AllowPickle = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory for results and report.")] = Path("rgprobe-out"),
    json_summary: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure the flow of token beliefs through a model, against null models, and write a report.

    Writes OUT/NAME.nc (the numbers), OUT/NAME.trees.json (condensation trees) and OUT/report.html; without SOURCE, where
    the shipped checkpoints are compared, OUT/comparison.nc too. Files of an earlier run stay as they are until the new ones
    are complete.
    """
    given = (*(read_labelled_prompts(prompts) if prompts is not None else ()), *((each, "") for each in text or ()))
    request = _Request(
        prompts=tuple(each for each, _ in given),
        loading={
            "device": device,
            "dtype": dtype.value,
            "allow_pickle": allow_pickle,
            "device_map": device_map,
            "max_memory": parse_memory(max_memory),
            "offload_folder": offload_folder,
            "layers": layers,
        },
        announced=not quiet and diagnostics != "default",
        running={
            "nulls": nulls if nulls is not None else SEEDS if source is not None else SEEDS_OF_SHIPPED,
            "scaled_nulls": scaled_nulls,
            "seed": seed,
            "diagnostics": diagnostics,
            "belief": belief.value,
            "positions": parse_positions(positions),
            "sink": sink.value,
            "bos": bos.value,
            "truncate": truncate,
            **({"groups": [group for _, group in given]} if any(group for _, group in given) else {}),
        },
    )
    sources = [source] if source is not None else list(shipped_names())
    # the lock comes before the slow imports: a second run into the same directory learns of it at once
    with staged_output(out) as staging:
        with progress_bar(quiet=quiet) as report:
            flows = _analyse(sources, request, staging, report)
            report(0, 0, "writing the report")
            comparison = _write_report(flows, staging)
        staging.publish()
    _print_summary(flows, comparison, out, as_json=json_summary)


def _analyse(sources: list[str], request: _Request, staging: Staging, report: Report) -> dict[str, RGFlow]:
    """Results by file name; their files lie in the staging directory afterwards."""
    report(0, 0, "starting")
    from rgprobe.cli.tree_file import trees_json
    from rgprobe.diagnostics import select
    from rgprobe.flow import run
    from rgprobe.probe.loading import load

    select(request.running["diagnostics"])  # an unknown name is refused before a model is loaded
    staging.path(REPORT)  # what stands in its place is found before anything is computed
    flows: dict[str, RGFlow] = {}
    for source in sources:
        report(0, 0, f"loading {source}")
        model = load(source, **request.loading)
        name = file_name(model.name)
        result, trees = staging.path(f"{name}.nc"), staging.path(f"{name}.trees.json")
        prompts = list(request.prompts or load_prompts(prompts_unseen_by(source)))
        flow = run(
            model, prompts, on_progress=report, on_estimate=_announce if request.announced else None, **request.running
        )
        del model  # two checkpoints need never be in memory at once
        report(0, 0, f"writing {name}")
        flow.save(result)
        trees.write_text(trees_json(flow), encoding="ascii")
        flows[name] = flow
    return flows


def _announce(estimate: CostEstimate) -> None:
    if estimate.seconds > LONG:
        typer.echo(f"rgprobe: {estimate}", err=True)


def _write_report(flows: dict[str, RGFlow], staging: Staging) -> FlowComparison | None:
    """The report; two results are compared, and their comparison is a file of its own."""
    from rgprobe.comparison import compare
    from rgprobe.plots.arrays import named_flows
    from rgprobe.report import write_report

    named = named_flows(list(flows.values()))
    comparison = None
    if len(named) == 2:
        try:
            comparison = compare(named)
        except BadInput:
            pass  # the report tells why the two cannot be compared
        else:
            comparison.save(staging.path(COMPARISON))
    write_report(named, staging.path(REPORT), comparison=comparison)
    return comparison


def _print_summary(flows: dict[str, RGFlow], comparison: FlowComparison | None, out: Path, *, as_json: bool) -> None:
    from rgprobe.cli.run_summary import summary_json, summary_text

    files = {name: (out / f"{name}.nc", out / f"{name}.trees.json") for name in flows}
    write = summary_json if as_json else summary_text
    compared = None if comparison is None else (comparison, out / COMPARISON)
    typer.echo(write(flows, files, out / REPORT, compared))
