"""Rows of D1, D2, D4 and D5: single attention rows as Boltzmann ensembles, on random energies and on two levels."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from rgprobe.diagnostics import attention_distance, attention_entropy, crossover, free_energy, response
from rgprobe.planted_trace import planted_trace
from rgprobe.probe.response import CURVES, FACTORS, response_curve
from rgprobe.testbeds import random_energy, two_level
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

KEYS, BETA, RHO = 256, 2.0, 0.3
LENGTHS = (16, 32, 64, 128, 256)
LEVELS = "two levels: own score 2, 255 others 0.6"


@lru_cache
def _random_energies() -> Tensor:
    """16 heads of 256 rows."""
    drawn = random_energy.sample(KEYS, 1.0, rows=16 * KEYS, seed=0)
    return torch.from_numpy(drawn).reshape(1, 16, KEYS, KEYS)


@lru_cache
def _two_levels() -> Tensor:
    return torch.from_numpy(two_level.sample(keys=KEYS, rho=RHO, beta=BETA, rows=KEYS, seed=0).scores)[None, None]


@lru_cache
def _gaussian_rows() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 1.5 * torch.randn(1, 3, 65, 65, generator=generator, dtype=torch.float64)


def _shifted() -> Tensor:
    return _two_levels() + 64.0 * torch.arange(KEYS, dtype=torch.float64)[:, None]


def _free_energy(scores: Callable[[], Tensor], quantity: str) -> float:
    found = free_energy.free_energy(planted_trace(scores=[scores()], causal=False)).values
    return float(found[quantity].sel(sink="included").mean())


def _entropy(scores: Tensor, quantity: str) -> float:
    found = attention_entropy.attention_entropy(planted_trace(scores=[scores], causal=False)).values
    return float(found[quantity].sel(sink="included").mean())


def _level_entropy(quantity: str) -> float:
    return _entropy(_two_levels(), quantity)


def _capacity() -> float:
    return _entropy(_gaussian_rows(), "heat_capacity")


def _capacity_and_slope() -> float:
    """C + dS / d ln beta, the slope by central differences."""
    step, scores = 1e-4, _gaussian_rows()
    warm, cold = (_entropy(np.exp(sign * step) * scores, "normalised_entropy") for sign in (-1, 1))
    return _capacity() + (cold - warm) * float(np.log(scores.shape[-1])) / (2 * step)


def _quadratic_form() -> float:
    """Mean of s^T (diag alpha - alpha alpha^T) s, from dense matrices."""
    rows = _gaussian_rows()[0].flatten(0, 1)
    weights = rows.softmax(-1)
    dense = torch.diag_embed(weights) - weights[:, :, None] * weights[:, None]
    return float(torch.einsum("ri,rij,rj->r", rows, dense, rows).mean())


def _two_level_free_energy() -> float:
    gap = BETA * (1 - RHO)
    return float(np.log(np.exp(gap) + KEYS - 1) - gap / KEYS - np.log(KEYS))


def _two_level_participation() -> float:
    own = two_level.exact(keys=KEYS, rho=RHO, beta=BETA).own_weight
    return 1 / (own**2 + (1 - own) ** 2 / (KEYS - 1))


@lru_cache
def _two_level_curve(keys: int) -> tuple[np.ndarray, np.ndarray]:
    known = two_level.exact(keys=keys, rho=RHO)
    drawn = two_level.sample(keys=keys, rho=RHO, beta=known.half_weight_beta, rows=4, seed=keys)
    curves = response_curve(torch.from_numpy(drawn.scores), torch.ones(1, keys, dtype=torch.bool)).mean(1).numpy()
    return curves[0], curves[1]


def _peak(keys: int) -> float:
    """Factor of the peak for scores that share the row equally at factor 1: the ratio to ln(n - 1) / (1 - rho)."""
    return float(np.exp(crossover.locate_peak(np.log(FACTORS), *_two_level_curve(keys))[0]))


@lru_cache
def _response() -> xr.Dataset:
    """Curves of rows of 16 to 256 keys, own score 8 and others 0, as they are collected from a model of one head."""
    drawn = [two_level.sample(keys=keys, rho=0.0, beta=8.0, rows=1, seed=0).scores for keys in (LENGTHS[-1], *LENGTHS)]
    curves = [response_curve(torch.from_numpy(each), torch.ones(each.shape, dtype=torch.bool))[:, 0] for each in drawn]
    both = np.broadcast_to(torch.stack(curves, 1).numpy()[:, None, None, None, None], (3, 2, 1, 1, 1, 6, len(FACTORS)))
    dims = ("sink", "prompt", "block", "head", "length", "factor")
    values = {name: (dims, both[index]) for index, name in enumerate(CURVES)}
    keys = np.broadcast_to(np.array([LENGTHS[-1], *LENGTHS], dtype=float), (2, 1, 1, 6))
    coords = {"sink": ["excluded", "included"], "factor": FACTORS}
    return xr.Dataset({**values, "keys": (("sink", "prompt", "block", "length"), keys)}, coords=coords)


def _scaled(quantity: str) -> float:
    trace = planted_trace(scores=[_two_levels()], causal=False)
    trace.reductions["response"] = _response()
    return crossover.crossover(trace).values[quantity].sel(sink="included").item()


def _drift() -> float:
    """Least-squares slope of the logarithm of the exact peak."""
    peaks = [two_level.exact(keys=keys, rho=0.0).peak_beta for keys in LENGTHS]
    return float(np.polyfit(np.log(LENGTHS), np.log(peaks), 1)[0])


def _sharpening() -> float:
    """The same of the width at half maximum of the exact curve x^2 p (1 - p), p = 1 / (1 + (n - 1) exp(-x))."""
    x, widths = np.geomspace(0.5, 50, 40_001), []
    for keys in LENGTHS:
        p = 1 / (1 + (keys - 1) * np.exp(-x))
        curve = x**2 * p * (1 - p)
        widths.append(np.ptp(np.log(x[curve > curve.max() / 2])))
    return -float(np.polyfit(np.log(LENGTHS), np.log(widths), 1)[0])


def _random_peak() -> float:
    return float(response.gaussian_peak(np.array([float(KEYS)]))[0])


@lru_cache
def _causal(law: str) -> Tensor:
    """Scores of 256 causal rows that fall with distance by the given law."""
    back = (torch.arange(KEYS)[:, None] - torch.arange(KEYS)).double()
    laws = {"uniform": torch.zeros_like(back), "exponential": -back / 8, "power": -1.5 * back.clamp_min(0).log1p()}
    return laws[law].masked_fill(back < 0, -torch.inf)[None, None]


def _distance(law: str, quantity: str) -> float:
    found = attention_distance.attention_distance(planted_trace(scores=[_causal(law)])).values
    return float(found[quantity].sel(sink="included").mean())


def _planted_spans() -> np.ndarray:
    return 20 * np.exp(0.25 * np.random.default_rng(0).standard_normal(40))


def _pooled_span() -> float:
    back = (torch.arange(100)[:, None] - torch.arange(100)).double()
    scores = [(-back / span).masked_fill(back < 0, -torch.inf)[None, None] for span in _planted_spans()]
    found = attention_distance.attention_distance(planted_trace(scores=scores)).values
    return float(found["span"].sel(sink="included").mean())


_ENERGIES = "4,096 rows of the random energy model, n = 256, beta = 1"

CHECKS = (
    Check(
        catalogue="D1", diagnostic="free_energy:free_energy", system=_ENERGIES, quantity="free energy KL(u || alpha)",
        expected=lambda: random_energy.exact(KEYS, 1.0)["log_partition"] - float(np.log(KEYS)), tolerance=0.005,
        measure=lambda: _free_energy(_random_energies, "free_energy"), units="nats",
    ),
    Check(
        catalogue="D1", diagnostic="free_energy:free_energy", system=_ENERGIES,
        quantity="entropy deficit KL(alpha || u)",
        expected=lambda: float(np.log(KEYS)) - random_energy.exact(KEYS, 1.0)["entropy"], tolerance=0.005,
        measure=lambda: _free_energy(_random_energies, "entropy_deficit"), units="nats",
    ),
    *(
        Check(
            catalogue="D1", diagnostic="free_energy:free_energy", system=system, quantity=quantity, expected=expected,
            tolerance=1e-6, measure=partial(_free_energy, scores, name), units="nats",
        )
        for system, scores in ((LEVELS, _two_levels), (f"{LEVELS}; row i shifted by 64 i", _shifted))
        for quantity, name, expected in (
            ("free energy KL(u || alpha)", "free_energy", _two_level_free_energy),
            ("entropy deficit KL(alpha || u)", "entropy_deficit",
             lambda: float(np.log(KEYS)) - two_level.exact(keys=KEYS, rho=RHO, beta=BETA).entropy),
        )
    ),
    Check(
        catalogue="D2", diagnostic="attention_entropy:attention_entropy", system="195 Gaussian rows of 65 keys",
        quantity="heat capacity against s^T F s", expected=_quadratic_form, tolerance=1e-6, measure=_capacity,
        units="nats^2",
    ),
    Check(
        catalogue="D2", diagnostic="attention_entropy:attention_entropy", system="195 Gaussian rows of 65 keys",
        quantity="heat capacity + dS / d ln beta", expected=0.0, tolerance=1e-6, measure=_capacity_and_slope,
        units="nats^2",
    ),
    *(
        Check(
            catalogue="D2", diagnostic="attention_entropy:attention_entropy", system=LEVELS, quantity=quantity,
            expected=expected, tolerance=1e-6, measure=partial(_level_entropy, name), units=units,
        )
        for quantity, name, units, expected in (
            ("entropy S / ln n", "normalised_entropy", "1",
             lambda: two_level.exact(keys=KEYS, rho=RHO, beta=BETA).entropy / float(np.log(KEYS))),
            ("participation 1 / sum alpha^2", "participation", "keys", _two_level_participation),
            ("heat capacity", "heat_capacity", "nats^2",
             lambda: two_level.exact(keys=KEYS, rho=RHO, beta=BETA).heat_capacity),
        )
    ),
    *(
        Check(
            catalogue="D4", diagnostic="crossover:locate_peak", system=f"two levels of {keys:,} keys",
            quantity="peak of the heat capacity over ln(n - 1) / (1 - rho)", expected=ratio, tolerance=0.01 * ratio,
            measure=partial(_peak, keys),
        )
        for keys, ratio in ((64, 1.205), (256, 1.121), (1024, 1.079))
    ),
    *(
        Check(
            catalogue="D4", diagnostic="crossover:crossover", system="two levels of 16 to 256 keys, scores 8 and 0",
            quantity=quantity, expected=expected, tolerance=tolerance, measure=partial(_scaled, name),
        )
        for quantity, name, expected, tolerance in (
            ("peak factor at 256 keys", "peak_factor", lambda: two_level.exact(keys=256, rho=0.0).peak_beta / 8, 0.008),
            ("drift of the peak", "drift", _drift, 0.005),
            ("sharpening", "sharpening", _sharpening, 0.005),
        )
    ),
    Check(
        catalogue="D4", diagnostic="response:gaussian_peak", system="random energy model, n = 256",
        quantity="standard deviation of scores at the peak", expected=2.6, tolerance=0.1, measure=_random_peak,
        units="nats",
    ),
    Check(
        catalogue="D5", diagnostic="attention_distance:attention_distance",
        system="uniform causal attention, rows of 8 to 256 keys", quantity="mean distance, i / 2 on average",
        expected=float(np.arange(7, KEYS).mean() / 2), tolerance=1e-9, measure=partial(_distance, "uniform", "distance"),
        units="tokens",
    ),
    Check(
        catalogue="D5", diagnostic="attention_distance:attention_distance",
        system="weights exp(-r / 8), causal, 256 tokens", quantity="span", expected=8.0, tolerance=0.05 * 8,
        measure=partial(_distance, "exponential", "span"), units="tokens",
    ),
    Check(
        catalogue="D5", diagnostic="attention_distance:attention_distance",
        system="40 prompts of 100 tokens, weights exp(-r / s), s = 20 tokens with a spread of a quarter",
        quantity="span, inverse of the mean rate", expected=lambda: float(1 / np.mean(1 / _planted_spans())),
        tolerance=0.05 * 20, measure=_pooled_span, units="tokens",
    ),
    Check(
        catalogue="D5", diagnostic="attention_distance:attention_distance",
        system="weights (1 + r)^-1.5, causal, 256 tokens", quantity="exponent", expected=1.5, tolerance=0.05 * 1.5,
        measure=partial(_distance, "power", "exponent"),
    ),
)  # fmt: skip
