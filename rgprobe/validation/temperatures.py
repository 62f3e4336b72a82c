"""Rows of D3: temperatures planted in Gaussian scores, in isotropic gauge beliefs and in the alignment of keys."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import torch
import xarray as xr
from scipy.optimize import brentq
from torch import Tensor

from rgprobe.diagnostics import gauge_temperature, response, rotated_keys, temperature
from rgprobe.gaussian import Gaussian
from rgprobe.models import kl_attention
from rgprobe.planted_trace import planted_trace
from rgprobe.probe.response import CURVES, FACTORS, response_curve
from rgprobe.probe.rotations import dot_product_change, random_rotations
from rgprobe.testbeds import random_energy
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

KEYS, HEADS = 256, 16
BETAS = (0.5, 1.0, 2.0, 4.0)
SINKS = ["excluded", "included"]
KAPPA, VARIANCE, WIDTH = 0.7, 1.6, 5
ALIGNED_WIDTH, ROTATIONS = 8, 4000


@lru_cache
def _scores(beta: float) -> Tensor:
    drawn = random_energy.sample(KEYS, beta, rows=HEADS * KEYS, seed=round(10 * beta))
    return torch.from_numpy(drawn).reshape(1, HEADS, KEYS, KEYS)


def _temperature(beta: float, quantity: str) -> float:
    found = temperature.temperature(planted_trace(scores=[_scores(beta)], causal=False)).values
    return float(found[quantity].sel(sink="included").mean())


def _half_ruled_out() -> float:
    """By T1 this row is condensed: its scores spread by 10 nats."""
    scores = torch.zeros(1, 1, KEYS, KEYS, dtype=torch.float64)
    scores[..., ::2] = -20
    found = temperature.temperature(planted_trace(scores=[scores], causal=False)).values
    return float(found["theta_entropy"].sel(sink="included").item())


def _theta_of_half() -> float:
    """sqrt(2 ln n) / beta, where beta solves S_REM(n, beta) = ln (n / 2)."""
    beta = brentq(lambda b: random_energy.exact(KEYS, b)["entropy"] - np.log(KEYS / 2), 0.5, 3.0)
    return float(random_energy.critical_beta(KEYS) / beta)


@lru_cache
def _response(beta: float) -> xr.Dataset:
    """Curves of whole rows, as they are collected from a model: one head that holds all rows."""
    rows = _scores(beta).reshape(-1, KEYS)
    curves = response_curve(rows, torch.ones(1, KEYS, dtype=torch.bool)).mean(1).numpy()
    dims = ("sink", "prompt", "block", "head", "length", "factor")
    both = np.broadcast_to(curves[:, None, None, None, None, None], (3, 2, 1, 1, 1, 1, len(FACTORS)))
    single = (("sink", "prompt", "block", "length"), np.full((2, 1, 1, 1), float(KEYS)))
    spread = (("sink", "prompt", "block", "head"), np.full((2, 1, 1, 1), float(rows.var(1).mean())))
    values = {name: (dims, both[index]) for index, name in enumerate(CURVES)}
    return xr.Dataset({**values, "keys": single, "variance": spread}, coords={"sink": SINKS, "factor": FACTORS})


def _response_temperature(beta: float) -> float:
    trace = planted_trace(scores=[_scores(beta)[:, :1]], causal=False)
    trace.reductions["response"] = _response(beta)
    return float(response.response_temperature(trace).values["beta_response"].sel(sink="included").item())


def _gauge(variances: tuple[float, ...], quantity: str) -> float:
    """Two keys' worth of couplings, as they are collected from a gauge model of one head and K = 5."""
    precision = 1 / np.array(variances)
    parts = {"tau": KAPPA * WIDTH**0.5, "kappa": KAPPA, "precision": precision, "squared_precision": precision**2}
    shape, dims = (1, 1, 1, len(variances)), ("prompt", "block", "head", "token")
    couplings = xr.Dataset({name: (dims, np.broadcast_to(part, shape)) for name, part in parts.items()})
    trace = replace(planted_trace(states=np.zeros((1, 1, len(variances), 1))), couplings=couplings)
    return float(gauge_temperature.gauge_temperature(trace).values[quantity].sel(sink="included").item())


@lru_cache
def _coupling_of_means() -> float:
    """T from what KL attention does: ln alpha_ij, row and column means out, against mu_i.mu_j / sqrt(K)."""
    mean = torch.randn(23, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    beliefs = Gaussian.from_diagonal(mean, torch.full_like(mean, VARIANCE))
    pattern = kl_attention(beliefs, mean, kappa=KAPPA, causal=False, return_pattern=True)[1]
    weights, products = (x - x.mean(0) - x.mean(1, keepdim=True) + x.mean() for x in (pattern.log(), mean @ mean.T))
    return float((products.square().sum() / WIDTH**0.5) / (products * weights).sum())


@lru_cache
def _rotations() -> xr.Dataset:
    """Queries and keys along one direction, as they are and under rotations of the keys: (draw, sink, ...)."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(ALIGNED_WIDTH, generator=generator, dtype=torch.float64)
    direction /= direction.norm()
    queries, keys = (torch.randn(n, 1, generator=generator, dtype=torch.float64) * direction for n in (9, 33))
    turns = random_rotations(ROTATIONS, ALIGNED_WIDTH, generator)
    # one rotation per "head"
    many_queries, many_keys = (each.expand(ROTATIONS, -1, -1) for each in (queries, keys))
    change = dot_product_change(many_queries, many_keys, torch.ones((), dtype=torch.float64), turns)
    scores = torch.cat([torch.zeros_like(change[:1]), change]) + queries @ keys.T
    spread = scores.var(-1).mean(-1).sqrt().numpy()
    shape = (1 + ROTATIONS, 2, 1, 1, 1)
    parts = {name: np.broadcast_to(spread.reshape(-1, 1, 1, 1, 1), shape) for name in ("theta", "beta_sigma")}
    values = {**parts, "normalised_entropy": np.ones(shape)}
    dims = ("draw", "sink", "prompt", "block", "head")
    reason = (("prompt", "block"), np.array([[""]], dtype=object))
    return xr.Dataset({**{n: (dims, v) for n, v in values.items()}, "reason": reason}, coords={"sink": SINKS})


def _gain() -> float:
    trace = planted_trace(states=np.zeros((1, 1, 2, 1)))
    trace.reductions["rotations"] = _rotations()
    return float(rotated_keys.rotated_keys(trace).values["alignment_gain"].sel(sink="included").item())


def _planted(beta: float) -> str:
    return f"4,096 rows of 256 Gaussian scores, beta sigma = {beta:g}"


CHECKS = (
    *(
        Check(
            catalogue="D3", diagnostic="temperature:temperature", system=_planted(beta), quantity=quantity,
            expected=beta, tolerance=0.03 * beta, measure=partial(_temperature, beta, name), units="nats",
        )
        for quantity, name in (("beta_sigma (T1)", "beta_sigma"), ("beta_entropy (T2)", "beta_entropy"))
        for beta in BETAS
    ),
    *(
        Check(
            catalogue="D3", diagnostic="response:response_temperature", system=_planted(beta),
            quantity="beta_response (T3)", expected=beta, tolerance=0.03 * beta,
            measure=partial(_response_temperature, beta), units="nats",
        )
        for beta in BETAS
    ),
    Check(
        catalogue="D3", diagnostic="temperature:temperature", system=_planted(2.0),
        quantity="theta = sqrt(2 ln n) / std(s)", expected=float(np.sqrt(2 * np.log(KEYS)) / 2),
        tolerance=0.03 * float(np.sqrt(2 * np.log(KEYS)) / 2), measure=partial(_temperature, 2.0, "theta"),
    ),
    Check(
        catalogue="D3", diagnostic="temperature:temperature", system=_planted(2.0),
        quantity="theta_entropy = sqrt(2 ln n) / beta_entropy", expected=float(np.sqrt(2 * np.log(KEYS)) / 2),
        tolerance=0.03 * float(np.sqrt(2 * np.log(KEYS)) / 2), measure=partial(_temperature, 2.0, "theta_entropy"),
    ),
    Check(
        catalogue="D3", diagnostic="temperature:temperature", system="256 keys, 128 of equal weight, the others 20 nats below",
        quantity="theta_entropy, of Gaussian scores with the entropy ln 128", expected=_theta_of_half, tolerance=0.01,
        measure=_half_ruled_out,
    ),
    Check(
        catalogue="D3", diagnostic="gauge_temperature:gauge_temperature",
        system="KL attention of isotropic beliefs, kappa = 0.7, variance 1.6", expected=_coupling_of_means,
        quantity="T = kappa sigma^2, against the coupling of means in the pattern", tolerance=1e-6,
        measure=partial(_gauge, (VARIANCE,) * 3, "isotropic_temperature"),
    ),
    Check(
        catalogue="D3", diagnostic="gauge_temperature:gauge_temperature", system="keys of variances 0.5 and 2",
        quantity="effective variance, their harmonic mean", expected=0.8, tolerance=1e-6,
        measure=partial(_gauge, (0.5, 2.0), "effective_variance"),
    ),
    Check(
        catalogue="D3", diagnostic="rotated_keys:rotated_keys",
        system="queries and keys along one direction of 8; 4,000 rotations", quantity="alignment gain (T6), sqrt(8)",
        expected=8**0.5, tolerance=0.03 * 8**0.5, measure=_gain,
    ),
)  # fmt: skip
