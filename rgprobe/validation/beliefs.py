"""Rows of the beliefs that trees and consensus are made of: Fisher information in closed form, what an ensemble resolves."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from rgprobe.gaussian import kl
from rgprobe.probe import downstream, ensemble, fisher_belief, shrinkage
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

RANK, SAMPLES, PAIRS = 8, 1600, 60
WIDTH, OUTPUTS, DRAWS = 5, 7, 6000


def _binary_information() -> float:
    """Fisher information of two classes with probabilities 0.2 and 0.8, whose logits differ by 3 z."""
    tangents = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    log_p = torch.tensor([0.2, 0.8], dtype=torch.float64).log()
    return float(fisher_belief.categorical_information(tangents, log_p)[0, 0])


def _even_information() -> float:
    """Fisher information of V even classes with one-hot logits: the second eigenvalue of (1 - 1 1^T / V) / V."""
    information = fisher_belief.categorical_information(
        torch.eye(17, dtype=torch.float64), torch.full((17,), -math.log(17), dtype=torch.float64)
    )
    return float(torch.linalg.eigvalsh(information)[1])


@lru_cache
def _weight() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(OUTPUTS, WIDTH, generator=generator, dtype=torch.float64)


def _linear_information() -> Tensor:
    """E[g g^T] of a linear network with Gaussian outputs, y ~ N(W x, 1), from sampled outputs."""
    state = torch.ones(WIDTH, dtype=torch.float64, requires_grad=True)
    output = _weight() @ state

    def sampled(generator: torch.Generator) -> Tensor:
        noise = torch.randn(OUTPUTS, generator=generator, dtype=torch.float64)
        return -0.5 * (output.detach() + noise - output).square().sum()

    generator = torch.Generator().manual_seed(1)
    (gradients,) = downstream.score_gradients(sampled, [state], draws=DRAWS, generator=generator)
    return downstream.score_information(gradients)


def _linear_trace() -> float:
    return float(_linear_information().trace() / _weight().square().sum())


def _linear_along(which: int) -> float:
    """Information along an eigenvector of W^T W, over its eigenvalue."""
    values, vectors = torch.linalg.eigh(_weight().T @ _weight())
    return float(vectors[:, which] @ _linear_information() @ vectors[:, which] / values[which])


def _ensembles(count: int) -> Tensor:
    """Samples of one Gaussian whose standard deviations span a decade, so that shrinkage finds little to do."""
    generator = torch.Generator().manual_seed(2)
    spread = torch.logspace(-1, 0, RANK, dtype=torch.float64)
    return torch.randn(count, SAMPLES, RANK, generator=generator, dtype=torch.float64) * spread


def _disagreement() -> float:
    """KL divergence of two beliefs from two ensembles of one Gaussian, nats, averaged over pairs."""
    beliefs = ensemble.ensemble_belief(_ensembles(2 * PAIRS))
    return float(kl(beliefs[:PAIRS], beliefs[PAIRS:]).mean())


def _ensemble_variance() -> float:
    return float(ensemble.ensemble_belief(_ensembles(2 * PAIRS)).covariance[:, -1, -1].mean())


_LINEAR = f"linear network, {WIDTH} to {OUTPUTS}, Gaussian outputs, {DRAWS:,} draws"
_ENSEMBLE = f"{SAMPLES:,} samples of one Gaussian in {RANK} dimensions"

CHECKS = (
    Check(
        catalogue="D19", diagnostic="probe.fisher_belief:categorical_information", system="two classes, p = 0.2 and 0.8",
        quantity="p (1 - p) (w_1 - w_2)^2", units="nats", expected=0.2 * 0.8 * 9, tolerance=1e-9, measure=_binary_information,
    ),
    Check(
        catalogue="D19", diagnostic="probe.fisher_belief:categorical_information", system="17 even classes, one-hot logits",
        quantity="eigenvalue 1 / V", units="nats", expected=1 / 17, tolerance=1e-9, measure=_even_information,
        perturbation="scale",
    ),
    *(
        Check(
            catalogue="D19", diagnostic=f"probe.downstream:{name}", system=_LINEAR, quantity=f"{words}, over that of W^T W",
            expected=1.0, tolerance=tolerance, measure=measure, perturbation="scale",
        )
        for name, words, tolerance, measure in (
            ("score_information", "trace of E[g g^T]", 0.02, _linear_trace),
            ("score_gradients", "information along the strongest direction", 0.05, lambda: _linear_along(-1)),
            ("score_information", "information along the weakest direction", 0.05, lambda: _linear_along(0)),
        )
    ),
    Check(
        catalogue="D19", diagnostic="probe.shrinkage:noise_floor", system=_ENSEMBLE,
        quantity="KL of two estimates, r (r + 3) / (2n) against simulation", units="nats", expected=_disagreement,
        tolerance=0.05 * shrinkage.noise_floor(RANK, SAMPLES), measure=lambda: shrinkage.noise_floor(RANK, SAMPLES),
    ),
    Check(
        catalogue="D19", diagnostic="probe.ensemble:ensemble_belief", system=_ENSEMBLE, quantity="largest variance",
        expected=1.0, tolerance=0.01, measure=_ensemble_variance,
    ),
)  # fmt: skip
