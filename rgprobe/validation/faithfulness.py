"""D18 on systems whose answer is known: where merging may lose nothing, and what it must lose elsewhere."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from rgprobe.condensation import condensing
from rgprobe.gaussian import Gaussian
from rgprobe.models.gauge.config import GaugeConfig
from rgprobe.probe import merge_metric, patching
from rgprobe.probe.loading import load
from rgprobe.probe.model import Probe
from rgprobe.rate_distortion import measuring
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

TOKENS = 21


@lru_cache(maxsize=1)
def _model() -> Probe:
    from rgprobe.models.gauge.transformer import GaugeTransformer

    config = GaugeConfig(n_layers=2, n_heads=2, d_model=12, d_vocab=13, n_ctx=32, d_mlp=20, initializer_range=0.4)
    model = GaugeTransformer(config).double().eval()
    model.reset_parameters(0)
    return load(model)


def _ids() -> torch.Tensor:
    return torch.randint(13, (TOKENS,), generator=torch.Generator().manual_seed(0))


def _unmerged() -> float:
    """Every token its own meta-token, patched into the pass."""
    found = patching.patched_divergence(
        _model(), _ids(), [lambda here: here], state=1, score=torch.arange(TOKENS // 2, TOKENS)
    )
    return float(found[0])


def _small_move() -> float:
    """Nats lost by a small turn of one state, over half the quadratic form of the metric."""
    moved, scored = torch.arange(2, 6), torch.arange(8, TOKENS)
    beliefs = merge_metric.state_metrics(_model(), _ids(), moved, scored=scored, draws=1500, floor=0.0)[1]
    states = patching.states_at(_model(), _ids(), 1)
    patch = states.clone()
    patch[2] += 0.01 * (states[3] * states[2].norm() / states[3].norm() - states[2])
    nats = patching.patched_divergence(_model(), _ids(), [lambda here: patch], state=1, score=scored)
    step = 0.01 * (beliefs.mean[1] - beliefs.mean[0])
    return float(nats[0]) * len(scored) / (0.5 * float(step @ beliefs.precision[0] @ step))


def _duplicates() -> float:
    """Largest difference between attention over clusters' mean keys and over one key per cluster with ln |c| on its score."""
    generator = torch.Generator().manual_seed(1)
    query, keys, values = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (5, 9, 9))
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 2, 3, 3])
    k, v = measuring.cluster_means(keys, labels), measuring.cluster_means(values, labels)
    whole = (query @ k.T).softmax(-1) @ v
    removed = (query @ _means(keys, labels).T + torch.bincount(labels).double().log()).softmax(-1) @ _means(
        values, labels
    )
    return float((whole - removed).abs().max())


def _means(rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """One row per cluster, by its definition."""
    return torch.stack([rows[labels == cluster].mean(0) for cluster in range(int(labels.max()) + 1)])


@lru_cache(maxsize=1)
def _points() -> np.ndarray:
    return np.random.default_rng(2).standard_normal((40, 5))


def _root_loss() -> float:
    mean = torch.from_numpy(_points())
    return condensing.condense(Gaussian.from_diagonal(mean, torch.full_like(mean, 0.25)), centroid="shift").loss(1)


CHECKS = (
    Check(
        catalogue="D18",
        diagnostic="probe.patching:patched_divergence",
        system="random gauge model, as many meta-tokens as tokens",
        quantity="distortion D(N)",
        units="nats",
        expected=0.0,
        tolerance=1e-9,
        measure=_unmerged,
    ),
    Check(
        catalogue="D18",
        diagnostic="rate_distortion.measuring:cluster_means",
        system="attention over equal keys, against one key with ln |c| on its score",
        quantity="largest difference of outputs",
        expected=0.0,
        tolerance=1e-12,
        measure=_duplicates,
    ),
    Check(
        catalogue="D18",
        diagnostic="probe.merge_metric:state_metrics",
        system="random gauge model, one state turned by a hundredth of the way to the next",
        quantity="divergence of later predictions over what the metric says",
        expected=1.0,
        tolerance=0.1,
        measure=_small_move,
        perturbation="scale",
    ),
    Check(
        catalogue="D18",
        diagnostic="condensation.condensing:condense",
        system="40 beliefs of variance 1/4, means moved to one",
        quantity="loss at the root, twice the mean squared distance",
        units="nats",
        expected=lambda: float(2 * ((_points() - _points().mean(0)) ** 2).sum(1).mean()),
        tolerance=1e-9,
        measure=_root_loss,
    ),
)
