"""D23: Fisher information of attention rows in their scores, F = diag(alpha) - alpha alpha^T.

tr F = 1 - sum alpha^2 is how much a row can still be moved; its largest eigenvalue, how much of that along one direction. A
uniform row has n - 1 equal directions (share 1/(n - 1)); two competing keys have one (share 1).

F is also the map from a change of scores to a change of weights, so it decides how far a gradient step departs from the
natural one. For a query q with keys K (one per row, whitened: K^T K = 1) and a read-out v,

    gradient g = K^T F v,   natural gradient (K^T F K)^-1 g:

parallel at infinite temperature, where F is 1/n on what sums to zero, and less and less so as the row condenses.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float64

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, reduction
from rgprobe.errors import OptionError
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "fisher", "natural_gradient_alignment"]


def fisher(trace: BeliefTrace) -> Measurement:
    """tr F, its largest eigenvalue and the share of the former in the latter, averaged over the recorded rows."""
    found = reduction(trace, "fisher")
    trace_f, largest = found["trace"], found["largest"]
    share = largest / trace_f.where(trace_f > 0)
    values = {"fisher_trace": trace_f, "fisher_largest": largest, "leading_share": share}
    return Measurement(xr.Dataset(values).transpose("prompt", "block", "head"))


def natural_gradient_alignment(
    spread: float, *, keys: int = 512, width: int = 256, rows: int = 16, seed: int = 0
) -> Float64[np.ndarray, " rows"]:
    """Cosine between the gradient of a query and its natural gradient, for Gaussian scores, by simulation.

    The mean over rows is the curve against which alignments of actual updates are to be held: 1, .94, .75, .36, .10 (to within
    .03) for scores of standard deviation 0, .5, 1, 2, 4 with half as many dimensions as keys. It depends on that ratio: in as
    many dimensions as keys it falls like exp(-spread^2 / 2), in few it stays near 1 for longer.

    Args:
        spread: standard deviation of the scores, nats, >= 0.
        keys: n.
        width: dimension of query and keys, below n.
        rows: independent draws of whitened keys, query and read-out.
        seed: of the draws.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> natural_gradient_alignment(0.0, keys=12, width=5, rows=3).round(12)
        array([1., 1., 1.])
    """
    for name, value, fine in (
        ("spread", spread, spread >= 0 and np.isfinite(spread)),
        ("width", width, 0 < width < keys),
    ):
        if not fine:
            raise OptionError(name, expected="a finite number >= 0" if name == "spread" else f"between 1 and {keys - 1}",
                              received=str(value), remedy=f"{name}=1 will do")  # fmt: skip
    generator = np.random.default_rng(seed)
    return np.array([_alignment(spread, keys, width, generator) for _ in range(rows)])


def _alignment(spread: float, keys: int, width: int, generator: np.random.Generator) -> float:
    drawn = generator.standard_normal((keys, width))
    whitened = np.linalg.qr(drawn - drawn.mean(0))[0]
    scores = whitened @ generator.standard_normal(width)
    scores *= spread / scores.std()
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    mean = weights @ whitened
    metric = whitened.T @ (weights[:, None] * whitened) - np.outer(mean, mean)
    read_out = generator.standard_normal(keys)
    gradient = whitened.T @ (weights * (read_out - weights @ read_out))
    values, vectors = np.linalg.eigh(metric)
    along = vectors.T @ gradient
    # directions that the row cannot move carry no gradient either
    natural = np.where(values > values[-1] * 1e-13, along / np.maximum(values, values[-1] * 1e-13), 0.0)
    return float(along @ natural / (np.linalg.norm(along) * np.linalg.norm(natural)))


DIAGNOSTIC = Diagnostic(
    name="fisher",
    catalogue="D23",
    title="Fisher information of attention",
    depth="block",
    quantities=(
        Quantity("fisher_trace", "1", "tr F = 1 - sum alpha^2"),
        Quantity("fisher_largest", "1", "largest eigenvalue of F"),
        Quantity("leading_share", "1", "largest eigenvalue over trace: 1/(n - 1) for a uniform row, 1 for two keys"),
    ),
    requires=frozenset({"fisher"}),
    measure=fisher,
    assumption="rows of the recorded tokens under the trace's sink policy; information in the scores, not in the weights that "
    "make them",
    reading="A condensed head has little information left to learn from; a large leading share means that one contest "
    "between keys is all that it can still change.",
    undefined="no recorded row sees at least 8 keys",
    default=False,
)
