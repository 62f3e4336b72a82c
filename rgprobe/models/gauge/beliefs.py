"""Beliefs of tokens: what the embedding knows of a token alone, and what each block makes of its state."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rgprobe.errors import OptionError
from rgprobe.gaussian.exponential import matrix_exponential
from rgprobe.models.gauge.config import GaugeConfig
from rgprobe.models.gauge.frames import Frames, rotary_matrix, skew
from rgprobe.models.gauge.precision import full_precision, wide

__all__ = ["BeliefMap", "Beliefs", "TokenGeometry", "TokenTable"]

# e^4 on either side: precisions from 1/55 to 55 keep float32 scores good to four digits
LARGEST_LOG_PRECISION = 4.0


@dataclass(frozen=True, eq=False)
class TokenGeometry:
    """What all blocks share.

    Args:
        frames: U_i.
        log_precision: contribution of the token's identity, (B, N, H, S), S = K or 1; None under uniform attention.
    """

    frames: Frames
    log_precision: Float[Tensor, "B N H S"] | None


@dataclass(frozen=True, eq=False)
class Beliefs:
    """q_i = N(mu_i, Sigma_i) per token and head.

    Args:
        local: mean in the token's own frame.
        mean: the same in the common frame, U_i^-1 mu_i.
        log_precision: of the diagonal, in the common frame; with full covariances in the token's own.
    """

    local: Float[Tensor, "B N H K"]
    mean: Float[Tensor, "B N H K"]
    log_precision: Float[Tensor, "B N H S"] | None

    @property
    def known_log_precision(self) -> Float[Tensor, "B N H S"]:
        """`log_precision`, where attention asks for one.

        Raises:
            OptionError: attention is no divergence, so that tokens have means alone.
        """
        if self.log_precision is None:
            raise OptionError("attention", expected="kl, under which tokens have precisions", received="dot or uniform",
                              remedy="build the model with attention='kl'")  # fmt: skip
        return self.log_precision


class TokenTable(nn.Module):
    """Frames and precisions of tokens from a code of R numbers each: a full table would outweigh the model.

    phi(token) = W code, in so(K); a token's log-precision = V code + b.
    """

    def __init__(self, config: GaugeConfig) -> None:
        super().__init__()
        self.config = config
        k, r = config.d_head, config.d_code
        with_frames, with_precision = config.frames == "so", config.attention == "kl" or config.decode == "kl"
        self.code = nn.Embedding(config.d_vocab, r) if with_frames or with_precision else None
        self.phi = nn.Linear(r, k * (k - 1) // 2, bias=False) if with_frames else None
        self.precision = nn.Linear(r, config.n_heads * config.d_variance) if with_precision else None

    def forward(self, ids: Int[Tensor, "B N"], like: Float[Tensor, "B N d"]) -> TokenGeometry:
        """Geometry of a batch; exp(phi) is taken once for each distinct token."""
        distinct, where = ids.unique(return_inverse=True)
        precision = self.log_precision(distinct) if self.config.attention == "kl" else None  # (T, H S)
        if precision is not None:
            precision = F.embedding(where, precision).unflatten(-1, (self.config.n_heads, -1))
        return TokenGeometry(self._frames(distinct, where, like), precision)

    def _frames(self, distinct: Int[Tensor, " T"], where: Int[Tensor, "B N"], like: Tensor) -> Frames:
        if self.config.frames == "none":
            return Frames()
        k = self.config.d_head
        position = rotary_matrix(where.shape[1], k, like.device, wide(like).dtype)  # (N, K, K)
        rotations = self.rotations(distinct)  # (T, K, K)
        if rotations is None:
            return Frames(position)
        with full_precision(like):
            return Frames(F.embedding(where, rotations.flatten(1)).unflatten(-1, (k, k)) @ position)

    def rotations(self, ids: Int[Tensor, " T"]) -> Float[Tensor, "T K K"] | None:
        """exp(phi) of tokens; None without token frames."""
        if self.phi is None or self.code is None:
            return None
        with full_precision(ids):
            return matrix_exponential(skew(wide(self.phi(self.code(ids))), self.config.d_head))

    def log_precision(self, ids: Int[Tensor, " T"]) -> Float[Tensor, "T HS"] | None:
        """Log-precisions of tokens, heads flattened; None where nothing needs them."""
        return None if self.precision is None or self.code is None else wide(self.precision(self.code(ids)))


class BeliefMap(nn.Module):
    """From the normalised state to beliefs: a change of basis for the means, a linear map for the log-precisions."""

    def __init__(self, config: GaugeConfig) -> None:
        super().__init__()
        self.config = config
        d, varied = config.d_model, config.attention == "kl" and config.state_dependent_precision
        used = config.attention == "kl" or config.values == "means"
        self.global_frame = nn.Linear(d, d, bias=False) if config.global_frame and used else None
        self.precision = nn.Linear(d, config.n_heads * config.d_variance, bias=False) if varied else None

    def forward(self, state: Float[Tensor, "B N d"], geometry: TokenGeometry) -> Beliefs:
        """Beliefs of one block."""
        heads = (self.config.n_heads, -1)
        local = state if self.global_frame is None else self.global_frame(state)
        local = wide(local.unflatten(-1, heads))  # (B, N, H, K)
        log_precision = geometry.log_precision  # (B, N, H, S)
        if log_precision is not None:
            if self.precision is not None:
                log_precision = log_precision + self.precision(state).unflatten(-1, heads)
            log_precision = log_precision.clamp(-LARGEST_LOG_PRECISION, LARGEST_LOG_PRECISION)
        with full_precision(state):
            return Beliefs(local, geometry.frames.to_common(local), log_precision)
