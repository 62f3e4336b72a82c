"""Tables and the figure of `planted_hierarchy.py`, from what it recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from artefacts import save_figure

__all__ = ["draw", "losses", "of_ancestors", "of_best", "of_states"]

SHOWN = {  # figure: measure, adjacency, colour
    ("interaction", "any"): "#0b5394",
    ("one gap", "any"): "#6fa8dc",
    ("gradients", "any"): "#38761d",
    ("states", "contiguous"): "#b45f06",
    ("thermal", "contiguous"): "#a64d79",
    ("downstream", "contiguous"): "#7f7f7f",
}


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def losses(results: Sequence[dict[str, Any]]) -> str:
    """Loss above the exact one, of every run."""
    head = ["run", "parameters", "steps", "least loss, nats per prediction", "loss above it", "without context"]
    rows = [
        [
            f"{record['shape']}, {record['reader']}, seed {record['seed']}",
            f"{record['n_parameters']:,}",
            f"{record['steps']:,}",
            f"{record['bayes_nats_per_gap']:.4f}",
            f"{record['excess_nats_per_gap']:.4f} ± {1.96 * record['excess_standard_error']:.4f}",
            "" if record["without_context_nats"] is None else f"{record['without_context_nats']:.4f}",
        ]
        for result in results
        for entry in result["readers"].values()
        for record in entry["runs"]
    ]
    return markdown(head, rows)


def of_best(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """By shape: F1 at the chosen state, and the difference to every baseline."""
    for result in results:
        columns = [(reader, a) for reader in result["readers"] for a in ("any", "contiguous")]
        best = {column: result["readers"][column[0]]["best"][column[1]] for column in columns}
        seeds = {reader: len(entry["runs"]) for reader, entry in result["readers"].items()}
        head = [f"{result['shape']}: bracket F1", *(f"{reader} (seeds: {seeds[reader]}), {a}" for reader, a in columns)]
        rows = [
            ["chosen state", *(str(best[column]["state"]) for column in columns)],
            ["trees of interactions", *(_with_interval(best[column]["f1"]) for column in columns)],
            ["untrained models measured", *(str(result["readers"][reader]["nulls"]) for reader, _ in columns)],
            ["a reader that knows the grammar", *(f"{result['exact'][a]:.2f}" for _, a in columns)],
        ]
        for name in best[columns[0]]["baselines"]:
            entries = [best[column]["baselines"].get(name) for column in columns]
            cells = ["" if entry is None else f"{entry['f1']:.2f}; {_signed(entry['difference'])}" for entry in entries]
            rows.append([f"{name}; difference", *cells])
        yield markdown(head, rows)


def of_states(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """By shape and reader: every measure at every state, in brackets untrained."""
    for result in results:
        for reader, entry in result["readers"].items():
            rows = []
            for name, found in entry["trained"].items():
                null = entry["untrained"].get(name, [None] * len(found))
                cells = [_cell(value, other) for value, other in zip(found, null, strict=True)]
                rows.append([name, *cells])
            width = max(map(len, rows))
            if result["shape"] == "fixed":
                for k, a in enumerate(("any", "contiguous")):
                    pairs = zip(entry["averaged"][k], entry["untrained_averaged"][k], strict=True)
                    rows.append([f"mean interaction of all sentences, {a}", *(_cell(x, y) for x, y in pairs)])
            rows = [row + [""] * (width - len(row)) for row in rows]
            yield markdown([f"{result['shape']}, {reader}", *(f"state {k}" for k in range(width - 1))], rows)


def of_ancestors(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Accuracy of a linear probe for what stands above a leaf, in brackets untrained."""
    for result in results:
        rows = []
        for reader, entry in result["readers"].items():
            for level, found in reversed(list(enumerate(entry["ancestors"]))):
                pairs = zip(found, entry["untrained_ancestors"][level], strict=True)
                above = "root" if level == 0 else f"{len(entry['ancestors']) - level} up"
                rows.append([f"{reader}, {above}", *(_cell(x, y) for x, y in pairs)])
        width = max(map(len, rows))
        rows = [row + [""] * (width - len(row)) for row in rows]
        yield markdown([f"{result['shape']}: accuracy", *(f"state {k}" for k in range(width - 1))], rows)


def draw(results: Sequence[dict[str, Any]], path: Path) -> None:
    """F1 by state, a panel per shape and reader; dashed: untrained."""
    from matplotlib.figure import Figure
    from matplotlib.style import context

    panels = [(result, reader) for result in results for reader in result["readers"]]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    style = {"font.size": 7.5, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "rgprobe"}
    with context(style):
        figure = Figure(figsize=(6.9, 2.0 * rows + 0.5), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for axis, (result, reader) in zip(axes, panels, strict=False):
            _panel(axis, result, reader)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        save_figure(figure, path)


def _panel(axis: Any, result: dict[str, Any], reader: str) -> None:
    entry = result["readers"][reader]
    for (name, adjacency), colour in SHOWN.items():
        key = f"{name}, {adjacency}"
        for kind, line in (("trained", "-"), ("untrained", "--")):
            if key in entry[kind]:
                points = [(k, value) for k, value in enumerate(entry[kind][key]) if value is not None]
                mark = {"marker": "o", "label": key} if kind == "trained" else {}
                axis.plot(*zip(*points, strict=True), line, color=colour, markersize=2.5, linewidth=1, **mark)
    blind = entry["best"]["any"]["baselines"]
    for name, line in (("parses of other sentences", "-"), ("random, neighbours", ":")):
        axis.axhline(blind[name]["f1"], color="0.65", lw=1.2, ls=line, zorder=0, label=name)
    axis.plot([], [], "--", color="0.3", lw=1, label="untrained")
    axis.set(
        title=f"{result['shape']}, {reader}", xlabel="state", ylim=(0, 1.05), xticks=range(len(entry["ancestors"][0]))
    )
    axis.set_ylabel("bracket F1")


def _with_interval(found: Sequence[float]) -> str:
    return f"{found[0]:.2f} [{found[1]:.2f}, {found[2]:.2f}]"


def _signed(found: Sequence[float]) -> str:
    return f"{found[0]:+.2f} [{found[1]:+.2f}, {found[2]:+.2f}]"


def _cell(value: float | None, null: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if null is None else f"{value:.2f} ({null:.2f})"
