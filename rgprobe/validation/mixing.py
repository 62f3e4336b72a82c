"""Rows of D22 and D23: chains of two blocks, whose spectrum is known, and the Fisher information of attention rows."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float64
from torch import Tensor

from rgprobe.diagnostics import diffusion, fisher, fisher_alignment
from rgprobe.planted_trace import planted_trace
from rgprobe.probe import fisher as fisher_rows
from rgprobe.probe import mixing as maps
from rgprobe.testbeds import markov_blocks
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

SIZES, EPSILON = (7, 4), 0.05
KEYS = 21


@lru_cache
def _chain(epsilon: float) -> markov_blocks.BlockChain:
    return markov_blocks.chain(sizes=SIZES, epsilon=epsilon, seed=3)


def _second(epsilon: float) -> float:
    return float(diffusion.slow_eigenvectors(_chain(epsilon).transition, 2)[0][1])


def _memberships() -> float:
    """Largest difference from the indicators of the planted blocks, either way round."""
    built = _chain(EPSILON)
    found = diffusion.metastable_memberships(built.transition, 2)
    planted = np.eye(2)[built.labels]
    return float(min(np.abs(found - planted).max(), np.abs(found - planted[:, ::-1]).max()))


@lru_cache
def _mixing() -> xr.Dataset:
    """Two blocks of a bidirectional model, both this chain, as a pass over the model reduces them."""
    matrix = torch.from_numpy(_chain(EPSILON).transition)
    singular = torch.linalg.svdvals(matrix)
    step = (matrix + torch.eye(len(matrix), dtype=matrix.dtype)) / 2
    second = float(torch.linalg.eigvalsh(maps.reversible_form(matrix)[0])[-2])
    per_block = {
        "dobrushin": [maps.dobrushin(matrix)] * 2,
        "singular_participation": [maps.singular_participation(singular)] * 2,
        "rollout_spread": [maps.row_spread(step), maps.row_spread(step @ step)],
        "lambda_2": [second] * 2,
        "tokens": [len(matrix)] * 2,
    }
    dims = ("sink", "prompt", "block")
    values = {name: (dims, np.tile(np.array(each, dtype=float), (2, 1, 1))) for name, each in per_block.items()}
    leading = (*dims, "singular"), np.tile(singular[:8].numpy(), (2, 1, 2, 1))
    return xr.Dataset({**values, "singular_values": leading}, coords={"sink": ["excluded", "included"]})


def _diffusion(quantity: str) -> float:
    trace = planted_trace(graph=np.ones((1, 2, 3, 3)))
    trace.reductions["mixing"] = _mixing()
    return diffusion.diffusion(trace).values[quantity].sel(sink="included").isel(block=1).item()


def _mixing_rate() -> float:
    """From the spectral form of the same chain: ln of the spread of the rows of (1 + P) / 2 over that of its square."""
    values, right = np.linalg.eig(_chain(EPSILON).transition)
    left = np.linalg.inv(right)
    spreads = []
    for power in (1, 2):
        rows = ((right * ((1 + values) / 2) ** power) @ left).real
        spreads.append(np.abs(rows - rows.mean(0)).sum(1).mean())
    return float(np.log(spreads[0] / spreads[1]))


def _dobrushin() -> float:
    """Coefficient of uniform causal attention among 9 tokens: the first row holds key 0 alone, the last a ninth of it."""
    return maps.dobrushin(torch.from_numpy(np.tri(9) / np.arange(1.0, 10.0)[:, None]))


@lru_cache
def _weights(seed: int = 0) -> Float64[Tensor, "rows keys"]:
    scores = torch.randn(40, KEYS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * scores).softmax(-1)


@lru_cache
def _dense(seed: int = 0) -> Float64[Tensor, "rows keys keys"]:
    weights = _weights(seed)
    return torch.diag_embed(weights) - weights[:, :, None] * weights[:, None]


def _eigenvalues(largest: bool) -> float:
    values = torch.linalg.eigvalsh(_dense())
    return float((values[:, -1] if largest else values.sum(-1)).mean())


def _trace() -> float:
    return float(fisher_rows.fisher_trace(_weights()).mean())


def _largest() -> float:
    return float(fisher_rows.fisher_largest(_weights()).mean())


def _overlap() -> float:
    return float(fisher_rows.fisher_overlap(_weights(), _weights(1)).mean())


def _uniform(quantity: str) -> float:
    """A block of rows uniform over 21 keys, as a pass over the model reduces them."""
    rows = torch.full((4, KEYS), 1 / KEYS, dtype=torch.float64)
    parts = {"trace": fisher_rows.fisher_trace(rows), "largest": fisher_rows.fisher_largest(rows)}
    dims = ("prompt", "block", "head")
    trace = planted_trace(graph=np.ones((1, 1, 3, 3)))
    trace.reductions["fisher"] = xr.Dataset({n: (dims, np.full((1, 1, 1), float(v.mean()))) for n, v in parts.items()})
    return float(fisher.fisher(trace).values[quantity].item())


def _aligned_blocks() -> float:
    """Mean over rows of tr G G' / (|G| |G'|), G the mean over two heads, as a pass over the model reduces it."""
    first, second = (torch.stack([_weights(seed), _weights(seed + 1)]) for seed in (0, 2))

    def mean_overlap(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([fisher_rows.fisher_overlap(head[None], b).mean(0) for head in a]).mean(0)

    norms = mean_overlap(first, first) * mean_overlap(second, second)
    return float((mean_overlap(first, second) / norms.sqrt()).mean())


def _dense_alignment() -> float:
    """The same from matrices."""
    first, second = ((_dense(seed) + _dense(seed + 1)) / 2 for seed in (0, 2))
    cosine = torch.nn.functional.cosine_similarity(first.flatten(1), second.flatten(1))
    return float(cosine.mean())


def _alignment() -> float:
    trace = planted_trace(graph=np.ones((1, 1, 3, 3)))
    draws = np.full((2, 1, 1), _aligned_blocks())
    trace.reductions["fisher"] = xr.Dataset({"alignment": (("draw", "prompt", "block"), draws)})
    return float(fisher_alignment.fisher_alignment(trace).values["alignment"].item())


def _natural_gradient(spread: float) -> float:
    return float(fisher.natural_gradient_alignment(spread, keys=384, width=192, rows=64).mean())


_CHAIN = "two blocks of 7 and 4 states, eps = {:g}"
_ROWS = "40 softmax rows of 21 keys, against the dense F"

CHECKS = (
    *(
        Check(
            catalogue="D22", diagnostic="diffusion:slow_eigenvectors", system=_CHAIN.format(epsilon),
            quantity="lambda_2 = 1 - 2 eps", expected=1 - 2 * epsilon, tolerance=1e-9,
            measure=partial(_second, epsilon),
        )
        for epsilon in (0.01, 0.05, 0.2)
    ),
    *(
        Check(
            catalogue="D22", diagnostic="diffusion:diffusion", system=_CHAIN.format(EPSILON), quantity=quantity,
            expected=expected, tolerance=tolerance, measure=partial(_diffusion, name), units=units,
        )
        for quantity, name, units, expected, tolerance in (
            ("gap 2 eps", "gap", "1", 2 * EPSILON, 1e-9),
            ("relaxation time -1 / ln(1 - 2 eps)", "relaxation_time", "steps", float(-1 / np.log(1 - 2 * EPSILON)), 1e-6),
            ("mixing rate of the second block, from the spectrum", "mixing_rate", "1/block", _mixing_rate, 1e-9),
        )
    ),
    Check(
        catalogue="D22", diagnostic="diffusion:metastable_memberships", system=_CHAIN.format(EPSILON),
        quantity="memberships less planted blocks, largest", expected=0.0, tolerance=1e-6, measure=_memberships,
    ),
    Check(
        catalogue="D22", diagnostic="probe.mixing:dobrushin", system="uniform causal attention, 9 tokens",
        quantity="Dobrushin's coefficient", expected=8 / 9, tolerance=1e-9, measure=_dobrushin,
    ),
    Check(
        catalogue="D23", diagnostic="probe.fisher:fisher_trace", system=_ROWS, quantity="tr F = 1 - sum alpha^2",
        expected=partial(_eigenvalues, largest=False), tolerance=1e-6, measure=_trace,
    ),
    Check(
        catalogue="D23", diagnostic="probe.fisher:fisher_largest", system=_ROWS, quantity="largest eigenvalue",
        expected=partial(_eigenvalues, largest=True), tolerance=1e-6, measure=_largest,
    ),
    Check(
        catalogue="D23", diagnostic="probe.fisher:fisher_overlap", system=_ROWS, quantity="tr F F' of two blocks",
        expected=lambda: float((_dense() * _dense(1)).sum((-1, -2)).mean()), tolerance=1e-6, measure=_overlap,
    ),
    Check(
        catalogue="D23", diagnostic="fisher:fisher", system="rows uniform over 21 keys", quantity="tr F = 20/21",
        expected=20 / 21, tolerance=1e-6, measure=partial(_uniform, "fisher_trace"),
    ),
    Check(
        catalogue="D23", diagnostic="fisher:fisher", system="rows uniform over 21 keys", quantity="leading share 1/20",
        expected=1 / 20, tolerance=1e-6, measure=partial(_uniform, "leading_share"),
    ),
    Check(
        catalogue="D23", diagnostic="fisher_alignment:fisher_alignment", system="two blocks of two heads, 40 rows of 21 keys",
        quantity="cosine, against the dense F", expected=_dense_alignment, tolerance=1e-6, measure=_alignment,
    ),
    *(
        Check(
            catalogue="D23", diagnostic="fisher:natural_gradient_alignment",
            system=f"64 queries, 384 whitened keys of width 192, scores of std {spread:g}",
            quantity="cosine of gradient and natural gradient", expected=expected, tolerance=0.03,
            measure=partial(_natural_gradient, spread),
        )
        for spread, expected in ((0.0, 1.0), (0.5, 0.94), (1.0, 0.75), (2.0, 0.36), (4.0, 0.10))
    ),
)  # fmt: skip
