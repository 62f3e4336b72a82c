"""The text beside a figure: what is drawn, over how many prompts, with which interval, belief, null and source."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rgprobe.comparison import FlowComparison
from rgprobe.plots.tokens import readable
from rgprobe.rg_flow import RGFlow
from rgprobe.wording import counted

__all__ = ["caption", "comparison_caption", "flow_caption"]

WIDTH = 100


def caption(title: str, told: str, lines: Mapping[str, str]) -> str:
    """Plain text: a title, what is drawn, and a labelled line for each fact.

    Example:
        >>> print(caption("Elimination", "Bits against depth.", {"n": "24 prompts"}))
        Elimination
        <BLANKLINE>
        Bits against depth.
        <BLANKLINE>
        n: 24 prompts
        <BLANKLINE>
    """
    facts = [
        textwrap.fill(f"{name}: {value}", WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for name, value in lines.items()
        if value
    ]
    return "\n".join([title, "", textwrap.fill(told, WIDTH), "", *facts]) + "\n"


def flow_caption(title: str, told: str, flow: RGFlow, diagnostics: Sequence[str], *, prompt: int | None = None) -> str:
    """Caption of a figure that is drawn from some diagnostics of one flow.

    Args:
        title: first line.
        told: what is drawn.
        flow: which one.
        diagnostics: whose assumptions are told.
        prompt: the only one shown, if it is one.
    """
    lines = _flow_lines(flow.provenance, len(flow.prompts), _recorded(flow))
    if prompt is not None:
        shown = len(flow.recorded_tokens(prompt))
        lines |= {
            "n": f"1 of {len(flow.prompts)} prompts, {counted(shown, 'recorded token')}",
            "interval": "none: one prompt is shown",
            "null": "none in this figure: one prompt is shown, and nothing is tested",
        }
    return caption(title, told, {**lines, **_notes(flow, [name for name in diagnostics if name in flow.diagnostics])})


def comparison_caption(title: str, told: str, comparison: FlowComparison) -> str:
    """Caption of a figure that is drawn from a comparison of two sides."""
    lines = {"n": f"{comparison.prompts} prompts, the same for both", "what is compared": comparison.statement}
    for name, runs in comparison.provenance.items():
        for number, provenance in enumerate(runs, start=1):
            label = _line(name) if len(runs) == 1 else f"{_line(name)}, run {number}"
            told_of = _flow_lines(provenance, None, "")
            lines[label] = "; ".join(f"{key} {value}" for key, value in told_of.items() if value)
    return caption(title, told, lines)


def _flow_lines(provenance: Mapping[str, Any], prompts: int | None, recorded: str) -> dict[str, str]:
    source, nulls = provenance["source"], provenance["nulls"]
    inits, shuffles = nulls["random_init_seeds"], nulls["shuffle_seeds"]
    options = provenance["options"]
    interval = (
        "95%: bands of values are BCa bootstraps over prompts; bands of random initialisations say where one more would fall, "
        "those of other nulls are intervals of their mean"
    )
    return {
        "n": "" if prompts is None else f"{counted(prompts, 'prompt')}{recorded}",
        "interval": interval if prompts is None or prompts > 1 else "none: one prompt has none",
        "null": _nulls(inits, shuffles, nulls.get("scaled_init_gains", [])),
        "seeds": f"run {provenance['seed']}; random initialisations {_listed(inits)}; shuffles {_listed(shuffles)}",
        "sink": f"{options['sink']}d" if str(options["sink"]).endswith("e") else str(options["sink"]),
        "belief": f"{provenance['belief']} ({_line(str(provenance['assumption']), 400)})",
        "source": f"{_line(str(source['name']), 120)} ({source['kind']}), {_digest(source.get('sha256'))}",
        "dtype": str(provenance["dtype"]),
        "rgprobe": str(provenance["versions"].get("rgprobe", "unknown")),
    }


def _nulls(inits: Sequence[int], shuffles: Sequence[int], gains: Sequence[float]) -> str:
    parts = [f"{counted(len(inits), 'random initialisation')} of the same architecture"] if inits else []
    if gains:
        parts += [
            f"the same with their final gain x {min(gains):.3g} to {max(gains):.3g}, for logits as large as the model's"
        ]
    parts += [f"{counted(len(shuffles), 'shuffle')} of the tokens"] if shuffles else []
    return " and ".join(parts) if parts else "none was run, so nothing here is more than descriptive"


def _notes(flow: RGFlow, diagnostics: Sequence[str]) -> dict[str, str]:
    """What each diagnostic assumes, and where it is undefined."""
    tree = flow.to_xarray()
    notes = {}
    for name in diagnostics:
        attrs = tree[name].attrs
        for key in ("assumption", "undefined"):
            if attrs.get(key):
                notes[f"{name.replace('_', ' ')}, {key}"] = _line(str(attrs[key]), 1000)
    return notes


def _recorded(flow: RGFlow) -> str:
    counts = [len(flow.recorded_tokens(prompt)) for prompt in range(len(flow.prompts))]
    least, most = min(counts), max(counts)
    return f", {most} recorded tokens each" if least == most else f", {least} to {most} recorded tokens each"


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(str(seed) for seed in seeds) if seeds else "none"


def _digest(digest: object) -> str:
    """The sha256 of the weights where files have one each, else the only one there is."""
    if isinstance(digest, Mapping):
        name = "model.safetensors" if "model.safetensors" in digest else next(iter(sorted(digest)), "")
        return f"sha256 of {_line(str(name))} {digest.get(name, 'unknown')}"
    return f"sha256 {digest or 'unknown'}"


def _line(text: str, longest: int = 200) -> str:
    return readable(text, longest=longest)
