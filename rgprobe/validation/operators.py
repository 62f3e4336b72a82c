"""Rows of D10: gains of planted directions, their unit, their effect at the end, and moves of tokens that change nothing."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from rgprobe.diagnostics import gain_slopes, positional, prompt_spread
from rgprobe.diagnostics.pooling import Estimates
from rgprobe.models.gauge.config import GaugeConfig
from rgprobe.probe import gains, positions
from rgprobe.probe.loading import load
from rgprobe.probe.model import Probe
from rgprobe.testbeds import linear_flow
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

GAINS = (1.2, 1.0, 0.8)  # relevant, marginal, irrelevant
LAYERS = 6
PROMPTS = 5
FLOW = "linear flow diag(1.2, 1, 0.8), s_l = 1"
IDS = torch.tensor([0, 7, 3, 9, 5, 11, 2, 8, 4])


@lru_cache
def _lengths() -> Tensor:
    """ln ||J_(0->l) u|| of the planted directions, (directions, states)."""
    flow = linear_flow.sample(singular_values=torch.tensor([GAINS]).repeat(LAYERS, 1), frames="aligned", seed=0)
    return torch.stack([gains.log_lengths(flow.states(u[None])) for u in flow.directions.T])


@lru_cache
def _model(mixing: bool) -> Probe:
    """One block of attention that knows no positions; or two blocks that add nothing to the residual stream."""
    from rgprobe.models.gauge.transformer import GaugeTransformer

    config = GaugeConfig(
        n_layers=1 if mixing else 2,
        n_heads=2,
        d_model=12,
        d_vocab=13,
        n_ctx=32,
        d_mlp=20,
        frames="none",
        log_prior=False,
        successor_values=False,
        initializer_range=0.4,
    )
    model = GaugeTransformer(config).double().eval()
    model.reset_parameters(0)
    for block in model.blocks if not mixing else ():
        torch.nn.init.zeros_(block.output.weight)
        torch.nn.init.zeros_(block.mlp.down.weight)
    return load(model)


def _slope(direction: int) -> float:
    unit = Estimates(np.zeros(LAYERS + 1), np.zeros((PROMPTS, LAYERS + 1)))
    lengths = np.stack([_lengths().numpy()] * PROMPTS)
    return float(gain_slopes.slopes(gain_slopes.log_gains(lengths, unit))[:, direction].mean())


def _corners() -> float:
    """Each prompt three times its own corner of a cube."""
    spread = prompt_spread.prompt_spread(np.eye(PROMPTS)[:, None, None].repeat(3, axis=2))
    return float(spread.full[0]) if spread is not None else np.nan


def _fisher() -> float:
    z = torch.tensor([0.25, 0.75], dtype=torch.float64).log()
    return float(gains.fisher_lengths(z, torch.tensor([1.0, 0.0])))


def _identity() -> float:
    probe = _model(False)
    directions = gains.perturbations(probe, IDS, first=1)
    lengths, _ = gains.followed(probe, IDS, directions, torch.tensor([3, 8]), first=1)
    return float(np.abs(lengths).max())


def _permutation() -> float:
    return float(positions.moved(_model(True), IDS, first=1, additive=False)[3].max())


def _ratio() -> float:
    unit = Estimates(np.log([2.0]), np.log(np.full((PROMPTS, 1), 2.0)))
    return float(positional.relative_changes(np.full((PROMPTS, 1), 0.6), unit).mean())


CHECKS = (
    *(
        Check(
            catalogue="D10",
            diagnostic="gain_slopes:slopes",
            system=FLOW,
            quantity=f"slope of ln g, {label} direction",
            units="nats per layer",
            expected=float(np.log(gain)),
            tolerance=1e-3,
            measure=partial(_slope, index),
        )
        for index, (gain, label) in enumerate(zip(GAINS, gain_slopes.LABELS, strict=True))
    ),
    Check(
        catalogue="D10",
        diagnostic="prompt_spread:prompt_spread",
        system="five prompts at the corners of a cube",
        quantity="ln s",
        units="nats",
        expected=0.5 * float(np.log(2)),
        tolerance=1e-9,
        measure=_corners,
    ),
    Check(
        catalogue="D10",
        diagnostic="probe.gains:fisher_lengths",
        system="two outcomes, p = (1/4, 3/4), change of logits (1, 0)",
        quantity="output-Fisher length",
        expected=float(np.sqrt(3) / 4),
        tolerance=1e-9,
        measure=_fisher,
    ),
    Check(
        catalogue="D10",
        diagnostic="probe.gains:followed",
        system="gauge model whose blocks add nothing",
        quantity="largest |ln g_l / g_0| of all kinds of directions",
        units="nats",
        expected=0.0,
        tolerance=1e-9,
        measure=_identity,
    ),
    Check(
        catalogue="D10",
        diagnostic="probe.positions:moved",
        system="one block of attention without positions",
        quantity="change of the last state when its context is shuffled",
        expected=0.0,
        tolerance=1e-9,
        measure=_permutation,
    ),
    Check(
        catalogue="D10",
        diagnostic="positional:relative_changes",
        system="changes of 0.6 where prompts lie 2 apart",
        quantity="change over s",
        expected=0.3,
        tolerance=1e-9,
        measure=_ratio,
    ),
)
