"""Do 95% intervals hold the truth 95% of the time? Simulated truths, and the intervals that rgprobe would print.

    python analyses/interval_coverage.py [--quantity icc|icc_given_last_word|xi|temperature] [--truths 400] [--out DIR]

Each quantity is measured on systems whose answer is known, as a run measures it, and its interval is the one that a result
holds: BCa over the independent samples (families, prompts). Printed: the share of intervals that hold the planted value, with
the 95% range that a nominal interval would show in as many trials. Where the number is refused there is no interval to count.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from artefacts import OUT_HELP, artefacts
from scipy.stats import binom

from rgprobe.bootstrap import bootstrap_interval
from rgprobe.diagnostics.correlation_length import correlation_length
from rgprobe.diagnostics.family_distances import icc_over_families
from rgprobe.diagnostics.temperature import temperature as effective_temperature
from rgprobe.diagnostics.universality import without_kinds
from rgprobe.planted_trace import planted_trace
from rgprobe.testbeds import ising_chain, planted_icc

Trial = tuple[str, float, float, float]  # case, truth, low, high


def icc(truths: int) -> Iterator[Trial]:
    """Intraclass correlation of 24 families of 8: few dimensions is the hard case, as few families are all there is."""
    for dim in (1, 16):
        for value in (0.2, 0.8):
            for seed in range(truths):
                points = planted_icc.sample(families=24, members=8, icc=value, dim=dim, seed=seed)
                found = icc_over_families(points.reshape(24 * 8, dim), np.repeat(np.arange(24), 8))
                low, high = bootstrap_interval(found.pseudo_values()[:, None], seed=seed)
                yield f"icc {value}, {dim} dimensions", value, float(low[0]), float(high[0])


def icc_given_last_word(truths: int) -> Iterator[Trial]:
    """With last words that move states further than families do, and their means taken out; by number of families."""
    words = 3 * np.random.default_rng(0).standard_normal((8, 16))
    for families in (6, 12, 24):
        labels, kinds = np.repeat(np.arange(families), 8), np.tile(np.arange(8), families)
        for value in (0.0, 0.2, 0.5):
            for seed in range(truths):
                points = planted_icc.sample(families=families, members=8, icc=value, dim=16, seed=seed) + words
                left = without_kinds(points.reshape(families * 8, 16), kinds)
                found = icc_over_families(left, labels, kinds, centred=True)
                low, high = bootstrap_interval(found.pseudo_values()[:, None], seed=seed)
                yield f"icc given last word {value}, {families} families", value, float(low[0]), float(high[0])


def xi(truths: int) -> Iterator[Trial]:
    """Correlation length of Ising chains, one per prompt, through the diagnostic of a trace."""
    for prompts, length, tokens in ((24, 5.0, 256), (48, 5.0, 256), (24, 10.0, 512)):
        coupling = ising_chain.coupling_for(length)
        for seed in range(truths):
            spins = ising_chain.sample(length=tokens, chains=prompts, coupling=coupling, seed=seed).astype(float)
            values = correlation_length(planted_trace(sketches=spins[:, None, :, None])).values["xi"].values
            low, high = bootstrap_interval(values, seed=seed)
            yield f"xi {length:g}, {prompts} prompts", length, float(low[0]), float(high[0])


def temperature(truths: int) -> Iterator[Trial]:
    """Inverse temperature of the random energy model, from the spread of scores (T1) and from the entropy (T2)."""
    for beta in (0.5, 1.0, 2.0):
        for seed in range(truths):
            generator = torch.Generator().manual_seed(seed)
            scores = beta * torch.randn(24, 1, 1, 64, 64, generator=generator, dtype=torch.float64)
            scores = scores.masked_fill(torch.ones(64, 64, dtype=torch.bool).triu(1), -torch.inf)
            values = effective_temperature(planted_trace(scores=list(scores))).values.sel(sink="included")
            for name in ("beta_sigma", "beta_entropy"):
                low, high = bootstrap_interval(values[name].values[:, 0], seed=seed)
                yield f"{name} {beta:g}, 24 prompts", beta, float(low[0]), float(high[0])


QUANTITIES: dict[str, Callable[[int], Iterator[Trial]]] = {
    "icc": icc,
    "icc_given_last_word": icc_given_last_word,
    "xi": xi,
    "temperature": temperature,
}


def main() -> None:
    """Simulate, count, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quantity", choices=[*QUANTITIES, "all"], default="all")
    parser.add_argument("--truths", type=int, default=400)
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    with artefacts(options.out, "interval_coverage") as keep:
        names = list(QUANTITIES) if options.quantity == "all" else [options.quantity]
        rows = [row for name in names for row in coverage(QUANTITIES[name](options.truths), name)]
        for row in rows:
            print(f"{row['case']:36} covers {row['coverage']:.1%} of {row['trials']} (nominal: {row['expected_low']:.1%} to "
                  f"{row['expected_high']:.1%}), mean width {row['width']:.3f}")  # fmt: skip
        keep(rows)


def coverage(trials: Iterator[Trial], quantity: str) -> Iterator[dict[str, Any]]:
    """One row per case."""
    cases: dict[str, list[Trial]] = {}
    for trial in trials:
        cases.setdefault(trial[0], []).append(trial)
    for case, found in cases.items():
        truth, low, high = np.array([trial[1:] for trial in found if np.isfinite(trial[2])]).T
        count = len(truth)
        yield {
            "quantity": quantity,
            "case": case,
            "trials": count,
            "coverage": float(((low <= truth) & (truth <= high)).mean()),
            "expected_low": float(binom.ppf(0.025, count, 0.95) / count),
            "expected_high": float(binom.ppf(0.975, count, 0.95) / count),
            "width": float((high - low).mean()),
        }


if __name__ == "__main__":
    main()
