"""Rows of D14 and D33: planted families of prompts, noise in a known basin, and coarse-graining of known distributions."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import torch
from scipy.special import betainc
from scipy.stats import t as student
from torch import Tensor

from rgprobe.data.families import SAME_LAST_WORD, SHARED_WORDS
from rgprobe.diagnostics import family_distances, feature_rg, universality
from rgprobe.planted_trace import planted_trace
from rgprobe.probe import feature_cuts, flips
from rgprobe.testbeds import planted_icc, power_law_spectrum
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

FAMILIES, MEMBERS, WIDTH = 24, 8, 64
WORDS_ICC, LAST_ICC = 0.3, 0.6
TRUTHS = 400
FEW, SAMPLES = 6, 100
BASIN_WIDTH, MARGIN = 9, 0.3
CUTOFF = 8


def _families(icc: float, *, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    points = planted_icc.sample(families=FAMILIES, members=MEMBERS, icc=icc, dim=width, seed=seed)
    return points.reshape(FAMILIES * MEMBERS, width)


def _labels() -> np.ndarray:
    return np.repeat(np.arange(FAMILIES), MEMBERS)


def _half_width(icc: float) -> float:
    """Half-width of the 95% interval of the estimate, to the nearer side."""
    low, high = planted_icc.exact(families=FAMILIES, members=MEMBERS, icc=icc, dim=WIDTH).estimate_interval
    return min(icc - low, high - icc)


def _estimate(icc: float) -> float:
    return family_distances.intraclass_correlation(_families(icc), _labels())


def _coverage(icc: float) -> float:
    """Share of samples whose jackknife interval over families holds the planted value."""
    half = student.ppf(0.975, FAMILIES - 1)
    hits = 0
    for seed in range(TRUTHS):
        found = family_distances.icc_over_families(_families(icc, width=1, seed=seed), _labels())
        hits += bool(abs(found.full - icc) <= half * found.standard_error)
    return hits / TRUTHS


def _given_last_word(icc: float) -> float:
    """Mean over samples of few families, whose means of each last word take some of what is particular to a prompt along."""
    labels, words = np.repeat(np.arange(FEW), MEMBERS), np.tile(np.arange(MEMBERS), FEW)
    shifts = 3 * np.random.default_rng(0).standard_normal((MEMBERS, WIDTH))[words]
    found = []
    for seed in range(SAMPLES):
        points = planted_icc.sample(families=FEW, members=MEMBERS, icc=icc, dim=WIDTH, seed=seed)
        left = universality.without_kinds(points.reshape(-1, WIDTH) + shifts, words)
        found.append(float(family_distances.icc_over_families(left, labels, words, centred=True).full))
    return float(np.mean(found))


def _control(quantity: str) -> float:
    """Families without any correlation, beside groups of shared words and of equal last words that have one."""
    parts = [_families(0.0, seed=1), _families(WORDS_ICC, seed=2), _families(LAST_ICC, seed=3)]
    groups = [f"{kind}{label}" for kind in ("", SHARED_WORDS, SAME_LAST_WORD) for label in _labels()]
    trace = planted_trace(states=np.concatenate(parts)[:, None, None, :])
    values = universality.universality(replace(trace, groups=tuple(groups))).values
    return float(values[quantity].mean())


def _flips() -> float:
    """States at a distance of 0.3 radii from a plane; the share that noise carries across."""
    states = torch.zeros(20_000, 1, BASIN_WIDTH, dtype=torch.float64)
    states[..., 0] = MARGIN
    radii = torch.ones(len(states), dtype=torch.float64)
    moved = flips.noisy_states(states, radii, torch.Generator().manual_seed(0), first=0)
    return float((moved[..., 0] < 0).double().mean())


@lru_cache
def _gaussian() -> Tensor:
    return torch.from_numpy(power_law_spectrum.sample(rows=20_000, dim=64, alpha=1.0, seed=0))


@lru_cache
def _laplace() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).laplace(size=(20_000, 64)))


def _principal(points: Tensor) -> feature_cuts.FeatureCut:
    return feature_cuts.principal_cut(points, feature_cuts.principal_directions(points), CUTOFF)


def _kurtosis(points: Tensor, cut: feature_cuts.FeatureCut) -> float:
    second, fourth = feature_cuts.field_moments(points, cut)
    return float(feature_rg.excess_kurtosis(np.array(second), np.array(fourth)))


def _principal_kurtosis() -> float:
    return _kurtosis(_gaussian(), _principal(_gaussian()))


def _paired_kurtosis(name: str, levels: int) -> float:
    points = {"gaussian": _gaussian, "laplace": _laplace}[name]()
    return _kurtosis(points, feature_cuts.paired_cut(points, feature_cuts.paired_units(points, levels)[-1]))


def _variance_kept() -> float:
    points = _gaussian()
    return float(_principal(points).spread.square().sum() / points.var(0, correction=0).sum())


def _exact_variance_kept() -> float:
    spectrum = power_law_spectrum.exact(rows=20_000, dim=64, alpha=1.0).eigenvalues
    return float(spectrum[: 64 // CUTOFF].sum() / spectrum.sum())


PLANTED = f"{FAMILIES} families of {MEMBERS} prompts in {WIDTH} dimensions"
GAUSSIAN = "20,000 Gaussian states in 64 dimensions, variances 1/k"
MOMENTS = "probe.feature_cuts:field_moments"

CHECKS = (
    *(
        Check(
            catalogue="D14",
            diagnostic="family_distances:intraclass_correlation",
            system=f"{PLANTED}, planted ICC {icc}",
            quantity="ICC",
            expected=icc,
            tolerance=_half_width(icc),
            measure=partial(_estimate, icc),
        )
        for icc in (0.2, 0.8)
    ),
    *(
        Check(
            catalogue="D14",
            diagnostic="family_distances:icc_over_families",
            system=f"{TRUTHS} samples of {FAMILIES} families of {MEMBERS} numbers, planted ICC {icc}",
            quantity="coverage of the 95% interval over families",
            expected=0.95,
            tolerance=0.03,
            measure=partial(_coverage, icc),
        )
        for icc in (0.2, 0.8)
    ),
    *(
        Check(
            catalogue="D14",
            diagnostic="family_distances:icc_over_families",
            system=f"{SAMPLES} samples of {FEW} families of {MEMBERS} prompts in {WIDTH} dimensions, planted ICC {icc}, "
            "last words that move states further than families",
            quantity="mean ICC given the last word",
            expected=icc,
            tolerance=0.015,
            measure=partial(_given_last_word, icc),
        )
        for icc in (0.2, 0.5)
    ),
    *(
        Check(
            catalogue="D14",
            diagnostic="universality:universality",
            system=f"{PLANTED} without correlation; groups of equal {words} with ICC {icc}",
            quantity=f"ICC of equal {words}",
            expected=icc,
            tolerance=_half_width(icc),
            measure=partial(_control, quantity),
        )
        for words, icc, quantity in (
            ("words", WORDS_ICC, "icc_shared_words"),
            ("last words", LAST_ICC, "icc_last_word"),
        )
    ),
    Check(
        catalogue="D14",
        diagnostic="probe.flips:noisy_states",
        system=f"a state {MARGIN} radii from the edge of its basin, {BASIN_WIDTH} dimensions, 20,000 draws",
        quantity="flip rate",
        expected=lambda: float(betainc((BASIN_WIDTH - 1) / 2, 0.5, 1 - MARGIN**2) / 2),
        tolerance=0.02,
        measure=_flips,
    ),
    Check(
        catalogue="D33",
        diagnostic=MOMENTS,
        system=GAUSSIAN,
        quantity=f"excess kurtosis, 1/{CUTOFF} of the principal directions kept",
        expected=0.0,
        tolerance=0.05,
        measure=_principal_kurtosis,
    ),
    Check(
        catalogue="D33",
        diagnostic=MOMENTS,
        system=GAUSSIAN,
        quantity="excess kurtosis of clusters of 8 coordinates",
        expected=0.0,
        tolerance=0.05,
        measure=partial(_paired_kurtosis, "gaussian", 3),
    ),
    Check(
        catalogue="D33",
        diagnostic=MOMENTS,
        system="20,000 states of 64 independent Laplace coordinates",
        quantity="excess kurtosis of pairs (3 / 2)",
        expected=1.5,
        tolerance=0.1,
        measure=partial(_paired_kurtosis, "laplace", 1),
    ),
    Check(
        catalogue="D33",
        diagnostic="probe.feature_cuts:principal_cut",
        system=GAUSSIAN,
        quantity=f"share of the variance in 1/{CUTOFF} of the principal directions",
        expected=_exact_variance_kept,
        tolerance=0.01,
        measure=_variance_kept,
    ),
)
