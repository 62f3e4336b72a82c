"""Which dies out sooner on the way to the output end: the order of words, or what they are?

    python analyses/swaps.py SOURCE [--nulls 5] [--out DIR]

Every sentence of `rgprobe.data.swaps` comes in three forms with the same ending: as it is, with two words exchanged, and
with these two words replaced. For both changes, the distance of the last token's state from that of the unchanged sentence,
over the root mean square distance s_l between different sentences, layer by layer; and at the end the divergence between
the two predictions. Sentences whose three forms have unequal numbers of tokens are left out. The last columns compare
ln(order / content) with random initialisations of the same architecture: what these do as well says nothing about training.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from artefacts import OUT_HELP, artefacts

import rgprobe as rg
from rgprobe.data.swaps import load_swaps
from rgprobe.diagnostics.gain_slopes import classify
from rgprobe.diagnostics.pooling import Estimates
from rgprobe.diagnostics.positional import relative_changes
from rgprobe.diagnostics.prompt_spread import prompt_spread
from rgprobe.nulls import compare_with_seeds
from rgprobe.probe.model import Probe

KINDS = ("order", "content")
Forms = tuple[torch.Tensor, ...]


def main() -> None:
    """Measure one model and its nulls, print a table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("--nulls", type=int, default=5, help="random initialisations")
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with artefacts(arguments.out, "swaps") as keep:
        found = measure(rg.load(arguments.source), nulls=arguments.nulls)
        print(table(found))
        keep(_plain(found))


def measure(probe: Probe, *, nulls: int) -> dict[str, Any]:
    """Both changes over s_l by state, ln of their ratio with its interval, and that of random initialisations."""
    sentences = _of_equal_length(probe)
    distances, spread, divergences = _changes(probe, sentences)
    over_spread = {kind: relative_changes(distances[kind], spread).mean(0) for kind in KINDS}
    ratio = _log_ratio(distances)
    found: dict[str, Any] = {
        "source": probe.name,
        "sentences": len(sentences),
        **{kind: over_spread[kind].tolist() for kind in KINDS},
        "log_ratio": _intervals(ratio),
        # from the first state that differs to the last one, nats
        "growth": {kind: float(np.log(over_spread[kind][-1] / over_spread[kind][1])) for kind in KINDS},
        "log_ratio_growth": _intervals(ratio[:, [-1]] - ratio[:, [1]])[0],
        "kl": {kind: float(divergences[kind].mean()) for kind in KINDS},
        "kl_log_ratio": _intervals(_log_ratio(divergences)[:, None])[0],
    }
    drawn = []
    for seed in range(nulls):
        with probe.randomised(seed) as null:
            drawn.append(_log_ratio(_changes(null, sentences)[0]))
    if drawn:
        # state 0 of the last token is the same in all forms
        against = compare_with_seeds(ratio[:, 1:], np.stack(drawn)[:, :, 1:])
        found["null_log_ratio"] = [None, *against.null.tolist()]
        found["difference"] = [None, *np.stack([against.difference, against.low, against.high], -1).tolist()]
        found["p_value"] = [None, *against.p_value.tolist()]
    return found


def table(found: dict[str, Any]) -> str:
    """Markdown."""
    head = ["state", "order / s", "content / s", "ln(order / content)", "random init", "difference"]
    lines = [f"{found['source']}, {found['sentences']} sentences", "", _row(head), _row(["---"] * len(head))]
    nothing = [None] * len(found["order"])
    columns = (found["order"], found["content"], found["log_ratio"])
    nulls = (found.get("null_log_ratio", nothing), found.get("difference", nothing))
    for state, (order, content, ratio, null, gap) in enumerate(zip(*columns, *nulls, strict=True)):
        at_random = "" if null is None else f"{null:+.2f}"
        lines.append(_row([str(state), _number(order), _number(content), _text(ratio), at_random, _text(gap)]))
    growth, kl = found["growth"], found["kl"]
    lines += [
        "",
        f"ln change over s_l, from state 1 to the end: order {growth['order']:+.2f}, content {growth['content']:+.2f}",
        f"change of ln(order / content) from state 1 to the end: {_text(found['log_ratio_growth'])}",
        f"KL(sentence || changed), nats: order {kl['order']:.3f}, content {kl['content']:.3f}",
        f"ln(order / content) of KL: {_text(found['kl_log_ratio'])}",
    ]
    return "\n".join(lines)


def _of_equal_length(probe: Probe) -> list[Forms]:
    """Token ids of the three forms: base, order, content."""
    rows = [probe.encode([swap.base, swap.order, swap.content]) for swap in load_swaps()]
    return [tuple(form.ids for form in forms) for forms in rows if len({len(form) for form in forms}) == 1]


def _changes(probe: Probe, sentences: list[Forms]) -> tuple[dict[str, np.ndarray], Estimates, dict[str, np.ndarray]]:
    """Of each sentence: distances (sentence, state), ln s_l, and divergences of predictions (sentence,), by kind."""
    states = _last_tokens(probe, [ids for forms in sentences for ids in forms]).unflatten(0, (len(sentences), -1))
    last = states[:, :, -1].flatten(0, 1)
    predictions = probe.readout(last.to(probe.device)).double().log_softmax(-1).cpu().unflatten(0, states.shape[:2])
    x = states.double().numpy()  # (sentence, form, state, width)
    spread = prompt_spread(x[:, 0, :, None])
    if spread is None:
        raise SystemExit("too few sentences have forms with equally many tokens")
    distances, divergences = {}, {}
    for form, kind in enumerate(KINDS, start=1):
        distances[kind] = np.linalg.norm(x[:, form] - x[:, 0], axis=-1)
        base, other = predictions[:, 0], predictions[:, form]
        divergences[kind] = (base.exp() * (base - other)).sum(-1).numpy()
    return distances, spread, divergences


@torch.inference_mode()
def _last_tokens(probe: Probe, rows: list[torch.Tensor]) -> torch.Tensor:
    """States of the last token of each row, (row, state, width); rows of one length share a pass, so nothing is padded."""
    states = torch.empty(len(rows), probe.n_blocks + 1, probe.width)
    for length in sorted({len(row) for row in rows}):
        chosen = [index for index, row in enumerate(rows) if len(row) == length]
        seen: list[torch.Tensor] = []

        def keep(tensor: torch.Tensor, hook: Any, seen: list[torch.Tensor] = seen) -> None:
            seen.append(tensor[:, -1].float().cpu())

        hooks = [(probe.state_hook(state), keep) for state in range(probe.n_blocks + 1)]
        probe.rows_to_last_state(torch.stack([rows[index] for index in chosen]), hooks)
        states[chosen] = torch.stack(seen, 1)
    return states


def _log_ratio(found: dict[str, np.ndarray]) -> np.ndarray:
    """ln(order / content), NaN where either is nothing."""
    order, content = (np.where(found[kind] > 0, found[kind], np.nan) for kind in KINDS)
    return np.log(order) - np.log(content)


def _intervals(values: np.ndarray) -> list[list[float]]:
    """Mean over sentences with a 95% t interval, for each column."""
    found = classify(values)
    return np.stack([found.slope, found.low, found.high], -1).tolist()


def _plain(found: Any) -> Any:
    """For JSON, which has no NaN."""
    if isinstance(found, dict):
        return {name: _plain(value) for name, value in found.items()}
    if isinstance(found, list):
        return [_plain(value) for value in found]
    return None if isinstance(found, float) and not np.isfinite(found) else found


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else ""  # all sentences may end in the same token


def _text(interval: list[float] | None) -> str:
    if interval is None or not np.isfinite(interval).all():
        return ""
    mean, low, high = interval
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
