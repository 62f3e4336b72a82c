"""Rows of D20, D21, D28 and D31: planted scales, AR(1), stored patterns, a flow of couplings; planted units and patterns."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from rgprobe.belief_trace import BeliefTrace
from rgprobe.diagnostics import (
    canonical,
    closed_flow,
    coarse_graining,
    energy_landscape,
    hopfield,
    real_space_information,
    scale_separation,
)
from rgprobe.planted_trace import planted_trace
from rgprobe.probe import units
from rgprobe.testbeds import ar1, coupling_flow, planted_units, self_similar_attention, stored_patterns
from rgprobe.testbeds import scale_separation as scales
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

ROWS = 8000
WINDOW: dict[str, Any] = {"phi": 0.8, "block": 3, "gap": 1, "environment": 5}
PATTERNS: dict[str, Any] = {"patterns": 9, "norm": 1.5}
COLD = 1.6  # over the spinodal
FLOW: dict[str, Any] = {"layers": 6, "eigenvalues": (1.1, 0.8, 0.5), "noise": 0.2, "seed": 1}
UNITS: dict[str, Any] = {"units": 64, "alive": 24, "active": 6}
CLUSTERS = 6


@lru_cache
def _scales(coefficient: float) -> scales.Scales:
    return scales.sample(rows=ROWS, coefficient=coefficient, seed=1)


def _separation(coefficient: float) -> float:
    x = _scales(coefficient)
    found = scale_separation.conditional_information(x.micro, x.macro, x.output, owner=np.arange(ROWS) // 400)
    return float(found.conditional.full)


@lru_cache
def _windows() -> ar1.AR1Windows:
    return ar1.sample(rows=2 * ROWS, seed=2, **WINDOW)


def _real_space() -> real_space_information.RealSpace:
    x = _windows()
    return real_space_information.filtered(x.block, x.environment, np.arange(2 * ROWS) // 400)


def _rho() -> float:
    return float(_real_space().rho.pseudo_values(unbiased=True).mean())


def _endpoint() -> float:
    return float(_real_space().weight.full[-1])


def _exact_rho() -> float:
    """From the exact covariance: no sampling, only the algebra."""
    return float(canonical.canonical_pairs(ar1.exact(**WINDOW).covariance, WINDOW["block"])[0][0])


def _beta() -> float:
    return COLD * stored_patterns.exact(beta=1.0, **PATTERNS).spinodal


def _stored() -> tuple[Float64[np.ndarray, "patterns dim"], float]:
    return stored_patterns.sample(dim=13, seed=3, **PATTERNS), _beta()


def _furthest_end() -> float:
    """Largest coordinate by which descents from the patterns miss the exact minima."""
    x, beta = _stored()
    weight = stored_patterns.exact(beta=beta, **PATTERNS).weight
    others = (1 - weight) / (len(x) - 1)
    minima = (weight - others) * x + others * x.sum(0)
    return float(np.abs(hopfield.descend(x, x, np.asarray(beta)) - minima).max())


def _energy_at_minimum() -> float:
    x, beta = _stored()
    end = stored_patterns.retrieve(x, x, beta=beta, steps=3000)
    return float(hopfield.energy(end, x, np.asarray(beta))[0])


def _basins_of_patterns() -> float:
    x, beta = _stored()
    return hopfield.basins(hopfield.descend(x, x, np.asarray(beta)), x).participation


def _two_wells() -> tuple[Float64[np.ndarray, "2 2"], float]:
    return np.array([[-1.0, 0.0], [1.0, 0.0]]), 4.0


def _barrier() -> float:
    two, beta = _two_wells()
    return float(hopfield.barriers(hopfield.descend(two, two, np.asarray(beta)), two, beta)[0])


def _exact_barrier() -> float:
    """Between two wells the pass is the middle, by symmetry."""
    two, beta = _two_wells()
    end = stored_patterns.retrieve(two, two, beta=beta, steps=3000)
    middle, bottom = (stored_patterns.energy(point, two, beta=beta) for point in (np.zeros(2), end[0]))
    return beta * float(middle - bottom)


@lru_cache
def _clusters() -> BeliefTrace:
    rng = np.random.default_rng(4)
    centres = np.linalg.qr(rng.standard_normal((16, CLUSTERS)))[0].T
    states = centres[np.arange(24) % CLUSTERS] + 0.05 * rng.standard_normal((1, 2, 24, 16))
    scores = torch.from_numpy(3.0 * rng.standard_normal((1, 1, 2, 24, 24)))
    return planted_trace(scores=list(scores), states=states, causal=False)


def _basins_of_tokens() -> float:
    return float(energy_landscape.energy_landscape(_clusters()).values["basin_participation"][0, 0])


@lru_cache
def _paths() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    paths = coupling_flow.sample(prompts=600, **FLOW).paths
    prompt, layer = np.indices(paths[:, 1:, 0].shape)
    return paths[:, :-1].reshape(-1, 3), paths[:, 1:].reshape(-1, 3), prompt.ravel(), layer.ravel()


def _map_error() -> float:
    before, after, _, _ = _paths()
    return float(np.abs(closed_flow.fit_flow(before, after).matrix - coupling_flow.exact(**FLOW).matrix).max())


def _held_out() -> float:
    before, after, prompt, layer = _paths()
    return float(closed_flow.held_out(before, after, prompt=prompt, layer=layer).ratio().full[0])


def _exact_ratio() -> float:
    known = coupling_flow.exact(**FLOW)
    variance = known.variance.mean(0)
    flow, persistence = ((each[0] / variance).sum() for each in (known.flow_error, known.persistence_error))
    return float(flow / persistence)


def _units(column: int) -> float:
    x = planted_units.sample(tokens=40, seed=5, **UNITS)
    return float(units.unit_sparsity(torch.from_numpy(x**2))[1, column])


def _self_similar() -> float:
    x = self_similar_attention.sample(tokens=36, factor=3, seed=6)
    return coarse_graining.rescaled(x[0], x[1], 3)


CHECKS = (
    *(
        Check(
            catalogue="D20", diagnostic="scale_separation:conditional_information",
            system=f"micro, macro and output, coefficient {coefficient:g}", quantity="I(micro; output | macro)", units="nats",
            expected=scales.exact(coefficient=coefficient).conditional_information, tolerance=0.01,
            measure=partial(_separation, coefficient),
        )
        for coefficient in (0.0, 0.3)
    ),
    Check(
        catalogue="D21", diagnostic="canonical:canonical_pairs", system="AR(1), phi 0.8, gap 1, exact covariance",
        quantity="rho = phi^(gap + 1)", expected=0.64, tolerance=1e-9, measure=_exact_rho,
    ),
    Check(
        catalogue="D21", diagnostic="real_space_information:filtered", system="AR(1), phi 0.8, gap 1, 16,000 windows",
        quantity="rho = phi^(gap + 1)", expected=0.64, tolerance=0.02, measure=_rho,
    ),
    Check(
        catalogue="D21", diagnostic="real_space_information:filtered", system="AR(1), phi 0.8, gap 1, 16,000 windows",
        quantity="share of the filter on the endpoint", expected=1.0, tolerance=0.01, measure=_endpoint,
    ),
    Check(
        catalogue="D28", diagnostic="hopfield:descend", system="9 orthogonal stored patterns, cold",
        quantity="largest miss of a minimum", expected=0.0, tolerance=1e-6, measure=_furthest_end,
    ),
    Check(
        catalogue="D28", diagnostic="hopfield:energy", system="9 orthogonal stored patterns, cold",
        quantity="energy at a minimum", expected=lambda: stored_patterns.exact(beta=_beta(), **PATTERNS).energy,
        tolerance=1e-9, measure=_energy_at_minimum,
    ),
    Check(
        catalogue="D28", diagnostic="hopfield:basins", system="9 orthogonal stored patterns, cold",
        quantity="effective number of basins", expected=9.0, tolerance=1e-6, measure=_basins_of_patterns,
    ),
    Check(
        catalogue="D28", diagnostic="hopfield:barriers", system="two stored patterns", quantity="barrier between them",
        units="nats", expected=_exact_barrier, tolerance=1e-6, measure=_barrier,
    ),
    Check(
        catalogue="D28", diagnostic="energy_landscape:energy_landscape", system="24 tokens in 6 clusters",
        quantity="effective number of basins", expected=float(CLUSTERS), tolerance=1e-6, measure=_basins_of_tokens,
    ),
    *(
        Check(
            catalogue="D29", diagnostic="probe.units:unit_sparsity", system="64 units, 24 alive, 6 for each token",
            quantity=quantity, expected=getattr(planted_units.exact(**UNITS), quantity), tolerance=1e-6,
            measure=partial(_units, column),
        )
        for column, quantity in enumerate(units.UNITS)
    ),
    Check(
        catalogue="D31", diagnostic="closed_flow:fit_flow", system="couplings with eigenvalues 1.1, 0.8, 0.5",
        quantity="largest error of the map", expected=0.0, tolerance=0.02, measure=_map_error,
    ),
    Check(
        catalogue="D31", diagnostic="closed_flow:held_out", system="couplings with eigenvalues 1.1, 0.8, 0.5",
        quantity="held-out error of layer 0 over persistence", expected=_exact_ratio, tolerance=0.05, measure=_held_out,
    ),
    Check(
        catalogue="D32", diagnostic="coarse_graining:rescaled", system="a pattern of 36 tokens, then its coarse-graining by 3",
        quantity="similarity at that scale", expected=1.0, tolerance=1e-9, measure=_self_similar,
    ),
)  # fmt: skip
