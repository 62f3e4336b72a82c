"""Rows of D9, D11 and D13: perturbations through planted layers and random tanh networks, and maps with known fixed points."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from rgprobe.diagnostics import fixed_points, jacobian_spectrum, lyapunov
from rgprobe.probe.operator_spectra import Operator
from rgprobe.probe.stretching import Push, tangent_frame
from rgprobe.probe.tangents import linearized
from rgprobe.testbeds import linear_flow, migdal_kadanoff, tanh_network
from rgprobe.testbeds.tanh_network import TanhNetwork
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

DIM, LAYERS, FACTOR = 63, 3, 0.7
NETWORKS, WIDTH, DEPTH = 4, 301, 40


@lru_cache
def _planted() -> Tensor:
    """Singular values of each layer, (layer, dim), falling."""
    return torch.linspace(1.6, 0.2, DIM, dtype=torch.float64).repeat(LAYERS, 1)


@lru_cache
def _flow() -> linear_flow.LinearFlow:
    return linear_flow.sample(singular_values=_planted(), frames="aligned", seed=0)


def _stack(x: Tensor) -> Tensor:
    return _flow().states(x)[-1]


def _layer(x: Tensor) -> Tensor:
    return x @ _flow().weights[0].mT


def _singular_value(function: fixed_points.Map, rank: int) -> float:
    """Through automatic differentiation, as blocks of models are."""
    products = linearized(function, torch.ones(DIM, dtype=torch.float64))
    found = jacobian_spectrum.singular_values(Operator(DIM, products.jvp, products.vjp), count=8)
    return float(found[rank - 1])


def _exponent() -> float:
    """Mean over networks and over the layers of each."""
    networks = [tanh_network.sample(width=WIDTH, depth=DEPTH, sigma_w=1.5, seed=seed) for seed in range(NETWORKS)]
    frame = tangent_frame(1, torch.ones(1, WIDTH), seed=0)[:, 0]
    return float(np.mean([float(lyapunov.lyapunov_exponents(_pushes(each), frame)[0]) for each in networks]))


def _pushes(network: TanhNetwork) -> Iterator[Push]:
    x = network.inputs[0]
    for index in range(DEPTH):
        products = linearized(partial(network.layer, index), x)
        yield products.jvp
        x = products.value


@lru_cache
def _turn() -> Tensor:
    return linear_flow.sample(singular_values=torch.full((1, DIM), FACTOR), frames="independent", seed=1).weights[0]


def _contraction() -> float:
    return fixed_points.contraction_rate(lambda x: 1 + x @ _turn().mT, torch.zeros(DIM, dtype=torch.float64))


def _radius() -> float:
    products = linearized(lambda x: 1 + x @ _turn().mT, torch.zeros(DIM, dtype=torch.float64))
    return fixed_points.spectral_radius(Operator(DIM, products.jvp, products.vjp))


def _critical(index: int) -> float:
    def step(coupling: Tensor) -> Tensor:
        return torch.from_numpy(migdal_kadanoff.renormalize(coupling.numpy()))

    return float(fixed_points.critical_point(step, 0.4)[index])


_spectrum = partial(Check, catalogue="D9", diagnostic="jacobian_spectrum:singular_values", tolerance=1e-4)
_layer_of_63 = partial(
    _spectrum, system="linear layer with singular values 1.6 ... 0.2 in 63 dimensions, by products alone"
)
_shrinking = partial(Check, catalogue="D13", tolerance=1e-3, system="rotation of 63 dimensions that contracts by 0.7")
_decimation = partial(
    Check,
    catalogue="D13",
    diagnostic="fixed_points:critical_point",
    system="Migdal-Kadanoff map K' = ln(cosh 4K) / 2",
    tolerance=1e-5,
)

CHECKS = (
    _layer_of_63(
        quantity="largest singular value",
        expected=lambda: float(_planted()[0, 0]),
        measure=lambda: _singular_value(_layer, 1),
    ),
    _layer_of_63(
        quantity="eighth singular value",
        expected=lambda: float(_planted()[0, 7]),
        measure=lambda: _singular_value(_layer, 8),
    ),
    _spectrum(
        system="stack of three such layers, frames aligned",
        quantity="largest singular value of the stack",
        expected=lambda: float(linear_flow.exact(singular_values=_planted()).end_to_end[0]),
        measure=lambda: _singular_value(_stack, 1),
    ),
    Check(
        catalogue="D11",
        diagnostic="lyapunov:lyapunov_exponents",
        system="random tanh network, sigma_w = 1.5, width 301, 40 layers, 4 networks",
        quantity="leading exponent (1/2 ln chi = 0.0652 at infinite width)",
        units="nats/layer",
        expected=0.0637,
        tolerance=0.006,
        measure=_exponent,
    ),
    _shrinking(
        diagnostic="fixed_points:contraction_rate",
        quantity="contraction of successive steps",
        expected=FACTOR,
        measure=_contraction,
    ),
    _shrinking(
        diagnostic="fixed_points:spectral_radius",
        quantity="spectral radius of the derivative",
        expected=FACTOR,
        measure=_radius,
    ),
    _decimation(quantity="K*, unstable fixed point", expected=0.304689, measure=lambda: _critical(0)),
    _decimation(quantity="y, eigenvalue exponent", expected=0.747236, measure=lambda: _critical(1)),
    _decimation(quantity="nu, 1 / y", expected=1.33827, measure=lambda: _critical(2)),
)
