"""What condensation accepts: token beliefs and their weights, checked and brought to float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from rgprobe.errors import BadInput, NumericalRefusal, OptionError
from rgprobe.gaussian import Gaussian

__all__ = ["as_beliefs", "token_weights"]

ROW_SUM_TOLERANCE = 1e-6


def as_beliefs(beliefs: Any) -> Gaussian | Float64[np.ndarray, "N V"]:
    """Token beliefs as a `Gaussian` of batch shape (N,) or (N, F), or as float64 probability rows (N, V).

    A row whose sum is within 1e-6 of 1 is divided by its sum (a float32 softmax stays inside that); any other row is
    refused, because renormalising it would hide that it is not a distribution. A Gaussian of batch shape (N, F) is, for
    each token, the product of F independent beliefs (one per head, say): KLs add over F, and each factor is merged on
    its own.

    Raises:
        BadInput: neither kind, or a shape that does not fit.
        NumericalRefusal: NaN, Inf, a negative probability, or a row that does not sum to 1; names the row.
    """
    if isinstance(beliefs, Gaussian):
        if len(beliefs.batch_shape) not in (1, 2) or 0 in beliefs.batch_shape:
            raise _bad_shape(f"batch shape {tuple(beliefs.batch_shape)}")
        return beliefs
    if isinstance(beliefs, torch.Tensor):
        beliefs = beliefs.detach().cpu().double().numpy()
    rows = np.asarray(beliefs)
    if rows.dtype.kind not in "fiu" or rows.ndim != 2 or 0 in rows.shape:
        raise _bad_shape(f"{rows.dtype} of shape {rows.shape}")
    return _normalised(rows.astype(np.float64))


def _bad_shape(received: str) -> BadInput:
    return BadInput(
        "beliefs",
        expected="a Gaussian of batch shape (N,) or (N, F), or probability rows (N, V), nothing empty",
        received=received,
        remedy="pass one belief per token along the first dimension",
    )


def _normalised(rows: np.ndarray) -> np.ndarray:
    """Rows divided by their sums, or a refusal that names the first unfit row."""
    sums = rows.sum(axis=1)
    _refuse_rows(~np.isfinite(sums), "finite probabilities", sums, "look for NaN or Inf upstream")
    _refuse_rows(rows.min(axis=1) < 0, "probabilities >= 0", rows.min(axis=1), "apply a softmax to logits first")
    unfit = np.abs(sums - 1.0) > ROW_SUM_TOLERANCE
    _refuse_rows(
        unfit, "a row that sums to 1 within 1e-6", sums, "take the softmax in float32 or better, or divide by the sum"
    )
    return rows / sums[:, None]


def _refuse_rows(bad: np.ndarray, expected: str, shown: np.ndarray, remedy: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise NumericalRefusal(f"beliefs[{row}]", expected=expected, received=f"{shown[row]:.9g}", remedy=remedy)


def token_weights(weights: Any, n: int) -> Float64[np.ndarray, "N"]:
    """Positive weights that sum to 1, float64; ``None`` means 1/N each, so that losses are nats per token.

    Raises:
        BadInput: not one number per token.
        OptionError: a weight that is not finite and positive (a token of weight 0 belongs to no tree: leave it out).
    """
    if weights is None:
        return np.full(n, 1.0 / n)
    w = weights.detach().cpu().double().numpy() if isinstance(weights, torch.Tensor) else np.asarray(weights)
    if w.dtype.kind not in "fiu" or w.shape != (n,):
        raise BadInput(
            "weights",
            expected=f"{n} numbers, one per token",
            received=f"{w.dtype} of shape {w.shape}",
            remedy="pass a flat array, or None for equal weights",
        )
    w = w.astype(np.float64)
    bad = ~(np.isfinite(w) & (w > 0))
    if bad.any():
        token = int(np.flatnonzero(bad)[0])
        raise OptionError(
            f"weights[{token}]",
            expected="a finite number > 0",
            received=f"{w[token]:g}",
            remedy="leave tokens of weight 0 out of the beliefs",
        )
    return w / w.max() / (w / w.max()).sum()
