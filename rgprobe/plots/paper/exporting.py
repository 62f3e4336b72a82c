"""Every figure of a result as files: rendered in memory, written whole, each with its caption beside it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rgprobe.checks import whole_number
from rgprobe.comparison import FlowComparison
from rgprobe.errors import EnvironmentFault, NumericalRefusal, OptionError
from rgprobe.files import write_bytes, write_text
from rgprobe.models.bench.result import LadderResult
from rgprobe.plots.arrays import node
from rgprobe.plots.paper.captions import caption, comparison_caption, flow_caption
from rgprobe.plots.paper.catalogue import FIGURES, FlowFigure
from rgprobe.plots.paper.comparison import families_compared
from rgprobe.plots.paper.ladder import attention_ladder
from rgprobe.plots.paper.landscape import first_measured
from rgprobe.plots.paper.rates import faithfulness_by_depth, rate_distortion
from rgprobe.plots.paper.style import paper_style
from rgprobe.plots.tokens import readable
from rgprobe.rate_distortion import RateDistortion
from rgprobe.rg_flow import RGFlow

__all__ = ["FORMATS", "Exported", "Result", "Skipped", "export", "rendered"]

FORMATS = ("pdf", "svg", "png")
# nothing that depends on when a file was written
METADATA: Mapping[str, dict[str, str | None]] = {
    "pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}
}  # fmt: skip
Result = RGFlow | FlowComparison | RateDistortion | LadderResult | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Skipped:
    """A figure that was not drawn: its name, why, and what to do to get it."""

    name: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Exported:
    """What `export` wrote, in order, and what it left out."""

    written: tuple[Path, ...]
    skipped: tuple[Skipped, ...]


def export(
    result: Result, directory: str | Path, *, formats: Sequence[str] = ("pdf", "svg"), prompt: int | None = None
) -> Exported:
    """Write every figure that a result has the numbers for, as vector files with TrueType fonts, and its caption as text.

    Files are written whole or not at all, and equal results make equal bytes. A figure whose diagnostic was not measured, or
    is undefined everywhere, is skipped and named.

    Args:
        result: a flow; a comparison of two; a rate-distortion curve; an attention ladder; or the rows that
            `analyses/faithfulness.py` wrote.
        directory: made if it does not exist.
        formats: among "pdf", "svg" and "png" (300 dpi).
        prompt: which one the figures of single prompts show; by default the first that has what they need.

    Raises:
        OptionError: an unknown format, or no such prompt.
        EnvironmentFault: the directory cannot be made or written to.
    """
    chosen = _checked(formats)
    place = Path(directory)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(str(place), expected="a directory that can be made", received=error.strerror or str(error),
                               remedy="choose another output directory") from error  # fmt: skip
    written: list[Path] = []
    skipped: list[Skipped] = []
    for drawn in _figures(result, prompt):
        if isinstance(drawn, Skipped):
            skipped.append(drawn)
            continue
        name, figure, words = drawn
        for suffix in chosen:
            write_bytes(place / f"{name}.{suffix}", rendered(figure, suffix))
        write_text(place / f"{name}.txt", words)
        written += [place / f"{name}.{suffix}" for suffix in (*chosen, "txt")]
    return Exported(tuple(written), tuple(skipped))


def rendered(figure: Figure, suffix: str) -> bytes:
    """One figure as bytes, the same whenever it is asked for.

    Args:
        figure: of this package.
        suffix: "pdf", "svg" or "png".
    """
    (checked,) = _checked([suffix])
    content = io.BytesIO()
    with paper_style():
        figure.savefig(content, format=checked, metadata=METADATA[checked])
    return content.getvalue()


def _checked(formats: Sequence[str]) -> tuple[str, ...]:
    given = [formats] if isinstance(formats, str) else list(formats)
    unknown = [name for name in given if name not in FORMATS]
    if unknown or not given:
        raise OptionError("formats", expected=f"some of {', '.join(FORMATS)}", received=readable(", ".join(map(str, given))),
                          remedy="such as pdf,svg")  # fmt: skip
    return tuple(dict.fromkeys(given))


def _figures(result: Result, prompt: int | None) -> Iterator[tuple[str, Figure, str] | Skipped]:
    if isinstance(result, RGFlow):
        _check_prompt(result, prompt)
        for entry in FIGURES:
            yield _of_flow(result, entry, prompt)
    elif isinstance(result, FlowComparison):
        yield _of_comparison(result)
    elif isinstance(result, RateDistortion):
        yield _of_curve(result)
    elif isinstance(result, LadderResult):
        yield _of_ladder(result)
    else:
        yield _of_rows(result)


def _of_flow(flow: RGFlow, entry: FlowFigure, prompt: int | None) -> tuple[str, Figure, str] | Skipped:
    needed = entry.needs or entry.any_of
    held = [name for name in needed if name in flow.diagnostics]
    if len(held) < len(entry.needs) or not held:
        missing = [name for name in needed if name not in held]
        words = " and ".join(missing) if entry.needs else "no diagnostic that it shows"
        named = ",".join(entry.needs or entry.any_of[:4])
        return Skipped(entry.name, f"{words} not measured in this result", f"rgprobe run SOURCE --diagnostics {named}")
    if not any(np.isfinite(node(flow, name)["value"].values).any() for name in held):
        return Skipped(entry.name, f"{' and '.join(held)} undefined everywhere in this result",
                       "see when it is undefined in docs/diagnostics.md")  # fmt: skip
    options: dict[str, int] = {}
    told = entry.told
    if entry.of_prompt:
        shown = _shown_prompt(flow, entry, prompt)
        options = {"prompt": shown}
        told += f' Prompt {shown}: "{readable(flow.prompts[shown], longest=160)}"'
    try:
        figure = entry.draw(flow, **options)
    except (OptionError, NumericalRefusal) as error:
        return Skipped(entry.name, str(error), "choose another prompt")
    title = f"{entry.title}: {readable(str(flow.provenance['source']['name']), longest=80)}"
    return entry.name, figure, flow_caption(title, told, flow, held, prompt=options.get("prompt"))


def _shown_prompt(flow: RGFlow, entry: FlowFigure, prompt: int | None) -> int:
    if prompt is not None:
        return prompt
    if "energy_landscape" in entry.needs:
        return first_measured(flow)
    return next((k for k in range(len(flow.prompts)) if len(flow.recorded_tokens(k)) > 1), 0)


def _check_prompt(flow: RGFlow, prompt: int | None) -> None:
    if prompt is not None:
        whole_number("prompt", prompt, least=0, most=len(flow.prompts) - 1, remedy="leave it out for the first")


def _of_comparison(comparison: FlowComparison) -> tuple[str, Figure, str] | Skipped:
    first, second = (readable(name, longest=60) for name in comparison.names)
    told = (
        "Above: both runs, mean over prompts with 95% intervals; dashed, and its band: random initialisations of each. "
        f"Below: {second} minus {first}, of the excesses over their random initialisations where both runs have "
        "some, else of the values, with its 95% interval; filled dots where the verdict names one run."
    )
    try:
        figure = families_compared(comparison)
    except OptionError as error:
        return Skipped("families-compared", str(error), "rgprobe run both with the default diagnostics")
    return "families-compared", figure, comparison_caption(f"{first} and {second} compared", told, comparison)


def _of_curve(curve: RateDistortion) -> tuple[str, Figure, str]:
    told = (
        "Distortion of the predictions, KL(predictions || predictions with meta-tokens) at the scored positions, "
        "against the number of meta-tokens, for the condensation tree and for what it is compared with."
    )
    facts = {str(key).replace("_", " "): readable(str(value), longest=400) for key, value in curve.provenance.items()}
    facts = {"n": "1 prompt, so there is no interval", "null": ", ".join(curve.partitions[1:]) or "none", **facts}
    return "rate-distortion", rate_distortion(curve), caption("Rate-distortion of meta-tokens", told, facts)


def _of_ladder(result: LadderResult) -> tuple[str, Figure, str]:
    told = (
        "a: CPU time of a forward pass against the number of tokens, in units of the exact form at the fewest. b: "
        "largest error of an attention weight in float32 against CPU time at one size; the line is the Pareto "
        "frontier. Dashed lines and hollow points are approximations. Times are medians, and only their ratios "
        "carry over to other machines."
    )
    facts = {
        str(key): readable(str(value), longest=200) for key, value in {**result.options, **result.versions}.items()
    }
    return "attention-ladder", attention_ladder(result), caption("Attention ladder", told, facts)


def _of_rows(rows: Sequence[Mapping[str, Any]]) -> tuple[str, Figure, str]:
    figure = faithfulness_by_depth(rows)
    texts = {len(values) for row in rows for values in row["relative"].values()}
    told = (
        "Distortion of the predictions when the tokens of the first half of a text are replaced by meta-tokens at "
        "one layer, in units of replacing all by one mean; geometric axis, mean over texts. Kept 1/2: half as many "
        "meta-tokens as tokens. The band of the tree is its 95% bootstrap interval over texts. All other lines are what "
        "it is compared with; those of partitions that do not look at what the tokens hold are dashed."
    )
    facts = {"n": f"{min(texts)} texts" if len(texts) == 1 else f"{min(texts)} to {max(texts)} texts",
             "interval": "95% percentile bootstrap over texts (1000 draws, seed 0)",
             "null": "random partitions of equal sizes, and trees shifted along the text",
             "belief": "second-order metric of what the scored predictions notice"}  # fmt: skip
    return "faithfulness", figure, caption("Do meta-tokens keep what a model computes?", told, facts)
