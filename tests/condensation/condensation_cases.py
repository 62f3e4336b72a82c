"""Shared random beliefs: odd sizes, uneven weights."""

import numpy as np
import torch

from rgprobe.gaussian import Gaussian

CENTROIDS = ("moment", "pool")
ADJACENCIES = ("any", "contiguous")


def categorical(n, v=11, seed=0, scale=2.0):
    logits = scale * np.random.default_rng([seed, n, v]).normal(size=(n, v))
    rows = np.exp(logits)
    return rows / rows.sum(axis=1, keepdims=True)


def gaussian(n, k=3, seed=0, factors=None):
    generator = torch.Generator().manual_seed(1000 * seed + n)
    batch = (n,) if factors is None else (n, factors)
    mean = torch.randn(*batch, k, generator=generator, dtype=torch.float64)
    root = torch.randn(*batch, k, k + 1, generator=generator, dtype=torch.float64)
    covariance = root @ root.mT + 0.1 * torch.eye(k, dtype=torch.float64)
    return Gaussian.from_covariance(mean, (covariance + covariance.mT) / 2)


def weights(n, seed=0):
    return np.random.default_rng([seed, n]).uniform(0.2, 3.0, size=n)


def beliefs(kind, n, seed=0):
    return categorical(n, seed=seed) if kind == "categorical" else gaussian(n, seed=seed)


def nested(tree, names):
    """The topology as nested frozensets of leaf names, with duplicates told apart by a count."""
    below = [((name,), name) for name in names]
    for a, b in tree.linkage[:, :2].astype(int).tolist():
        pair = sorted((below[a], below[b]), key=repr)
        below.append((tuple(sorted(pair[0][0] + pair[1][0])), tuple(p[1] for p in pair)))
    return below[-1][1]
