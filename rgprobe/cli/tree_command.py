"""`rgprobe tree`: the condensation tree of one text, in the terminal or for other programs."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rgprobe.checks import whole_number
from rgprobe.cli.options import (
    AllowPickle,
    Belief,
    BeliefOption,
    Bos,
    BosOption,
    Debug,
    Device,
    Dtype,
    DtypeOption,
    Positions,
    Quiet,
    Sink,
    SinkOption,
    Truncate,
    known_sources,
    parse_positions,
)
from rgprobe.cli.progress import progress_bar
from rgprobe.errors import OptionError

if TYPE_CHECKING:
    from rgprobe.condensation import CondensationTree
    from rgprobe.tracing import BeliefTrace

__all__ = ["Format", "tree_command"]


class Format(StrEnum):
    """What to print."""

    text = "text"
    newick = "newick"
    json = "json"


def tree_command(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="Shipped name, directory or hub id.", autocompletion=known_sources),
    ],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The text whose tokens are condensed.")],
    *,
    layer: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            help="Depth: 0 is the input end, L the output end (0 to L-1 for thermal and native beliefs). "
            "Default: the output end.",
            show_default=False,
        ),
    ] = None,
    head: Annotated[
        int | None,
        typer.Option(
            metavar="H",
            help="One head of thermal or native beliefs. Default: their product over heads, so divergences add.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="A drawing, Newick, or JSON.")] = Format.text,
    clusters: Annotated[
        int | None,
        typer.Option(
            metavar="M",
            help="Cut into this many meta-tokens. Default: the fewest that lose at most half of the information.",
            show_default=False,
        ),
    ] = None,
    belief: BeliefOption = Belief.lens,
    positions: Positions = "32",
    sink: SinkOption = Sink.exclude,
    bos: BosOption = Bos.model,
    truncate: Truncate = False,
    device: Device = "auto",
    dtype: DtypeOption = Dtype.float32,
    allow_pickle: AllowPickle = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Condense the tokens of one text, step by step, and print the tree.

    Each step merges the two meta-tokens whose merging loses the least information about their beliefs. Heights are the
    information lost so far, in nats per token.
    """
    options: dict[str, Any] = {
        "belief": belief.value,
        "positions": parse_positions(positions),
        "sink": sink.value,
        "bos": bos.value,
        "truncate": truncate,
    }
    from rgprobe.diagnostics.condensation import tree_of
    from rgprobe.probe.loading import load
    from rgprobe.tracing import trace

    with progress_bar(quiet=quiet) as report:
        report(0, 0, f"loading {source}")
        model = load(source, device=device, dtype=dtype.value, allow_pickle=allow_pickle)
        report(0, 0, f"reading {belief.value} beliefs")
        # what an estimator reads of states or attention, "beliefs" brings along
        traced = trace(model, [text], collect=("beliefs",), **options)
        depth = _checked_depth(layer, traced)
        tree = tree_of(traced, 0, depth, head=head)
    if as_json and output is Format.newick:
        raise OptionError("--json", expected="one format", received="--format newick too", remedy="leave one out")
    if output is Format.newick:
        typer.echo(tree.to_newick())
    elif output is Format.json or as_json:
        typer.echo(tree.to_json())
    else:
        _draw(tree, traced, depth, head, model.name, clusters)


def _checked_depth(layer: int | None, traced: BeliefTrace) -> int:
    last = traced.n_depths - 1
    if layer is None:
        return last
    there = f"{traced.belief} beliefs of this model are indexed by {traced.depth_dim}"
    return whole_number("--layer", layer, least=0, most=last, remedy=f"leave it out for the output end: {there}")


def _draw(
    tree: CondensationTree, traced: BeliefTrace, depth: int, head: int | None, name: str, clusters: int | None
) -> None:
    from rich.console import Console
    from rich.text import Text

    from rgprobe.cli.dendrogram import dendrogram_lines
    from rgprobe.cli.failures import printable
    from rgprobe.report.payload import running_text
    from rgprobe.wording import counted

    number = clusters if clusters is not None else tree.effective_clusters()
    cut = tree.cut(n_clusters=number)
    labels = [running_text(token) for token in traced.recorded_tokens(0)]
    console = Console(highlight=False)
    lines = [
        f"{printable(name)}, {traced.belief} beliefs{f' of head {head}' if head is not None else ''}, "
        f"{traced.depth_dim} {depth} of {traced.n_depths - 1}: "
        f"{_which_tokens(tree, traced)}, {tree.loss(1):.4g} nats per token to lose",
        "cluster, token, merges to the right, nats per token lost once joined with the line above",
        "",
        *dendrogram_lines(tree, labels, cut, width=console.width, ascii_only=console.options.ascii_only),
        "",
        f"Cut into {counted(number, 'meta-token')}, {tree.loss(number):.4g} nats per token lost ({_share(tree, number)}):",
        *(f"{cluster + 1:>4}  {_members(labels, cut == cluster)}" for cluster in range(number)),
    ]
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _which_tokens(tree: CondensationTree, traced: BeliefTrace) -> str:
    length = len(traced.tokens[0])
    return f"{tree.n_leaves} of {length} tokens" + ("" if tree.n_leaves > 1 else " (nothing to merge)")


def _share(tree: CondensationTree, number: int) -> str:
    return f"{tree.loss(number) / tree.loss(1):.0%} of what there is to lose" if tree.loss(1) > 0 else "nothing to lose"


def _members(labels: list[str], chosen: Any) -> str:
    return " | ".join(label.strip(" ") for label, inside in zip(labels, chosen, strict=True) if inside)
