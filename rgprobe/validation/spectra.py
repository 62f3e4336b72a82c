"""Rows of D25, D27 and D29: dimension of a cube, a power-law spectrum, kurtosis of known laws, planted shares and overlaps."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float64
from torch import Tensor

from rgprobe.diagnostics import input_overlap, intrinsic_dimension, nongaussianity, sparsity
from rgprobe.diagnostics import spectrum as covariance
from rgprobe.planted_trace import planted_trace
from rgprobe.probe.units import UNITS, unit_sparsity
from rgprobe.testbeds import hypercube, power_law_spectrum, relu_kurtosis
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

CUBES, POINTS, SPECTRA = 20, 2000, 5
TOKENS, OCCURRENCES, PROMPTS = 1000, 3, 40
WIDTH, NETWORKS, SAMPLES = 32, 400_000, 200_000


@lru_cache
def _cube_ratios() -> tuple[Float64[np.ndarray, "point scale"], ...]:
    samples = (hypercube.sample(points=POINTS, dim=5, ambient=12, seed=seed) for seed in range(CUBES))
    return tuple(intrinsic_dimension.neighbour_ratios(points) for points in samples)


def _dimension() -> float:
    owner = np.arange(POINTS) % 40
    return float(np.mean([intrinsic_dimension.gride(ratios, owner, 40).full[0] for ratios in _cube_ratios()]))


def _dimension_of_recurring() -> float:
    """Dimension of directions in four dimensions, one per token, each of which recurs up to a noise far below any distance."""
    generator = np.random.default_rng(0)
    ids = generator.permutation(np.repeat(np.arange(TOKENS), OCCURRENCES))
    points = generator.standard_normal((TOKENS, 4))[ids] + 1e-3 * generator.standard_normal((len(ids), 4))
    trace = planted_trace(states=points.reshape(PROMPTS, 1, -1, 4), token_ids=ids.reshape(PROMPTS, -1))
    return float(intrinsic_dimension.intrinsic_dimension(trace).values["two_nn"].mean())


@lru_cache
def _eigenvalues(seed: int) -> Float64[np.ndarray, "rank"]:
    points = power_law_spectrum.sample(rows=1500, dim=300, alpha=1.0, seed=seed)
    return covariance.covariance_spectrum(points, covariance.fitted_range(*points.shape))[0]


def _alpha() -> float:
    return float(np.mean([covariance.spectrum_exponent(_eigenvalues(seed))[0] for seed in range(SPECTRA)]))


@lru_cache
def _outputs() -> Float64[np.ndarray, "networks 1"]:
    return relu_kurtosis.sample(networks=NETWORKS, width=WIDTH, seed=0)[:, None]


@lru_cache
def _laws() -> Float64[np.ndarray, "samples 3"]:
    rng = np.random.default_rng(0)
    return np.column_stack([rng.standard_normal(SAMPLES), rng.uniform(-1, 1, SAMPLES), rng.laplace(size=SAMPLES)])


def _kurtosis(law: int | None) -> float:
    """Kurtosis of the outputs of networks over their weights, or of one of the laws."""
    samples = _outputs() if law is None else _laws()[:, law : law + 1]
    return float(nongaussianity.excess_kurtosis(samples, np.arange(len(samples)) % 100, 100).full[0])


@lru_cache
def _power(kind: str) -> Tensor:
    """Squared activations (token, unit): 3 of 10 units carry every token but the sink, which all carry; or random ones."""
    if kind != "planted":
        drawn = torch.randn(50, 4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return (drawn.relu() if kind == "rectified" else drawn).square()
    power = torch.zeros(4, 10, dtype=torch.float64)
    power[0] = 1e8
    power[1:, :3] = 2.0
    return power


def _sparsity(kind: str, quantity: str) -> float:
    """Without the sink."""
    shares = dict(zip(UNITS, unit_sparsity(_power(kind))[0].tolist(), strict=True))
    trace = replace(planted_trace(states=np.zeros((1, 1, 2, 1))), units=xr.Dataset(shares))
    return float(sparsity.sparsity(trace).values[quantity])


@lru_cache
def _turned() -> Float64[np.ndarray, "1 state token width"]:
    """States turned by 60 degrees, each token in a plane of its own, then reversed, all beside a common offset."""
    frames = np.linalg.qr(np.random.default_rng(0).standard_normal((7, 31, 2)))[0]
    start, aside = np.moveaxis(frames, -1, 0)
    return np.stack([start, 0.5 * start + 0.75**0.5 * aside, -2 * start])[None]


def _overlap(state: int) -> float:
    return float(input_overlap.overlap(_turned()[0])[state])


def _connected() -> float:
    states = np.concatenate([_turned()[:, :1], _turned()[:, 2:]], 1) + 50.0
    return input_overlap.input_overlap(planted_trace(states=states)).values["connected_overlap"].isel(state=1).item()


CHECKS = (
    Check(
        catalogue="D25", diagnostic="intrinsic_dimension:gride", system="20 cubes of 5 dimensions, 2,000 points each",
        quantity="TwoNN dimension, faces included", expected=4.7, tolerance=0.1, measure=_dimension,
    ),
    Check(
        catalogue="D25", diagnostic="intrinsic_dimension:intrinsic_dimension",
        system="directions in 4 dimensions, 1,000 tokens that each occur three times, 1e-3 apart",
        quantity="TwoNN dimension, each token once", expected=3.0, tolerance=0.3, measure=_dimension_of_recurring,
    ),
    Check(
        catalogue="D25", diagnostic="spectrum:spectrum_exponent",
        system="5 samples of 1,500 points, variances k^-1, k = 1 ... 300", quantity="alpha from rank 4 to 75",
        expected=0.98, tolerance=0.04, measure=_alpha,
    ),
    Check(
        catalogue="D27", diagnostic="nongaussianity:excess_kurtosis",
        system="400,000 random ReLU networks of one hidden layer of 32", quantity="excess kurtosis over weights, 15/n",
        expected=lambda: relu_kurtosis.exact(width=WIDTH), tolerance=0.05, measure=partial(_kurtosis, None),
    ),
    *(
        Check(
            catalogue="D27", diagnostic="nongaussianity:excess_kurtosis", system=f"200,000 {name} samples",
            quantity="excess kurtosis", expected=expected, tolerance=tolerance, measure=partial(_kurtosis, law),
        )
        for law, (name, expected, tolerance) in enumerate(
            (("Gaussian", 0.0, 0.05), ("uniform", -1.2, 0.05), ("Laplace", 3.0, 0.3))
        )
    ),
    *(
        Check(
            catalogue="D29", diagnostic="sparsity:sparsity", system=system, quantity=quantity, expected=expected,
            tolerance=tolerance, measure=partial(_sparsity, kind, name),
        )
        for kind, system, quantity, name, expected, tolerance in (
            ("planted", "3 of 10 units carry every token", "participation", "participation", 0.3, 1e-6),
            ("planted", "3 of 10 units carry every token", "silent share", "silent", 0.7, 1e-6),
            ("planted", "3 of 10 units carry every token", "decimated share", "decimated", 0.7, 1e-6),
            ("gaussian", "50 tokens of 4,000 Gaussian units", "participation", "participation", 1 / 3, 0.005),
            ("rectified", "50 tokens of 4,000 rectified units", "participation", "participation", 1 / 6, 0.005),
        )
    ),
    *(
        Check(
            catalogue="D29", diagnostic="input_overlap:overlap", system=f"7 states {words}", expected=expected,
            quantity="overlap with the input", tolerance=1e-9, measure=partial(_overlap, state),
        )
        for words, state, expected in (("turned by 60 degrees", 1, 0.5), ("reversed and doubled", 2, -1.0))
    ),
    Check(
        catalogue="D29", diagnostic="input_overlap:input_overlap", system="the same reversed, beside an offset of 50",
        quantity="connected overlap", expected=-1.0, tolerance=1e-9, measure=_connected,
    ),
)  # fmt: skip
