"""Means over attention rows and functions of single rows, against rows that are spelled out one by one."""

import math

import numpy as np
import pytest
import torch

from rgprobe.probe.attention import attention_moments
from rgprobe.probe.row_statistics import BY_TOKEN, MEANS, MINIMUM_KEYS, row_statistics


def functions(scores, distances):
    """Of one row, key by key."""
    n = len(scores)
    z = math.fsum(math.exp(s) for s in scores)
    alpha = [math.exp(s) / z for s in scores]
    mean = math.fsum(a * s for a, s in zip(alpha, scores, strict=True))
    flat = math.fsum(scores) / n
    spread = math.fsum((s - flat) ** 2 for s in scores) / (n - 1)
    entropy = -math.fsum(a * math.log(a) for a in alpha)
    return {
        "free_energy": math.fsum((math.log(1 / n) - math.log(a)) / n for a in alpha),
        "entropy_deficit": math.fsum(a * math.log(a * n) for a in alpha),
        "entropy": entropy,
        "normalised_entropy": entropy / math.log(n),
        "participation": 1 / math.fsum(a * a for a in alpha),
        "heat_capacity": math.fsum(a * (s - mean) ** 2 for a, s in zip(alpha, scores, strict=True)),
        "score_variance": spread,
        "reduced_variance": spread / (2 * math.log(n)),
        "distance": math.fsum(a * r for a, r in zip(alpha, distances, strict=True)),
        "log_distance": math.fsum(a * math.log1p(r) for a, r in zip(alpha, distances, strict=True)),
    }


@pytest.mark.parametrize("size", [5, 8, 9, 23])
@pytest.mark.parametrize("sink", ["exclude", "include"])
def test_means_and_rows_are_those_of_rows_spelled_out(size, sink):
    scores = 2 * torch.randn(3, size, size, generator=torch.Generator().manual_seed(size), dtype=torch.float64)
    hidden = torch.ones(size, size, dtype=torch.bool).triu(1)
    found = row_statistics(*attention_moments(scores.masked_fill(hidden, -torch.inf)), sink=sink)
    for policy, first in enumerate((1, 0)):
        rows = range(MINIMUM_KEYS - 1 + first, size)
        np.testing.assert_array_equal(found.keys[policy], [max(row + 1 - first, 0) for row in range(size)])
        kept = (sink == "include") == (first == 0)
        for head in range(3):
            spelled = [
                functions(scores[head, row, first : row + 1].tolist(), [row - key for key in range(first, row + 1)])
                for row in rows
            ]
            expected = [np.mean([of[name] for of in spelled]) if spelled else np.nan for name in MEANS]
            np.testing.assert_allclose(found.means[policy, :, head], expected, rtol=1e-10, atol=1e-12)
            if kept:
                by_token = np.full((len(BY_TOKEN), size), np.nan)
                by_token[:, rows.start :] = np.array([[of[name] for of in spelled] for name in BY_TOKEN])
                np.testing.assert_allclose(found.by_token[:, head], by_token, rtol=1e-6, atol=1e-6)
    assert found.by_token.dtype == torch.float32
