"""Do 95% intervals hold the truth 95% of the time? Simulated truths, and the intervals that rgprobe would print.

    python analyses/interval_coverage.py [--quantity icc] [--truths 400] [--out FILE.json]

Each quantity is measured on systems whose answer is known, as a run measures it, and its interval is the one that a result
holds: BCa over the independent samples (families, prompts). Printed: the share of intervals that hold the planted value, with
the 95% range that a nominal interval would show in as many trials.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

from rgprobe.diagnostics.family_distances import icc_over_families
from rgprobe.nulls import bootstrap_interval
from rgprobe.testbeds import planted_icc

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


QUANTITIES: dict[str, Callable[[int], Iterator[Trial]]] = {"icc": icc}


def main() -> None:
    """Simulate, count, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quantity", choices=[*QUANTITIES, "all"], default="all")
    parser.add_argument("--truths", type=int, default=400)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    names = list(QUANTITIES) if options.quantity == "all" else [options.quantity]
    rows = [row for name in names for row in coverage(QUANTITIES[name](options.truths), name)]
    for row in rows:
        print(f"{row['case']:28} covers {row['coverage']:.1%} of {row['trials']} (nominal: {row['expected_low']:.1%} to "
              f"{row['expected_high']:.1%}), mean width {row['width']:.3f}")  # fmt: skip
    if options.out is not None:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def coverage(trials: Iterator[Trial], quantity: str) -> Iterator[dict[str, Any]]:
    """One row per case."""
    cases: dict[str, list[Trial]] = {}
    for trial in trials:
        cases.setdefault(trial[0], []).append(trial)
    for case, found in cases.items():
        truth, low, high = np.array([trial[1:] for trial in found]).T
        count = len(found)
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
