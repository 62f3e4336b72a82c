"""Divergences between categorical beliefs, for measurement: (..., V) rows of log-probabilities, float64, nats.

The KL divergence is the sum of p log(p/q) - p + q, each term of which is non-negative: never below zero, exactly zero
for equal rows. (The textbook sum of p log(p/q) in float32 gave 22% negative values near KL = 1e-6.)
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from rgprobe.errors import BadInput, OptionError

__all__ = [
    "coarse_grain",
    "entropy",
    "jeffreys",
    "jensen_shannon",
    "kl",
    "log_normalise",
    "pairwise_jeffreys",
    "pairwise_kl",
    "top_classes",
]

# Below this the matrix product (absolute error near 1e-15) gives way to the termwise form.
TERMWISE_BELOW = 1e-6
# Small enough for the temporaries of a block to stay in cache: a third of the time of large blocks.
BLOCK_BYTES = 2**18


def log_normalise(logits: Float[Tensor, "*batch V"]) -> Float64[Tensor, "*batch V"]:
    """Log-probabilities log softmax(logits) in float64; also renormalises log-probabilities.

    Raises:
        BadInput: a NaN or +Inf, or a row without a finite entry.

    Example:
        >>> import torch
        >>> log_normalise(torch.zeros(4)).exp().tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    if not logits.is_floating_point():
        raise BadInput(
            "logits", expected="a floating-point tensor", received=str(logits.dtype), remedy="pass logits.double()"
        )
    wide = logits.double()
    bad = torch.isnan(wide).any(-1) | (wide.amax(-1).abs() == torch.inf)
    if bad.any():
        index = bad.nonzero()[0].tolist()
        raise BadInput(
            f"logits[{', '.join(map(str, index))}]" if index else "logits",
            expected="entries below +Inf, at least one finite, no NaN",
            received="a row that has no softmax",
            remedy="mask this row before measuring",
        )
    return torch.log_softmax(wide, dim=-1)


def kl(log_p: Float[Tensor, "*#batch V"], log_q: Float[Tensor, "*#batch V"]) -> Float64[Tensor, "*batch"]:
    """KL(p || q) = sum of p log(p/q) - p + q in nats, argument-first; rows of log-probabilities, batch dimensions
    broadcast.

    Zeros: a class with p = 0 contributes q; one with p > 0 = q makes the divergence infinite.

    Example:
        >>> import torch
        >>> p, q = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log()
        >>> round(kl(p, q).item(), 6)
        0.143841
    """
    a, b = log_p.double(), log_q.double()
    return _terms(a, b).sum(-1)


def pairwise_kl(
    log_p: Float[Tensor, "*batch N V"], log_q: Float[Tensor, "*batch M V"] | None = None
) -> Float64[Tensor, "*batch N M"]:
    """All directed divergences in nats: entry ij is KL(p_i || q_j); None means q = p, with exact zeros on the diagonal.

    One matrix product, sum p log p - p @ log q^T, with absolute error near 1e-15 (1 + H); pairs below 1e-6 are computed
    again termwise, so that every entry is non-negative and accurate relative to its own size (about 1e-9 at worst).

    Example:
        >>> import torch
        >>> p = torch.tensor([[0.5, 0.5], [0.25, 0.75]]).log()
        >>> [[round(x, 6) for x in row] for row in pairwise_kl(p).tolist()]
        [[0.0, 0.143841], [0.130812, 0.0]]
    """
    a = log_p.double()
    b = a if log_q is None else log_q.double()
    p, q = a.exp(), b.exp()
    # Classes that q excludes enter the product with a finite logarithm, and their mass under p decides about infinity.
    excluded = torch.isneginf(b)
    own = torch.where(torch.isneginf(a), 0.0, p * a).sum(-1)
    value = own.unsqueeze(-1) - p @ torch.where(excluded, 0.0, b).mT
    value = value - p.sum(-1).unsqueeze(-1) + q.sum(-1).unsqueeze(-2)
    if excluded.any():
        value = torch.where(p @ excluded.to(p.dtype).mT > 0, torch.inf, value)
    if log_q is None:
        value.diagonal(dim1=-2, dim2=-1).zero_()
    return _refine(value, a, b, skip_diagonal=log_q is None)


def jeffreys(log_p: Float[Tensor, "*#batch V"], log_q: Float[Tensor, "*#batch V"]) -> Float64[Tensor, "*batch"]:
    """Jeffreys divergence KL(p || q) + KL(q || p) in nats (the sum, not the mean).

    Example:
        >>> import torch
        >>> p = torch.tensor([0.5, 0.5]).log()
        >>> jeffreys(p, p).item()
        0.0
    """
    return kl(log_p, log_q) + kl(log_q, log_p)


def pairwise_jeffreys(
    log_p: Float[Tensor, "*batch N V"], log_q: Float[Tensor, "*batch M V"] | None = None
) -> Float64[Tensor, "*batch N M"]:
    """All Jeffreys divergences KL(p_i || q_j) + KL(q_j || p_i), nats; symmetric if q is None."""
    forward = pairwise_kl(log_p, log_q)
    backward = forward if log_q is None else pairwise_kl(log_q, log_p)
    return forward + backward.mT


def entropy(log_p: Float[Tensor, "*batch V"]) -> Float64[Tensor, "*batch"]:
    """Shannon entropy -sum p log p in nats.

    Example:
        >>> import torch
        >>> round(entropy(torch.full((8,), 1 / 8).log()).item(), 6)  # ln 8
        2.079442
    """
    a = log_p.double()
    return -torch.where(torch.isneginf(a), 0.0, a.exp() * a).sum(-1)


def jensen_shannon(
    log_p: Float[Tensor, "*#batch V"], log_q: Float[Tensor, "*#batch V"], weights: tuple[float, float] = (0.5, 0.5)
) -> Float64[Tensor, "*batch"]:
    """Information lost by mixing two beliefs: a KL(p || m) + b KL(q || m), m = (a p + b q) / (a + b), in nats.

    Weights that sum to one give the (weighted) Jensen-Shannon divergence; masses (cluster weights) give the cost of a
    merge.

    Raises:
        OptionError: a weight that is not positive and finite.

    Example:
        >>> import torch
        >>> p, q = torch.tensor([1.0, 0.0]).log(), torch.tensor([0.0, 1.0]).log()
        >>> round(jensen_shannon(p, q).item(), 6)  # ln 2
        0.693147
    """
    a, b = (float(w) for w in weights)
    if not (0 < a < float("inf") and 0 < b < float("inf")):
        raise OptionError(
            "weights", expected="two positive numbers", received=f"{weights}", remedy="drop empty clusters"
        )
    x, y = log_p.double(), log_q.double()
    mixture = torch.logaddexp(x + math.log(a / (a + b)), y + math.log(b / (a + b)))
    return a * kl(x, mixture) + b * kl(y, mixture)


def top_classes(log_p: Float[Tensor, "*batch V"], k: int) -> Int[Tensor, " k"]:
    """The k classes with most mass in the mean over all rows, sorted by index; ties go to the lower index.

    Raises:
        OptionError: k outside 1 .. V.

    Example:
        >>> import torch
        >>> top_classes(torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.2, 0.3]]).log(), 2).tolist()
        [0, 2]
    """
    classes = log_p.shape[-1]
    if not 1 <= k <= classes:
        raise OptionError("k", expected=f"1 to {classes} classes", received=f"{k}", remedy="ask for fewer classes")
    mass = log_p.double().exp().reshape(-1, classes).mean(0)
    return torch.argsort(mass, descending=True, stable=True)[:k].sort().values


def coarse_grain(log_p: Float[Tensor, "*batch V"], keep: Int[Tensor, " k"]) -> Float64[Tensor, "*batch k_plus_rest"]:
    """Beliefs in a reduced basis: the kept classes, then one last class with all the rest.

    Lumping classes is a channel, so divergences in the reduced basis are lower bounds of the full ones (data
    processing).

    Args:
        log_p: (..., V) log-probabilities.
        keep: k distinct class indices, in the order wanted.

    Returns:
        (..., k + 1) log-probabilities; the last is -Inf if nothing is left over.

    Raises:
        BadInput: an index twice or outside 0 .. V - 1.

    Example:
        >>> import torch
        >>> coarse_grain(torch.tensor([0.125, 0.125, 0.75]).log(), torch.tensor([2])).exp().float().tolist()
        [0.75, 0.25]
    """
    classes = log_p.shape[-1]
    inside = (keep >= 0) & (keep < classes)
    if not inside.all() or keep.unique().numel() != keep.numel():
        raise BadInput(
            "keep",
            expected=f"distinct class indices in 0 .. {classes - 1}",
            received="an index twice or outside",
            remedy="take them from top_classes",
        )
    wide = log_p.double()
    # one pass of exp: the kept classes are struck out of the sum, never subtracted from it
    remainder = wide.exp().index_fill_(-1, keep, 0).sum(-1, keepdim=True).log()
    lost = remainder.isneginf()
    if lost.any():  # all the rest underflowed; a sum of logarithms still sees it
        struck = wide.index_fill(-1, keep, -torch.inf)
        remainder = torch.where(lost, struck.logsumexp(-1, keepdim=True), remainder)
    return torch.cat([wide[..., keep], remainder], dim=-1)


def _terms(a: Tensor, b: Tensor) -> Tensor:
    """p log(p/q) - p + q per class, accurate relative to itself also where p and q nearly agree.

    With y = log q - log p the term is p (exp(y) - 1 - y), near p y^2 / 2 for small y: a series there.
    """
    p, q = a.exp(), b.exp()
    excluded = torch.isneginf(b)
    y = torch.where(excluded | (p == 0), 0.0, b - a)
    series = torch.zeros_like(y)
    for n in range(13, 1, -1):
        series = series * y + 1.0 / math.factorial(n)
    terms = torch.where(y.abs() < 0.25, p * y.square() * series, q - p - p * y)
    return torch.where(p == 0, q, torch.where(excluded, torch.inf, terms))


def _refine(value: Tensor, a: Tensor, b: Tensor, *, skip_diagonal: bool) -> Tensor:
    """Compute entries below `TERMWISE_BELOW` again, termwise, in blocks of bounded memory."""
    small = (value < TERMWISE_BELOW).nonzero()
    if skip_diagonal:
        small = small[small[:, -1] != small[:, -2]]
    step = max(1, BLOCK_BYTES // (8 * a.shape[-1]))
    for start in range(0, len(small), step):
        *lead, i, j = small[start : start + step].unbind(-1)
        value[(*lead, i, j)] = _terms(a[(*lead, i)], b[(*lead, j)]).sum(-1)
    return value
