"""Do different models map families of paraphrases to the same geometry?

    python analyses/universality.py SOURCE SOURCE... [--random-inits 1] [--permutations 999] [--depths 4] [--out DIR]

Each source is a checkpoint that `rgprobe.load` takes: training seeds of one architecture, or models of both families. The
mean state of each of the 24 shipped families (last token, normalised as the network's own norm does it) is a point; how alike
two models place the points is the debiased linear CKA of the family means, and the rank correlation of the distances between
them, at equal relative depth. The null permutes the families of one model: a p-value is the share of permutations that agree
at least as well. Depth starts above 0, the input end, where all families end in the same 8 tokens. Models that were never
trained may agree as well, because both see the same words: `--random-inits` adds some of every source, and only agreement
beyond theirs was learnt.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from artefacts import OUT_HELP, artefacts
from scipy.stats import rankdata

import rgprobe as rg
from rgprobe.data import load_families
from rgprobe.diagnostics.plateau import debiased_cka
from rgprobe.diagnostics.universality import last_states


def main() -> None:
    """Trace every source, compare all pairs, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="SOURCE")
    for name, default in (("random-inits", 1), ("permutations", 999), ("depths", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with artefacts(options.out, "universality") as keep:
        geometries: dict[str, np.ndarray] = {}
        for source in options.sources:
            model = rg.load(source)
            geometries[model.name] = family_means(model)
            print(f"{model.name}: {geometries[model.name].shape[0]} states", flush=True)
            for seed in range(options.random_inits):
                with model.randomised(seed) as null:
                    geometries[f"{model.name}, random {seed}"] = family_means(null)
        rows = [
            row
            for pair in combinations(geometries, 2)
            for row in compared(pair, [geometries[name] for name in pair], options.depths, options.permutations)
        ]
        for row in rows:
            print(f"{row['depth']:.2f}  cka {row['cka']:6.3f} (null 95%: {row['cka_null_95']:6.3f}, p {row['cka_p']:.3f})  "
                  f"rank corr. {row['rank']:6.3f} (p {row['rank_p']:.3f})  {row['first']} | {row['second']}")  # fmt: skip
        keep(rows)


def family_means(model: Any) -> np.ndarray:
    """Mean last state of each family, (state, family, width)."""
    families = load_families()
    texts = [text for family in families for text in family.paraphrases]
    states = last_states(rg.trace(model, texts, collect=["states"], positions=2))
    return states.reshape(len(families), -1, *states.shape[1:]).mean(1).swapaxes(0, 1)


def compared(pair: tuple[str, str], means: list[np.ndarray], depths: int, permutations: int) -> list[dict[str, Any]]:
    """One row per relative depth."""
    rows = []
    for depth in np.linspace(0, 1, depths + 1)[1:]:
        grams = [gram(each[round(depth * (len(each) - 1))]) for each in means]
        rng = np.random.default_rng(0)
        orders = [rng.permutation(len(grams[0])) for _ in range(permutations)]
        row: dict[str, Any] = {"first": pair[0], "second": pair[1], "depth": float(depth)}
        for name, alike in (("cka", debiased_cka), ("rank", rank_correlation)):
            value = alike(*grams)
            null = np.array([alike(grams[0], grams[1][np.ix_(order, order)]) for order in orders])
            row[name] = float(value)
            row[f"{name}_null_95"] = float(np.quantile(null, 0.95)) if permutations else None
            # not >= : agreement that is undefined is no evidence
            row[f"{name}_p"] = float((1 + (~(null < value)).sum()) / (1 + permutations))
        rows.append(row)
    return rows


def gram(points: np.ndarray) -> np.ndarray:
    """Of family means about their mean."""
    centred = points - points.mean(0)
    return centred @ centred.T


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, of the squared distances between families."""
    upper = np.triu_indices(len(a), 1)
    x, y = (rankdata((np.diag(g)[:, None] + np.diag(g)[None] - 2 * g)[upper]) for g in (a, b))
    return float(np.corrcoef(x, y)[0, 1])


if __name__ == "__main__":
    main()
