"""Sketches: every token's state in a few random coordinates, from which correlations between tokens can be read.

Correlations over distance need the states of all tokens of all prompts at once. A random projection to k coordinates keeps
inner products on average, so that tr Cov(x_i, x_j) is estimated without bias from k numbers per token instead of d.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from rgprobe.probe.model import Hook, Probe

__all__ = ["COORDINATES", "LONGEST", "SketchCollector", "projection"]

COORDINATES = 32
LONGEST = 1024  # tokens of a prompt that are kept; longer ones would fill memory without another decade of distances
SEED = 20


class SketchCollector:
    """sqrt(d / k) R x / |x| for the tokens of one prompt at every state, R a fixed k x d matrix with orthonormal rows.

    States are normalised as the network's own norms do it; without that the few tokens of huge norm would be all that one
    sees. Where d <= k nothing is lost: R is then a rotation.
    """

    def __init__(self, probe: Probe, *, sink: str) -> None:
        self.probe = probe
        self.first = 1 if sink == "exclude" else 0
        self.projection = projection(probe.width).to(probe.device)
        self._sketches: list[Tensor] = []

    def hooks(self) -> list[tuple[str, Hook]]:
        """What to attach."""
        return [(self.probe.state_hook(state), self._reduce) for state in range(self.probe.n_blocks + 1)]

    def array(self) -> Float32[np.ndarray, "state site coordinate"]:
        """After the pass. Site 0 is token 1 where the sink is excluded, else token 0."""
        return torch.stack(self._sketches).float().cpu().numpy()

    def _reduce(self, tensor: Tensor, hook: Any) -> None:
        states = tensor[0, self.first : self.first + LONGEST].to(self.projection.dtype)
        # scaled after the projection: k numbers per token to divide instead of d
        norms = states.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(states.dtype).tiny)
        self._sketches.append(states @ self.projection / norms)


@lru_cache(maxsize=8)
def projection(width: int) -> Float[Tensor, "width coordinates"]:
    """sqrt(d / k) times a matrix with k = min(d, `COORDINATES`) orthonormal columns, the same in every run.

    Source: Johnson and Lindenstrauss (1984); Dasgupta and Gupta (2003).

    Example:
        >>> matrix = projection(100)
        >>> bool(torch.allclose(matrix.T @ matrix, 100 / 32 * torch.eye(32), atol=1e-5))
        True
    """
    generator = torch.Generator().manual_seed(SEED)
    kept = min(width, COORDINATES)
    columns, _ = torch.linalg.qr(torch.randn(width, kept, generator=generator, dtype=torch.float64))
    return (columns * (width / kept) ** 0.5).float()
