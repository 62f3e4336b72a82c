"""Answers of `training_dynamics.py` as numbers: statistics over training seeds of what was measured along the runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from rgprobe.diagnostics.changepoint import find_changepoints
from rgprobe.diagnostics.displacement import diffusive_spread, noise_driven_displacement
from rgprobe.diagnostics.temperature import CONDENSED, EXPLORATION
from rgprobe.errors import NumericalRefusal
from rgprobe.testbeds import planted_step

Key = tuple[str, int]
RANGES = {"all": (1, 10**9), "first": (1, 59), "last": (33, 10**9)}  # training steps that a law is fitted over
SPREADS = {
    "below 0.1": (0.0, 0.1),
    "0.1 to 0.5": (0.1, 0.5),
    "0.5 to 1": (0.5, 1.0),
    "1 to 2": (1.0, 2.0),
    "above 2": (2.0, np.inf),
}
COSINES = ("plain", "natural", "excess", "plain_other", "natural_other", "plain_step", "natural_step", "excess_step",
           "between", "expected_between", "excess_beyond_other")  # fmt: skip


def over_seeds(values: Sequence[float]) -> list[float]:
    """Mean, and the bounds of its 95% t interval."""
    drawn = np.asarray(values, dtype=float)
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < 2:
        return [float(drawn.mean()) if len(drawn) else float("nan"), float("nan"), float("nan")]
    half = stats.t.ppf(0.975, len(drawn) - 1) * drawn.std(ddof=1) / np.sqrt(len(drawn))
    return [float(drawn.mean()), float(drawn.mean() - half), float(drawn.mean() + half)]


def pooled_temperature(theta: np.ndarray) -> np.ndarray:
    """Over blocks and heads, averaged in the reduced inverse temperature as within a head: theta^-2 = < theta_h^-2 >."""
    return np.mean(theta**-2.0, axis=(-1, -2)) ** -0.5


def phases(theta: np.ndarray) -> np.ndarray:
    """0 exploration, 1 crossover, 2 condensed: conventions, of any shape, for theta_entropy."""
    return (theta <= EXPLORATION).astype(int) + (theta < CONDENSED)


def passages(theta: np.ndarray) -> dict[str, np.ndarray]:
    """Shares of heads (seed) by what they did along the steps; theta_entropy is (seed, step, block, head).

    `in order`: exploration, crossover and condensed, each seen at a checkpoint, and never back. `skipped`: from exploration to
    condensed between two checkpoints, never back. `halted`: left exploration, never back, and ended in the crossover. `stayed`:
    exploration throughout. `back`: warmed across a border at least once.
    """
    words = phases(theta).reshape(*theta.shape[:2], -1)  # seed, step, head
    moves = np.diff(words, axis=1)
    back = (moves < 0).any(1)
    crossed = (words == 1).any(1)
    last = words[:, -1]
    forward = ~back & (words[:, 0] == 0)
    kinds = {
        "in order": forward & (last == 2) & crossed,
        "skipped": forward & (last == 2) & ~crossed,
        "halted": forward & (last == 1),
        "stayed": forward & (last == 0),
        "back": back,
    }
    return {name: each.mean(-1) for name, each in kinds.items()}


def half_way(steps: Sequence[int], values: Sequence[float]) -> float:
    """Step at which a curve first covers half of the way from its first to its last value, straight in log(1 + step)."""
    way = (np.asarray(values) - values[0]) / (values[-1] - values[0])
    at = max(1, int(np.argmax(way >= 0.5)))
    share = (0.5 - way[at - 1]) / (way[at] - way[at - 1])
    logs = np.log1p(np.asarray(steps, dtype=float))
    return float(np.expm1(logs[at - 1] * (1 - share) + logs[at] * share))


def false_alarms(length: int, *, series: int = 300, trend: str = "linear") -> dict[str, float]:
    """Share of AR(1) series without any step that D26 calls changed at 5%, by correlation of neighbours."""
    found = {}
    for phi in (0.0, 0.3, 0.6, 0.9):
        drawn = planted_step.sample(series=series, length=length, at=length // 2, step=0.0, phi=phi, seed=1)
        found[f"{phi:g}"] = float((find_changepoints(drawn, trend=trend).p_value <= 0.05).mean())
    return found


def motion(
    moved: Mapping[str, Mapping[Key, xr.Dataset]], rates: np.ndarray, fit: Callable[..., Any]
) -> dict[str, dict[str, Any]]:
    """Exponents of displacement by kind, family and range of steps, seeds apart, with what noise alone would have."""
    found: dict[str, dict[str, Any]] = {}
    for kind, by_run in moved.items():
        for family in dict.fromkeys(family for family, _ in by_run):
            own = [each for (name, _), each in by_run.items() if name == family]
            curves = [_after_the_first(each) for each in own]
            found[f"{kind}, {family}"] = {
                "steps": curves[0][0].tolist(),
                "squared": [squared.sum(1).tolist() for _, squared in curves],
                "exponents": {name: _exponents(curves, within, rates, fit) for name, within in RANGES.items()},
                **({"saturation": [float(each["squared"].isel(step=-1).sum() / each["independent"].sum()) for each in own]}
                   if kind == "attention" else {}),
            }  # fmt: skip
    steps = next(iter(found.values()))["steps"]
    noise = noise_driven_displacement(np.array(steps), rates)
    found["noise"] = {
        "squared": noise.sum(1).tolist(),
        "exponents": {
            name: _exponents([(np.array(steps), noise)], within, rates, fit) for name, within in RANGES.items()
        },
        "walk": list(diffusive_spread(np.array(steps), coordinates=200, learning_rates=rates, draws=500)),
    }
    return found


def _after_the_first(each: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    squared = each["squared"].values.reshape(each.sizes["step"], -1)
    return each["step"].values[1:], squared[1:]


def _exponents(
    curves: list[tuple[np.ndarray, np.ndarray]], within: tuple[int, int], rates: np.ndarray, fit: Callable[..., Any]
) -> dict[str, list[float]]:
    """On the clock of the learning rates, and on that of the steps: one exponent per run."""
    found: dict[str, list[float]] = {"rates": [], "steps": []}
    for steps, squared in curves:
        kept = (steps >= within[0]) & (steps <= within[1])
        for clock, options in (("rates", {"learning_rates": rates}), ("steps", {})):
            try:
                found[clock].append(fit(steps[kept], squared[kept], **options).exponent)
            except NumericalRefusal:
                found[clock].append(float("nan"))
    return found


def ends(measured: xr.Dataset) -> dict[str, Any]:
    """Mean divergence within each family and across, by step, with jackknife intervals over runs."""
    names = [str(name) for name in measured["run"].values]
    pairs = list(zip(measured["first"].values.astype(str), measured["second"].values.astype(str), strict=True))
    found: dict[str, Any] = {"loss": measured["loss"].values.T.tolist(), "runs": names}
    families = list(dict.fromkeys(name.rpartition("-")[0] for name in names))
    kinds = {f"within {family}": (family, family) for family in families} | {"across": tuple(families)}
    for quantity in ("apart", "ratio"):
        values = measured["apart"] / (measured["elsewhere"] if quantity == "ratio" else 1.0)
        for kind, wanted in kinds.items():
            found[f"{quantity}, {kind}"] = [
                jackknife(lambda left, row=row, wanted=wanted: _pair_mean(row, pairs, wanted, left), names)
                for row in values.values
            ]
        found[f"{quantity}, across - within"] = [
            jackknife(
                lambda left, row=row: (
                    _pair_mean(row, pairs, kinds["across"], left)
                    - np.mean([_pair_mean(row, pairs, (family, family), left) for family in families])
                ),
                names,
            )
            for row in values.values
        ]
    return found


def jackknife(estimate: Callable[[str | None], float], names: Sequence[str]) -> list[float]:
    """Estimate and 95% interval, runs of each family left out one by one: t of the runs less the families."""
    full = estimate(None)
    variance, families = 0.0, list(dict.fromkeys(name.rpartition("-")[0] for name in names))
    used = 0
    for family in families:
        own = np.array([estimate(name) for name in names if name.startswith(f"{family}-")])
        if np.ptp(own) > 0:
            used += len(own) - 1
            variance += (len(own) - 1) / len(own) * ((own - own.mean()) ** 2).sum()
    half = stats.t.ppf(0.975, used) * np.sqrt(variance) if used else float("nan")
    return [float(full), float(full - half), float(full + half)]


def _pair_mean(row: np.ndarray, pairs: list[tuple[str, str]], wanted: tuple[str, ...], left: str | None) -> float:
    chosen = [
        value
        for value, pair in zip(row, pairs, strict=True)
        if left not in pair
        and sorted(name.rpartition("-")[0] for name in pair) == sorted(wanted)
        and _differ_in_seed(pair)
    ]
    return float(np.mean(chosen))


def _differ_in_seed(pair: tuple[str, str]) -> bool:
    """Runs of one seed saw the same batches, which brings families together; within a family there is no such pair."""
    return len({name.rpartition("-")[2] for name in pair}) == len(pair)


def updates(alignments: Mapping[Key, xr.Dataset]) -> dict[str, Any]:
    """Cosines by family: against step, and by how hot the head was; means over heads of a run, intervals over seeds."""
    found: dict[str, Any] = {}
    for family in dict.fromkeys(family for family, _ in alignments):
        own = [_beyond_other(each) for (name, _), each in alignments.items() if name == family]
        found[family] = {
            "steps": own[0]["step"].values.tolist(),
            "by_step": {
                name: [over_seeds([float(each[name].isel(step=k).mean()) for each in own]) for k in range(own[0].sizes["step"])]
                for name in (*COSINES, "spread")
            },
            "by_spread": {word: _within(own, bounds) for word, bounds in SPREADS.items()},
        }  # fmt: skip
    return found


def _beyond_other(each: xr.Dataset) -> xr.Dataset:
    """With the excess that is left after that of the same rows' updates on another text: what no text has in particular."""
    other = each["natural_other"] - each["plain_other"] * each["between"]
    return each.assign(excess_beyond_other=each["excess"] - other)


def _within(own: list[xr.Dataset], bounds: tuple[float, float]) -> dict[str, Any]:
    """Of heads whose scores spread this far, at whatever step."""
    chosen = [(each["spread"] >= bounds[0]) & (each["spread"] < bounds[1]) for each in own]
    cosines = {
        name: over_seeds([float(each[name].where(mask).mean()) for each, mask in zip(own, chosen, strict=True)])
        for name in COSINES
    }
    return {"heads": int(sum(int(mask.sum()) for mask in chosen)), **cosines}
