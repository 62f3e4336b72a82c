"""Attention by KL divergence between transported Gaussian beliefs, exactly, as dot-product attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from rgprobe.errors import OptionError
from rgprobe.gaussian import Gaussian
from rgprobe.models.attention.attending import attend, attention_pattern
from rgprobe.models.attention.cold import cold_pattern
from rgprobe.models.attention.condensed import Condensation, check_condensable, condense_any
from rgprobe.models.attention.group_frames import BlockFrames
from rgprobe.models.attention.masking import Visibility
from rgprobe.models.attention.options import (
    check_beliefs,
    check_frames,
    check_group,
    check_kappa,
    check_values,
    checked_visibility,
)
from rgprobe.models.attention.priors import LogPrior, as_log_prior, split_prior
from rgprobe.models.attention.source import Source

__all__ = ["kl_attention"]

# A kappa below this many units of rounding is cold: the scores no longer resolve tau.
COLD = 1e4


def kl_attention(
    beliefs: Gaussian,
    values: Tensor,
    *,
    frames: Tensor | BlockFrames | Sequence[Tensor] | None = None,
    kappa: float | Tensor = 1.0,
    causal: bool = True,
    include_self: bool = True,
    window: int | None = None,
    log_prior: Tensor | Callable[[Tensor], Tensor] | LogPrior | Sequence[Tensor | LogPrior] | None = None,
    transport_values: bool = True,
    return_pattern: bool = False,
    group: str | None = None,
    precision: torch.dtype | None = None,
    condense: Condensation | None = None,
) -> Float[Tensor, "..."] | tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    r"""Average values over tokens by how little their transported beliefs diverge from the query's.

        output_i = sum_j beta_ij Omega_ij v_j,   beta_ij = softmax_j(log pi_ij - KL(q_i || Omega_ij q_j) / tau)

    tau = kappa sqrt(K), Omega_ij = U_i U_j^-1. KL does not change under a common invertible map, so every belief is moved
    to one frame, where -KL is a dot product of exponential-family features and the attention runs on
    `torch.nn.functional.scaled_dot_product_attention`: exact, O(N K^3 + N^2 W), memory linear in N (see `attend` for the
    masks that are not). Width W: K + K (K + 1) / 2 + 1 full in the common frame, 2 K + 1 diagonal, K + 2 isotropic.
    Frames make a diagonal belief full, exactly; under block-diagonal frames it is full within blocks. Isotropic means: one
    variance per token, expanded over the coordinates; frames then keep W small where they are rotations without gradient.

    Work is done in float32 at least, also under autocast. For float32 input it is done in float64 where the scores could
    round by more than 1e-4 (frames of high condition, means many standard deviations apart); `precision` overrides.

    Args:
        beliefs: q_i, batch shape (..., N); typically (batch, head, N).
        values: v_j, local vectors (..., N, D); D = K with frames, unless they are not transported.
        frames: group elements U_i (..., N, K, K); `BlockFrames` or a sequence of blocks; None for trivial frames.
        kappa: temperature, positive: a number, or a tensor over the leading dimensions (one per head, say), learnable.
            Below 10^4 units of rounding the pattern is spelled out in float64: least KL wins and equal ones share.
        causal: hide later tokens.
        include_self: let a token see itself, KL = 0, always its best score before the prior.
        window: see |i - j| < window only, cost O(N window).
        log_prior: (..., N) per key, (..., 2 N - 1) or a function of the offset i - j, or (..., N, N); one per key and
            one of another kind add up as a sequence. See `as_log_prior`.
        transport_values: carry values into the query's frame; False leaves them as they are.
        return_pattern: also return beta, (..., N, N).
        group: "so" asserts rotations; None finds out whether they are; "gl" skips the test.
        precision: torch.float32 or torch.float64 for features and scores; None decides as above.
        condense: merge keys of the far past within a budget (`condensed_attend`); for causal attention that includes the
            token, with no prior but one per key.

    Returns:
        (..., N, D) in the dtype of the values, and beta if asked for. A row that sees no key (the first token of causal
        attention without itself, or all keys hidden by a prior of -inf) has no attention: it is NaN, and passes no
        gradient. `Visibility.rows_without_keys` names such rows. Empty where a leading dimension is.

    Raises:
        OptionError: kappa not positive and finite, a window below one, a prior of the wrong shape; what `condense` cannot do.
        BadInput: no Gaussian, values or frames of the wrong shape, or frames outside the group asserted.
        NumericalRefusal: NaN or Inf in the input, a singular frame (with its index), scores that overflow float64.

    Example:
        >>> import torch
        >>> beliefs = Gaussian.from_diagonal(torch.tensor([[0.0], [1.0], [1.0]]), torch.ones(3, 1))
        >>> out, beta = kl_attention(beliefs, torch.eye(3), causal=False, return_pattern=True)
        >>> (beta[0] / beta[0, 0]).log().round(decimals=4).tolist()  # KL(N(0,1) || N(1,1)) = 1/2
        [0.0, -0.5, -0.5]
    """
    check_beliefs(beliefs)
    checked = check_frames(frames, beliefs)
    check_values(beliefs, values, carried=transport_values, frames=checked)
    least = check_kappa(kappa, beliefs.batch_shape)
    visibility = checked_visibility(causal, include_self, window)
    prior = as_log_prior(log_prior, beliefs.batch_shape)
    rotations = check_group(checked, group)
    dtype = _working_dtype(beliefs, values, checked, precision)
    heads = torch.broadcast_shapes(beliefs.batch_shape, values.shape[:-1])
    if 0 in heads:  # of no sequence or no head there is nothing to compute
        nothing = values.expand(*heads, values.shape[-1])
        return (nothing, values.new_zeros(*heads, heads[-1])) if return_pattern else nothing
    cold = least < COLD * torch.finfo(dtype).eps
    if condense is not None:
        check_condensable(visibility, split_prior(prior), cold=cold, return_pattern=return_pattern)
    run = _cold if cold else partial(_warm, condense=condense)
    with torch.autocast(beliefs.device.type, enabled=False):
        source = Source(beliefs, checked, rotations, dtype, fixed=precision is not None)
        carried = transport_values and checked is not None
        out, pattern = run(source, values, kappa, visibility, prior, carried)
        beta = pattern() if return_pattern else None
    out = out.to(values.dtype)
    return out if beta is None else (out, beta)


def _warm(
    source: Source,
    values: Tensor,
    kappa: float | Tensor,
    visibility: Visibility,
    prior: tuple[LogPrior, ...],
    carried: bool,
    condense: Condensation | None,
) -> tuple[Tensor, Callable[[], Tensor]]:
    """Through the fused kernels; the pattern is computed only if called for."""
    per_key, rest, live = split_prior(prior)
    root = math.sqrt(source.beliefs.dim)
    if isinstance(kappa, Tensor):
        inverse_tau: float | Tensor = 1.0 / (kappa.double() * root)[..., None, None]
    else:
        inverse_tau = 1.0 / (kappa * root)
    common, queries, keys = source.features(inverse_tau, per_key)
    local = values.to(queries.dtype)
    local = common.gather(local) if carried else local
    if condense is None:
        out = attend(queries, keys, local, visibility, prior=rest, live=live)
    else:
        out = condense_any(queries, keys, local, condense)
    return (
        common.scatter(out) if carried else out,
        lambda: attention_pattern(queries, keys, visibility, prior=rest, live=live),
    )


def _cold(
    source: Source,
    values: Tensor,
    kappa: float | Tensor,
    visibility: Visibility,
    prior: tuple[LogPrior, ...],
    carried: bool,
) -> tuple[Tensor, Callable[[], Tensor]]:
    """The pattern spelled out in float64, where tau is below the rounding of the scores."""
    per_key, rest, live = split_prior(prior)
    double = replace(source, dtype=torch.float64, fixed=True)
    common, queries, keys = double.features(1.0, None)
    tau = torch.as_tensor(kappa, dtype=torch.float64, device=values.device)[..., None, None]
    tau = tau * math.sqrt(source.beliefs.dim)
    per_key = None if per_key is None else per_key.double()
    beta = cold_pattern(queries, keys, tau, visibility, key_prior=per_key, prior=rest, live=live)
    dead = beta.detach()[..., :1].isnan()
    local = values.double()
    out = beta.masked_fill(dead, 0.0) @ (common.gather(local) if carried else local)
    return (common.scatter(out) if carried else out).masked_fill(dead, torch.nan), lambda: beta


def _working_dtype(
    beliefs: Gaussian, values: Tensor, frames: Tensor | BlockFrames | None, precision: torch.dtype | None
) -> torch.dtype:
    """float32 at least, float64 where any input is."""
    if precision is not None:
        if precision not in (torch.float32, torch.float64):
            raise OptionError(
                "precision",
                expected="torch.float32 or torch.float64",
                received=f"{precision}",
                remedy="features stored in less err by per cents",
            )
        return precision
    blocks = frames.blocks if isinstance(frames, BlockFrames) else () if frames is None else (frames,)
    kinds = {beliefs.dtype, values.dtype, *(block.dtype for block in blocks)}
    return torch.float64 if torch.float64 in kinds else torch.float32
