"""Tables and the figure of `training_dynamics.py`, from its record alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dynamics_answers as answers
import numpy as np
from artefacts import save_figure

__all__ = ["draw", "tables"]

FAMILIES = ("standard", "gauge")
WAYS = (("heads", "spread of scores"), ("heads_by_entropy", "entropy of weights"))
COLOURS = {"standard": "#1f6fb2", "gauge": "#c4552d", "across": "#6a7078"}
QUANTITIES = (
    "attention_entropy: normalised_entropy", "attention_distance: distance", "elimination: kl_to_output",
    "elimination: entropy", "plateau: angle", "plateau: kl", "consensus: jeffreys", "collapse: cosine",
    "collapse: participation_ratio", "condensation: information",
)  # fmt: skip


def tables(record: dict[str, Any]) -> dict[str, str]:
    """Markdown by name, as the page marks them."""
    return {
        "temperature": temperature(record),
        "phases": phases(record),
        "abrupt": abrupt(record),
        "families": families(record),
        "motion": motion(record),
        "ends": ends(record),
        "updates": updates(record),
    }


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def spoken(found: list[float], digits: int = 3, *, sign: bool = False) -> str:
    """A mean with its interval."""
    form = f"{'+' if sign else ''}.{digits}g"
    mean, low, high = found
    if not np.isfinite(mean):
        return ""
    return f"{mean:{form}}" + (f" ({low:{form}} to {high:{form}})" if np.isfinite(low) else "")


def theta_of(record: dict[str, Any], family: str, *, heads: str = "heads") -> np.ndarray:
    """Seed, step, block, head: of the spread of scores (`heads`), or of the entropy of weights (`heads_by_entropy`)."""
    return np.array(record[heads][family])


def temperature(record: dict[str, Any]) -> str:
    """Pooled over heads: at the ends, their ratio, and when half of the way was covered."""
    rows = []
    for family, heads, name in ((family, *way) for family in FAMILIES for way in WAYS):
        pooled = answers.pooled_temperature(theta_of(record, family, heads=heads))
        ratio = [float(np.exp(x)) for x in answers.over_seeds(np.log(pooled[:, -1] / pooled[:, 0]))]
        middle = answers.over_seeds([answers.half_way(record["steps"], np.log(each)) for each in pooled])
        lowest = [record["steps"][k] for k in pooled.argmin(1)]
        rows.append([family, name, spoken(answers.over_seeds(pooled[:, 0])), spoken(answers.over_seeds(pooled[:, -1])),
                     spoken(ratio), spoken(middle), ", ".join(map(str, lowest))])  # fmt: skip
    head = [
        "family",
        "from",
        "at step 0",
        "at the end",
        "ratio",
        "half of the way (in log) at step",
        "coldest at step, by seed",
    ]
    return markdown(head, rows)


def phases(record: dict[str, Any]) -> str:
    """Shares of heads at some steps, and what heads did along the way, by the temperature that words of phase are for."""
    rows = []
    for family in FAMILIES:
        theta = theta_of(record, family, heads="heads_by_entropy")
        words = answers.phases(theta).reshape(*theta.shape[:2], -1)
        for k, step in enumerate(record["steps"]):
            if k % 3 == 0 or step >= 59:
                shares = [answers.over_seeds((words[:, k] == word).mean(-1)) for word in range(3)]
                rows.append([family, str(step), *(f"{100 * mean:.0f}%" for mean, _, _ in shares)])
    ways = []
    for family in FAMILIES:
        found = answers.passages(theta_of(record, family, heads="heads_by_entropy"))
        ways.append([family, *(f"{100 * mean:.0f}% ({100 * max(low, 0):.0f} to {100 * min(high, 1):.0f})"
                               for mean, low, high in map(answers.over_seeds, found.values()))])  # fmt: skip
    first = markdown(["family", "step", "exploration", "crossover", "condensed"], rows)
    return f"{first}\n\n{markdown(['heads, by family', 'in order', 'skipped', 'halted', 'stayed', 'back'], ways)}"


def abrupt(record: dict[str, Any]) -> str:
    """How many series hold a change, and which."""
    rows = []
    for family in FAMILIES:
        own = [row for row in record["changes"] if row["run"].startswith(family) and row["p_value"] is not None]
        nominal = sum(row["p_value"] <= 0.05 for row in own)
        kept = [row for row in own if row["significant"]]
        words = sorted({f"{row['diagnostic']}: {row['quantity']}, {row['before']}-{row['after']}" for row in kept})
        rows.append([family, str(len(own)), str(nominal), str(len(kept)), "; ".join(words)])
    rates = markdown(["correlation of neighbours", *record["false_alarms"]],
                     [["false alarms", *(f"{100 * rate:.1f}%" for rate in record["false_alarms"].values())]])  # fmt: skip
    head = ["family", "series tested", "p below 0.05", "significant (Benjamini-Hochberg)", "which, between steps"]
    return f"{markdown(head, rows)}\n\n{rates}"


def families(record: dict[str, Any]) -> str:
    """Change from the first to the last checkpoint, by family and paired."""
    rows = []
    for name in QUANTITIES:
        if name not in record["curves"]:
            continue
        change, middle = {}, {}
        for family in FAMILIES:
            curves = np.array(record["curves"][name][family])
            change[family] = curves[:, -1] - curves[:, 0]
            middle[family] = answers.over_seeds([answers.half_way(record["steps"], each) for each in curves])
        paired = answers.over_seeds(change["gauge"] - change["standard"])
        verdict = "" if not np.isfinite(paired[1]) else "no" if paired[1] <= 0 <= paired[2] else "yes"
        rows.append([f"{name} ({record['units'][name]})", *(spoken(answers.over_seeds(change[f]), sign=True) for f in FAMILIES),
                     spoken(paired, sign=True), verdict, *(f"{middle[f][0]:.3g}" for f in FAMILIES)])  # fmt: skip
    head = ["mean over depth", "change, standard", "change, gauge", "gauge - standard, paired by seed", "differ",
            "half way, standard", "half way, gauge"]  # fmt: skip
    return markdown(head, rows)


def motion(record: dict[str, Any]) -> str:
    """Exponents with intervals over seeds, beside what noise would have."""
    rows = []
    for name, found in record["motion"].items():
        if name == "noise":
            continue
        cells = [spoken(answers.over_seeds(found["exponents"][part]["rates"])) for part in answers.RANGES]
        cells.append(spoken(answers.over_seeds(found["exponents"]["all"]["steps"])))
        saturated = answers.over_seeds(found["saturation"]) if "saturation" in found else None
        rows.append([name, *cells, spoken(saturated) if saturated else ""])
    noise = record["motion"]["noise"]
    cells = [f"{noise['exponents'][part]['rates'][0]:.3g}" for part in answers.RANGES]
    rows.append(["Adam on pure noise", *cells, f"{noise['exponents']['all']['steps'][0]:.3g}", ""])
    rows.append(["random walk, 95% of draws", "{:.3g} to {:.3g}".format(*noise["walk"]), "", "", "", ""])
    head = ["what moves", "H, all steps", "H, steps 1-59", "H, from step 33 on", "H against step itself",
            "last squared displacement / that of two initialisations"]  # fmt: skip
    return markdown(head, rows)


def ends(record: dict[str, Any]) -> str:
    """Divergences between output distributions by step."""
    found, rows = record["ends"], []
    loss = np.array(found["loss"])
    of = {family: [k for k, name in enumerate(found["runs"]) if name.startswith(family)] for family in FAMILIES}
    for k, step in enumerate(record["steps"]):
        cells = [spoken(found[f"apart, {kind}"][k]) for kind in ("within standard", "within gauge", "across")]
        cells += [spoken(found["apart, across - within"][k], 2, sign=True), spoken(found["ratio, across"][k])]
        rows.append([str(step), *(f"{loss[of[family], k].mean():.3f}" for family in FAMILIES), *cells])
    head = ["step", "loss, standard", "loss, gauge", "seeds of standard apart", "seeds of gauge apart", "families apart",
            "families beyond seeds", "families apart / at other tokens"]  # fmt: skip
    return markdown(head, rows)


def updates(record: dict[str, Any]) -> str:
    """Cosines by how far scores spread."""
    rows = []
    for family in FAMILIES:
        for word, found in record["updates"][family]["by_spread"].items():
            if found["heads"]:
                names = ("plain", "natural", "excess", "plain_other", "excess_beyond_other", "plain_step", "natural_step",
                         "excess_step")  # fmt: skip
                known = [f"{found[name][0]:.3f}" for name in ("between", "expected_between")]
                rows.append([family, word, str(found["heads"]), *known,
                             *(spoken(found[name], 2, sign=True) for name in names)])  # fmt: skip
    head = ["family", "deviation of scores", "heads x steps", "between", "predicted", "plain", "natural", "excess",
            "plain, other prompt", "excess less other prompt's", "plain, descent", "natural, descent",
            "excess, descent"]  # fmt: skip
    return markdown(head, rows)


def draw(record: dict[str, Any], path: Path) -> None:
    """Temperature, phases, motion, output ends, updates by step and by spread."""
    from rgprobe.plots.paper.style import DOUBLE, finished, panel_letters, paper_figure, paper_style

    with paper_style():
        figure = paper_figure(DOUBLE, 4.0)
        grid = figure.subplots(2, 3).ravel()
        draw_temperature(record, grid[0], grid[1])
        draw_motion(record, grid[2])
        draw_ends(record, grid[3])
        draw_updates(record, grid[4], grid[5])
        for axes in grid[:4]:
            axes.set_xlabel("training step")
            plain_ticks(axes.xaxis, (0, 1, 10, 100) if axes.get_xscale() == "symlog" else (1, 10, 100))
        panel_letters(list(grid))
        save_figure(finished(figure), path)


def plain_ticks(axis: Any, values: Sequence[float]) -> None:
    """Numbers as they are: the style takes every `$` literally, and a power of ten comes as one from matplotlib."""
    from matplotlib.ticker import NullLocator

    axis.set_ticks(values, [f"{value:g}" for value in values])
    axis.set_minor_locator(NullLocator())


def draw_temperature(record: dict[str, Any], left: Any, right: Any) -> None:
    """Pooled temperature of every run from its entropy, and shares of heads that explore or are condensed."""
    steps = np.array(record["steps"])
    for family in FAMILIES:
        theta = theta_of(record, family, heads="heads_by_entropy")
        for seed, each in enumerate(answers.pooled_temperature(theta)):
            left.plot(steps, each, color=COLOURS[family], lw=0.9, label=family if seed == 0 else None)
        words = answers.phases(theta).reshape(*theta.shape[:2], -1)
        for word, dash, name in ((0, "-", "exploration"), (1, ":", "crossover"), (2, "--", "condensed")):
            right.plot(steps, (words == word).mean((0, 2)), dash, color=COLOURS[family], lw=0.9,
                       label=name if family == "standard" else None)  # fmt: skip
    left.set(xscale="symlog", yscale="log", ylabel="reduced temperature (1)")
    plain_ticks(left.yaxis, (0.1, 1, 10, 100))
    left.axhspan(0.75, 1.3, color="#b9bcc2", alpha=0.4, lw=0)
    left.legend(frameon=False)
    right.set(xscale="symlog", ylabel="share of heads", ylim=(0, 1))
    right.legend(frameon=False, loc="center left", fontsize=5.5)


def draw_motion(record: dict[str, Any], axes: Any) -> None:
    """Displacement of weights and of attention, and that of noise at the same rates, as multiples of the first step's."""
    for kind, dash in (("weights", "-"), ("attention", "--")):
        for family in FAMILIES:
            found = record["motion"][f"{kind}, {family}"]
            for seed, squared in enumerate(found["squared"]):
                axes.plot(found["steps"], np.sqrt(np.array(squared) / squared[0]), dash, color=COLOURS[family], lw=0.9,
                          label=kind if seed == 0 and family == "standard" else None)  # fmt: skip
    noise = np.array(record["motion"]["noise"]["squared"])
    axes.plot(found["steps"], np.sqrt(noise / noise[0]), "k:", lw=0.9, label="noise alone")
    axes.set(xscale="log", yscale="log", ylabel="displacement / first step's")
    plain_ticks(axes.yaxis, (1, 10, 100, 1000, 10000))
    axes.legend(frameon=False, fontsize=5.5)


def draw_ends(record: dict[str, Any], axes: Any) -> None:
    """Divergences between runs."""
    for kind, colour in (("within standard", "standard"), ("within gauge", "gauge"), ("across", "across")):
        found = np.array(record["ends"][f"apart, {kind}"])
        axes.plot(record["steps"], found[:, 0], color=COLOURS[colour], lw=0.9, label=kind)
        axes.fill_between(record["steps"], found[:, 1], found[:, 2], color=COLOURS[colour], alpha=0.2, lw=0)
    axes.set(xscale="symlog", ylabel="Jeffreys (nats per token)", ylim=(0, None))
    axes.legend(frameon=False, loc="upper left", fontsize=5.5)


def draw_updates(record: dict[str, Any], left: Any, right: Any) -> None:
    """Cosines with either gradient: of the checkpoints' updates, and of a step of descent, by how far scores spread."""
    looks = {"plain": ("-", None), "natural": ("--", "white")}
    for axes, suffix, title in ((left, "", "updates"), (right, "_step", "descent")):
        for family in FAMILIES:
            bins = record["updates"][family]["by_spread"]
            words = [word for word, found in bins.items() if found["heads"]]
            at = np.array([list(answers.SPREADS).index(word) for word in words]) + 0.16 * FAMILIES.index(family)
            for name, (dash, face) in looks.items():
                found = np.array([bins[word][name + suffix] for word in words])
                # beside each other, so that no interval hides another
                axes.errorbar(at + 0.08 * (name == "natural"), found[:, 0], np.abs(found[:, 1:] - found[:, :1]).T, ls=dash,
                              marker="o", ms=2.5, mfc=face or COLOURS[family], lw=0.7, color=COLOURS[family],
                              label=f"{family}, {name}")  # fmt: skip
        axes.axhline(0, color="#b9bcc2", lw=0.6)
        axes.set_xticks(
            range(len(answers.SPREADS)), [word.replace(" to ", "–") for word in answers.SPREADS], rotation=25
        )
        axes.set(xlabel="deviation of scores (nats)", ylabel=f"cosine with -gradient, {title}")
    right.legend(frameon=False, fontsize=5, loc="lower left", handlelength=1.4)
