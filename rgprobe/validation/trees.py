"""Rows of D17 and D19: trees whose losses have a closed form or whose clades were planted, and consensus of known beliefs."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float64
from scipy.special import xlogy
from torch import Tensor

from rgprobe.condensation import agreement, condensing, partition
from rgprobe.diagnostics import collapse, condensation, consensus, modularity
from rgprobe.gaussian import Gaussian, averaging, kl, merge, pool
from rgprobe.planted_trace import planted_trace
from rgprobe.probe.states import GEOMETRY, state_geometry
from rgprobe.testbeds import equiangular, planted_tree, power_law_spectrum
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

TOKENS, COSINE, TIME = 7, 0.2, 1.5
ROWS, DIM, DRAWS = 400, 100, 20
UNIFORM = 96
PATTERNS, SEARCHED, SPREAD = 24, 32, 2.0


@lru_cache
def _rows() -> Float64[np.ndarray, "tokens classes"]:
    return np.random.default_rng(0).dirichlet(np.full(11, 0.3), size=23)


@lru_cache
def _beliefs() -> Gaussian:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(17, 3, generator=generator, dtype=torch.float64)
    root = torch.randn(17, 3, 4, generator=generator, dtype=torch.float64)
    return Gaussian.from_covariance(mean, root @ root.mT + 0.1 * torch.eye(3, dtype=torch.float64))


def _information() -> float:
    trace = planted_trace(log_probabilities=[np.log(_rows())[None]])
    return float(condensation.condensation(trace).values["information"].item())


def _mutual_information() -> float:
    p = _rows()
    return float(xlogy(p, p).sum(1).mean() - xlogy(p.mean(0), p.mean(0)).sum())


def _sum_of_costs(centroid: str) -> float:
    return float(condensing.condense(_beliefs(), centroid=centroid).merge_costs.sum())


def _loss_at_the_root(centroid: str) -> float:
    """Mean KL between the tokens and one centroid of them all."""
    beliefs = _beliefs()
    moment = centroid == "moment"
    root = (merge if moment else pool)(beliefs)
    pairs = ((beliefs[i], root) if moment else (root, beliefs[i]) for i in range(len(beliefs)))
    return float(torch.stack([kl(p, q) for p, q in pairs]).mean())


def _planted_recall(noise: float) -> float:
    """The worst of ten trees."""
    found = (condensing.condense(planted_tree.sample(noise=noise, seed=seed)) for seed in range(10))
    return min(agreement.clade_recall(tree, planted_tree.exact()) for tree in found)


def _planted_loss() -> float:
    return condensing.condense(planted_tree.sample(noise=0.1)).loss(4)


def _loss_of_planted_clades() -> float:
    return float(partition.partition_loss(planted_tree.sample(noise=0.1), np.repeat(np.arange(4), 4)))


def _two_steps() -> float:
    """Variance of the merge of two merges, of 5 and of 12 tokens, and of one merge of all: the largest difference."""
    beliefs = _beliefs()
    parts = averaging.merge(beliefs[:5]), averaging.merge(beliefs[5:])
    both = Gaussian.from_covariance(*(torch.stack([getattr(p, n) for p in parts]) for n in ("mean", "covariance")))
    twice = averaging.merge(both, torch.tensor([5.0, 12.0], dtype=torch.float64))
    return float((twice.covariance - averaging.merge(beliefs).covariance).abs().max())


@lru_cache
def _moved() -> Tensor:
    """Tokens at equal angles, after attention has moved them."""
    times = np.array([0.0, TIME])
    return torch.from_numpy(equiangular.sample(tokens=TOKENS, dim=9, cosine=COSINE, beta=2.0, times=times, seed=0)[-1])


def _cosine() -> float:
    times = np.array([0.0, TIME])
    return float(equiangular.exact(tokens=TOKENS, cosine=COSINE, beta=2.0, times=times).cosine[-1])


def _collapse(states: Tensor, quantity: str) -> float:
    geometry = xr.Dataset({n: float(v) for n, v in zip(GEOMETRY, state_geometry(states), strict=True)})
    trace = replace(planted_trace(states=states.numpy()[None, None]), geometry=geometry)
    return float(collapse.collapse(trace).values[quantity])


@lru_cache
def _white(seed: int) -> Tensor:
    return torch.from_numpy(power_law_spectrum.sample(rows=ROWS, dim=DIM, alpha=0.0, seed=seed))


def _participation() -> float:
    return float(np.mean([_collapse(_white(seed), "participation_ratio") for seed in range(DRAWS)]))


def _jeffreys() -> float:
    """Between N(0, 1) and N(1, 4)."""
    mean, variance = (torch.tensor(pair, dtype=torch.float64).reshape(2, 1, 1) for pair in ([0.0, 1.0], [1.0, 4.0]))
    return float(consensus.belief_jeffreys(Gaussian.from_diagonal(mean, variance))[0, 1])


@lru_cache
def _uniform() -> Float64[np.ndarray, "n n"]:
    return np.tri(UNIFORM) / np.arange(1, UNIFORM + 1)[:, None]


def _modularity() -> float:
    return float(modularity.modularity(planted_trace(graph=_uniform()[None, None])).values["modularity"].item())


def _noise_modularity() -> float:
    """Modularity of independent scores, less that of their own permutations."""
    scores = SPREAD * np.random.default_rng(0).standard_normal((PATTERNS, SEARCHED, SEARCHED))
    weights = np.where(np.tri(SEARCHED, dtype=bool), np.exp(scores), 0.0)
    trace = planted_trace(graph=(weights / weights.sum(-1, keepdims=True))[:, None])
    trace.token_ids[:] = np.arange(PATTERNS)[:, None]  # draws are seeded by the tokens
    measured = modularity.modularity(trace)
    null = measured.internal_nulls["permuted_rows"]["modularity"].mean("draw")
    return float((measured.values["modularity"] - null).mean())


def _textbook_modularity() -> float:
    """Under k_i k_j / 2m, which ignores the mask."""
    w = _uniform() + _uniform().T - np.diag(np.diag(_uniform()))
    return modularity.spectral_communities((w - np.outer(w.sum(1), w.sum(0)) / w.sum()) / w.sum())[1]


_EQUIANGULAR = "7 tokens at equal angles after attention for t = 1.5, beta = 2"
_CAUSAL = "uniform causal attention, 96 tokens"

CHECKS = (
    Check(
        catalogue="D17", diagnostic="condensation:condensation", system="23 categorical beliefs over 11 classes",
        quantity="loss at the root, I(token; class)", expected=_mutual_information, tolerance=1e-9,
        measure=_information, units="nats",
    ),
    *(
        Check(
            catalogue="D17", diagnostic="condensation.condensing:condense", system="17 full Gaussian beliefs",
            quantity=f"sum of costs, {words}", expected=partial(_loss_at_the_root, centroid), tolerance=1e-9,
            measure=partial(_sum_of_costs, centroid), units="nats",
        )
        for centroid, words in (("moment", "mean KL(q || root)"), ("pool", "mean KL(root || q), log-linear pool"))
    ),
    *(
        Check(
            catalogue="D17", diagnostic="condensation.agreement:clade_recall",
            system=f"ten planted trees of 16 leaves, noise {noise:g}", quantity="share of planted clades found, worst",
            expected=1.0, tolerance=1e-9, measure=partial(_planted_recall, noise),
        )
        for noise in (0.0, 0.1)
    ),
    Check(
        catalogue="D17", diagnostic="condensation.condensing:condense", system="planted tree of 16 leaves, noise 0.1",
        quantity="loss at 4 clusters, that of the planted clades", expected=_loss_of_planted_clades, tolerance=1e-9,
        measure=_planted_loss, units="nats",
    ),
    Check(
        catalogue="D17", diagnostic="gaussian.averaging:merge", system="17 full Gaussian beliefs",
        quantity="merge in two steps less merge in one", expected=0.0, tolerance=1e-12, measure=_two_steps,
    ),
    Check(
        catalogue="D19", diagnostic="collapse:collapse", system=_EQUIANGULAR, quantity="mean cosine",
        expected=_cosine, tolerance=1e-6, measure=lambda: _collapse(_moved(), "cosine"),
    ),
    Check(
        catalogue="D19", diagnostic="collapse:collapse", system=_EQUIANGULAR, quantity="Dong residual",
        expected=lambda: float(np.sqrt((1 - _cosine()) * (1 - 1 / TOKENS))), tolerance=1e-6,
        measure=lambda: _collapse(_moved(), "dong_residual"),
    ),
    Check(
        catalogue="D19", diagnostic="collapse:collapse",
        system="20 draws of 400 white tokens in 100 dimensions",
        quantity="participation ratio, d / (1 + d/n) up to 1/n",
        expected=power_law_spectrum.exact(rows=ROWS, dim=DIM, alpha=0.0).sampled_participation_ratio,
        tolerance=DIM / (1 + DIM / ROWS) / ROWS, measure=_participation,
    ),
    Check(
        catalogue="D19", diagnostic="consensus:belief_jeffreys", system="N(0, 1) and N(1, 4)",
        quantity="Jeffreys divergence", expected=1.75, tolerance=1e-9, measure=_jeffreys, units="nats",
    ),
    Check(
        catalogue="D19", diagnostic="modularity:modularity", system=_CAUSAL,
        quantity="modularity under the masked null", expected=0.0, tolerance=1e-6, measure=_modularity,
    ),
    Check(
        catalogue="D19", diagnostic="modularity:spectral_communities", system=_CAUSAL,
        quantity="modularity under the textbook null", expected=0.134, tolerance=0.002, measure=_textbook_modularity,
    ),
    Check(
        catalogue="D19", diagnostic="modularity:modularity",
        system=f"{PATTERNS} patterns of {SEARCHED} tokens, independent scores of standard deviation {SPREAD:g}",
        quantity="modularity less that of permuted rows", expected=0.0, tolerance=0.02, measure=_noise_modularity,
    ),
)  # fmt: skip
