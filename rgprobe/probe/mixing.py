"""Attention as diffusion: each block's head-averaged map is a row-stochastic matrix by which tokens mix.

A causal map is triangular: its eigenvalues are its diagonal, and say nothing about mixing. Singular values, Dobrushin's
coefficient and the approach of products to a matrix of equal rows do. A bidirectional map is an irreducible chain, with a
stationary law and a spectral gap.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Float64
from torch import Tensor

from rgprobe.probe.attention import AttentionCollector
from rgprobe.probe.model import Hook, Probe
from rgprobe.probe.scores import Scores

__all__ = [
    "LONGEST",
    "MixingCollector",
    "dobrushin",
    "reversible_form",
    "row_spread",
    "singular_participation",
    "stationary_law",
]

LONGEST = 512  # tokens; a map has N^2 entries, and its spectrum costs N^3
SINGULAR_VALUES = 8
MIXING = ("dobrushin", "singular_participation", "rollout_spread", "lambda_2")


def dobrushin(matrix: Float[Tensor, "n n"]) -> float:
    """Dobrushin's ergodic coefficient, max_ij 1/2 |A_i - A_j|_1: how much of a total variation one step may leave.

    It is submultiplicative, so products mix at least as fast as it says: 0 for equal rows, 1 if two rows share no key.

    Source: Dobrushin, Theory Probab. Appl. 1, 65 (1956); Seneta, Non-negative Matrices and Markov Chains.
    """
    return float(torch.cdist(matrix, matrix, p=1).max() / 2)


def row_spread(matrix: Float[Tensor, "n n"]) -> float:
    """Mean total variation of rows from their mean, 1/2 mean_i |A_i - mean|_1: 0 when all tokens have become one.

    Example:
        >>> import torch
        >>> row_spread(torch.eye(4)), row_spread(torch.full((4, 4), 0.25))
        (0.75, 0.0)
    """
    return float((matrix - matrix.mean(0)).abs().sum(-1).mean() / 2)


def singular_participation(values: Float[Tensor, " n"]) -> float:
    """(sum s^2)^2 / sum s^4: how many singular directions pass through a map, between 1 and n."""
    power = values.square()
    return float(power.sum().square() / power.square().sum())


def stationary_law(matrix: Float64[Tensor, "n n"]) -> Float64[Tensor, " n"]:
    """pi with pi^T A = pi^T, sum 1, of an irreducible chain, from (1 - A + 1 1^T)^T pi = 1."""
    ones = torch.ones_like(matrix)
    return torch.linalg.solve((torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device) - matrix + ones).mT,
                              ones[0])  # fmt: skip


def reversible_form(matrix: Float64[Tensor, "n n"]) -> tuple[Float64[Tensor, "n n"], Float64[Tensor, " n"]]:
    """Symmetric matrix similar to the additive reversibilisation (A + A*) / 2, and the stationary law.

    A*_ij = pi_j A_ji / pi_i is the chain run backwards, and D = diag(pi) gives S = (B + B^T) / 2, B = D^1/2 A D^-1/2. Where
    A is reversible S has the eigenvalues of A; if v is an eigenvector of S, D^-1/2 v is a right eigenvector of (A + A*) / 2.

    Source: Fill, Ann. Appl. Probab. 1, 62 (1991).
    """
    law = stationary_law(matrix)
    root = law.clamp_min(torch.finfo(law.dtype).tiny).sqrt()
    similar = root[:, None] * matrix / root
    return (similar + similar.mT) / 2, law


class MixingCollector:
    """Mixing of one prompt's tokens by each block's map and by the rollout so far, without the sink and with it.

    Rollout takes the residual stream for half of each step: R_l = (A_l + 1) / 2 ... (A_1 + 1) / 2.

    Source: Abnar and Zuidema, ACL 2020, attention rollout.
    """

    def __init__(self, probe: Probe, attention: AttentionCollector, seed: int) -> None:
        self.causal = probe.causal
        self._found: list[np.ndarray] = []
        self._singular: list[np.ndarray] = []
        self._rollouts: list[Tensor | None] = [None, None]
        attention.score_listeners.append(self._reduce)

    def hooks(self) -> list[tuple[str, Hook]]:
        """None of its own: the attention collector hands over the scores."""
        return []

    def dataset(self) -> xr.Dataset:
        """Quantities of `MIXING` (sink, block), leading singular values (sink, block, singular), tokens (sink)."""
        found = np.stack(self._found, 1)  # (sink, block, quantity)
        values = {name: (("sink", "block"), found[..., i]) for i, name in enumerate((*MIXING, "tokens"))}
        singular = {"singular_values": (("sink", "block", "singular"), np.stack(self._singular, 1))}
        return xr.Dataset({**values, **singular}, coords={"sink": ["excluded", "included"]})

    def _reduce(self, scores: Scores) -> None:
        found = np.full((2, len(MIXING) + 1), np.nan)
        singular = np.full((2, SINGULAR_VALUES), np.nan)
        for policy, first in enumerate((1, 0)):
            size = scores.size - first
            found[policy, -1] = size
            if not 2 <= size <= LONGEST:
                continue
            matrix = _head_average(scores.rows(torch.arange(scores.size))[:, first:, first:])
            spectrum = torch.linalg.svdvals(matrix)
            kept = spectrum[:SINGULAR_VALUES]
            singular[policy, : len(kept)] = kept.cpu().numpy()
            step = (matrix + torch.eye(size, dtype=matrix.dtype, device=matrix.device)) / 2
            before = self._rollouts[policy]
            rollout = step if before is None else step @ before
            self._rollouts[policy] = rollout
            lambda_2 = math.nan if self.causal else float(torch.linalg.eigvalsh(reversible_form(matrix)[0])[-2])
            found[policy, :-1] = dobrushin(matrix), singular_participation(spectrum), row_spread(rollout), lambda_2
        self._found.append(found)
        self._singular.append(singular)


def _head_average(scores: Tensor) -> Float64[Tensor, "n n"]:
    """Mean over heads of the rows' softmax; a row that sees nothing here keeps its own state."""
    hidden = scores <= torch.finfo(scores.dtype).min / 2
    blind = hidden.all(-1)
    # heads share a mask
    pattern = scores.double().masked_fill(hidden, -torch.inf).masked_fill(blind[..., None], 0.0).softmax(-1).mean(0)
    own = torch.eye(len(pattern), dtype=pattern.dtype, device=pattern.device)
    return torch.where(blind[0][:, None], own, pattern)
