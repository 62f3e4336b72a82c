"""Rows of D12 and D15: layers that stand still, contract at a known rate or are random, and a deck dealt card by card."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import torch
import xarray as xr

from rgprobe import categorical
from rgprobe.belief_trace import BeliefTrace
from rgprobe.diagnostics import elimination, plateau
from rgprobe.planted_trace import planted_trace
from rgprobe.probe.lens import LENS_QUANTITIES
from rgprobe.testbeds import contracting_layers, draws_without_replacement, gaussian_gram
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

RATIO, LAYERS, CARDS = 0.7, 14, 16
GRAM = 0.2 + 0.8 * np.eye(12)
DEPTH, NETWORKS, UNITS = 3, 16, 512


@lru_cache
def _layers(ratio: float) -> BeliefTrace:
    """Twelve tokens in 40 dimensions, with the predictions of a fixed linear readout."""
    states = contracting_layers.sample(tokens=12, dim=40, layers=LAYERS, ratio=ratio, amplitude=1e-3, seed=0)
    readout = np.random.default_rng(1).standard_normal((40, 17))
    log_p = categorical.log_normalise(torch.from_numpy(states @ readout))
    kl = categorical.kl(log_p[:-1], log_p[1:]).numpy()
    lens = xr.Dataset({"kl_to_next": (("prompt", "state", "position"), np.pad(kl, ((0, 1), (0, 0)))[None])})
    return planted_trace(states=states[None], lens=lens)


def _standing(quantity: str) -> float:
    return float(np.abs(plateau.plateau(_layers(1.0)).values[quantity]).max())


def _slope(quantity: str) -> float:
    """Slope of the logarithm, per layer."""
    found = plateau.plateau(_layers(RATIO)).values[quantity].values[0]
    return float(np.polyfit(np.arange(LAYERS), np.log(found), 1)[0])


@lru_cache
def _networks() -> tuple[BeliefTrace, ...]:
    """The same tokens in random ReLU networks."""
    options = {"width": UNITS, "layers": DEPTH}
    drawn = (gaussian_gram.sample(gram=GRAM, **options, seed=seed) for seed in range(NETWORKS))
    return tuple(planted_trace(states=states[None]) for states in drawn)


def _distance_to_init() -> float:
    """Distance from initialisation of layers that leave the tokens as they are, at the last transition."""
    start = _networks()[0].states.values[:, :1]
    standing = plateau.plateau(planted_trace(states=np.repeat(start, DEPTH + 1, 1)))
    found = plateau.calibrate(standing, [plateau.plateau(trace) for trace in _networks()])
    return found.values["kernel_distance_to_init"].isel(transition=-1).item()


def _exact_distance() -> float:
    last = gaussian_gram.exact(gram=GRAM, layers=DEPTH).kernels[-1]
    return float(np.linalg.norm(GRAM - last) / np.linalg.norm(last))


@lru_cache
def _deck() -> BeliefTrace:
    """As many prompts as rows; state k is the exact posterior of the next card after k draws, which ends at one card."""
    drawn = draws_without_replacement.sample(vocabulary=CARDS, draws=CARDS - 1, rows=3, seed=0)
    posterior = draws_without_replacement.posterior(drawn, vocabulary=CARDS)
    log_p = torch.from_numpy(posterior).log()
    to_output = categorical.kl(log_p[:, -1:], log_p)
    quantities = dict.fromkeys(LENS_QUANTITIES, np.full(to_output.shape, np.nan))
    quantities.update(
        entropy=categorical.entropy(log_p).numpy(), kl_to_output=to_output.numpy(), purity=(posterior**2).sum(-1)
    )
    dims = ("prompt", "state", "position")
    lens = xr.Dataset({name: (dims, each[..., None]) for name, each in quantities.items()})
    return planted_trace(log_probabilities=list(log_p[:, :, None].numpy()), lens=lens)


def _eliminated(quantity: str, state: int) -> float:
    return float(elimination.elimination(_deck()).values[quantity].isel(state=state).mean())


_CONTRACTING = "tokens that turn towards a limit by 0.7 per layer"
_DEALT = f"exact posteriors of a deck of {CARDS}, card by card"

CHECKS = (
    *(
        Check(
            catalogue="D12", diagnostic="plateau:plateau", system="identity layers", quantity=f"{words}, largest",
            expected=0.0, tolerance=1e-12, measure=partial(_standing, name), units=units,
        )
        for words, name, units in (
            ("angle", "angle", "degrees"), ("1 - CKA", "cka_distance", "1"), ("KL to the next layer", "kl", "nats"),
            ("kernel change", "kernel_step", "1"),
        )
    ),
    *(
        Check(
            catalogue="D12", diagnostic="plateau:plateau", system=_CONTRACTING,
            quantity=f"slope of ln {words}, {'' if order == 1 else '2 '}ln 0.7", expected=order * float(np.log(RATIO)),
            tolerance=-0.02 * order * float(np.log(RATIO)), measure=partial(_slope, name), units="1/layer",
        )
        for words, name, order in (
            ("angle", "angle", 1), ("kernel change", "kernel_step", 1), ("KL", "kl", 2), ("(1 - CKA)", "cka_distance", 2)
        )
    ),
    Check(
        catalogue="D12", diagnostic="plateau:calibrate", tolerance=0.02, measure=_distance_to_init,
        system="identity layers against 16 random ReLU networks of width 512, depth 3", expected=_exact_distance,
        quantity="kernel distance to random initialisations",
    ),
    Check(
        catalogue="D15", diagnostic="elimination:elimination", system=_DEALT,
        quantity="KL to the output at the last layer", expected=0.0, tolerance=1e-12,
        measure=partial(_eliminated, "kl_to_output", -1), units="bits",
    ),
    *(
        Check(
            catalogue="D15", diagnostic="elimination:elimination", system=_DEALT, quantity=quantity, expected=expected,
            tolerance=1e-9, measure=partial(_eliminated, name, state), units=units,
        )
        for quantity, name, state, units, expected in (
            ("KL to the output before any draw, log2 16", "kl_to_output", 0, "bits", 4.0),
            ("bits gained by the 8th draw, log2 9/8", "bits_gained", 8, "bits", float(np.log2(9 / 8))),
            ("entropy after 5 draws", "entropy", 5, "bits",
             float(draws_without_replacement.exact(vocabulary=CARDS, draws=6)[5])),
            ("effective hypotheses after 5 draws", "effective_hypotheses", 5, "1", 11.0),
        )
    ),
)  # fmt: skip
