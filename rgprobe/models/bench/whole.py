"""Rungs that look at all rows at once: the textbook loop, the common frame and what can be cut from it, dot products."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rgprobe.gaussian import Gaussian
from rgprobe.gaussian.exponential import matrix_exponential
from rgprobe.models.attention import Visibility, attend, attention_features, dense_common_frame, kl_attention
from rgprobe.models.attention.attending import attention_pattern
from rgprobe.models.attention.local_covariance import FullCovariance
from rgprobe.models.attention.reference import kl_attention_loop
from rgprobe.models.bench.problem import Problem

__all__ = [
    "common_frame",
    "dot_product",
    "given_frames",
    "loop",
    "low_rank",
    "unchecked_parts",
    "windowed",
]


def loop(problem: Problem, *leaves: Tensor) -> tuple[Tensor, Tensor]:
    """The textbook double loop over pairs, exponentials taken once per token."""
    mean, covariance, phi, values = leaves
    n = problem.n_tokens
    visible = Visibility().between(torch.arange(n).unsqueeze(-1), torch.arange(n))
    frames = matrix_exponential(phi)
    return kl_attention_loop(mean, covariance, values, frames, kappa=problem.kappa, visible=visible)


def common_frame(problem: Problem, *leaves: Tensor, pattern: bool = False) -> Tensor:
    """`kl_attention` from phi: the exponentials, the record and all its checks included."""
    mean, covariance, phi, values = leaves
    return given_frames(problem, mean, covariance, matrix_exponential(phi), values, pattern=pattern)


def given_frames(problem: Problem, *leaves: Tensor, pattern: bool = False) -> Tensor:
    """`kl_attention` from group elements: the record and all its checks included."""
    mean, covariance, frames, values = leaves
    return _kl(problem, Gaussian.from_covariance(mean, covariance), frames, values, pattern=pattern)


def unchecked_parts(problem: Problem, *leaves: Tensor, pattern: bool = False) -> Tensor:
    """The parts that a model calls, from group elements, without record or checks."""
    mean, covariance, frames, values = leaves
    common = dense_common_frame(mean, FullCovariance(covariance), frames)
    queries, keys = attention_features(common.blocks, 1.0 / problem.tau)
    if pattern:
        return attention_pattern(queries, keys, Visibility())
    return common.scatter(attend(queries, keys, common.gather(values), Visibility()))


def low_rank(problem: Problem, *leaves: Tensor, pattern: bool = False) -> Tensor:
    """`kl_attention` of low-rank beliefs: precisions by Woodbury."""
    mean, factor, diagonal, phi, values = leaves
    beliefs = Gaussian.from_low_rank(mean, factor, diagonal)
    return _kl(problem, beliefs, matrix_exponential(phi), values, pattern=pattern)


def windowed(problem: Problem, *leaves: Tensor, pattern: bool = False) -> Tensor:
    """`kl_attention` within a window."""
    mean, covariance, phi, values = leaves
    beliefs = Gaussian.from_covariance(mean, covariance)
    frames = matrix_exponential(phi)
    return _kl(problem, beliefs, frames, values, pattern=pattern, window=problem.window)


def dot_product(problem: Problem, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Fused dot-product attention, in the four dimensions that its CPU kernel wants."""
    q, k, v = (x[None, None] for x in (queries, keys, values))
    return scaled_dot_product_attention(q, k, v, is_causal=True)[0, 0]


def _kl(
    problem: Problem, beliefs: Gaussian, frames: Tensor, values: Tensor, *, pattern: bool, window: int | None = None
) -> Tensor:
    # "gl" skips the search for rotations, which these are not
    if not pattern:
        out = kl_attention(beliefs, values, frames=frames, kappa=problem.kappa, window=window, group="gl")
        return out if isinstance(out, Tensor) else out[0]
    both = kl_attention(
        beliefs, values, frames=frames, kappa=problem.kappa, window=window, group="gl", return_pattern=True
    )
    return both[1]
