"""Ledoit-Wolf shrinkage of covariances that few samples determine."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from sklearn.covariance import ledoit_wolf
from torch import Tensor

__all__ = ["noise_floor", "shrunk_covariance"]


def shrunk_covariance(samples: Float[Tensor, "*batch n r"], *, centred: bool = False) -> Float64[Tensor, "*batch r r"]:
    """(1 - a) S + a tr(S) / r 1 with the intensity a that Ledoit and Wolf estimate from the same samples.

    Args:
        samples: n draws of r numbers.
        centred: take their mean to be zero, so that S is the second moment.

    Source: Ledoit and Wolf, J. Multivariate Analysis 88 (2004) 365; computed by scikit-learn.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> shrunk_covariance(x).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """
    rows = samples.detach().double().cpu().reshape(-1, *samples.shape[-2:]).numpy()
    found = [torch.from_numpy(ledoit_wolf(row, assume_centered=centred)[0]) for row in rows]
    covariance = torch.stack(found).reshape(*samples.shape[:-2], *found[0].shape)
    return (covariance + covariance.mT) / 2


def noise_floor(rank: int, samples: int, *, mean: bool = True) -> float:
    """KL divergence, nats, between two estimates of one Gaussian from as many samples each: r (r + 3) / (2n).

    To first order in 1 / n, without shrinkage. r (r + 1) / (2n) of it is the covariance's, r / n the mean's.

    Args:
        rank: r.
        samples: n.
        mean: whether the mean is estimated too.

    Example:
        >>> noise_floor(8, 160), noise_floor(8, 160, mean=False)
        (0.275, 0.225)
    """
    return rank * (rank + (3 if mean else 1)) / (2 * samples)
