"""Log-priors of attention: per key, by relative position, or per pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rgprobe.errors import BadInput, NumericalRefusal, OptionError
from rgprobe.gaussian.validation import name_at

__all__ = ["KeyPrior", "LogPrior", "PairPrior", "RelativePrior", "as_log_prior", "split_prior"]

# Below every score, above -inf: exp(s - max) is exactly zero for it and no gradient meets inf - inf.
HIDDEN = -1e30


@dataclass(frozen=True, eq=False)
class KeyPrior:
    """log pi_j, one number per key: a feature of the key, at no cost in memory.

    A prior linear in distance under causal attention (ALiBi) is of this kind: -m (i - j) = m j, up to terms of i alone.

    Args:
        values: (..., N), broadcast against the beliefs; -inf hides a key.

    Example:
        >>> import torch
        >>> KeyPrior(torch.tensor([0.0, -torch.inf])).live.tolist()
        [True, False]
    """

    values: Float[Tensor, "*batch N"]

    @property
    def live(self) -> Tensor:
        """Keys that are not hidden."""
        return self.values.detach() > -torch.inf


@dataclass(frozen=True, eq=False)
class RelativePrior:
    """log pi as a function of the offset i - j of query and key.

    Args:
        table: (..., 2 N - 1), offset o at N - 1 + o; or (..., N), by distance |o|; or a function of the integer offsets
            that returns one number each, in front of which batch dimensions may stand.

    Example:
        >>> import torch
        >>> RelativePrior(torch.tensor([0.0, -1.0])).at(torch.tensor([[0, -1], [1, 0]]), 2).tolist()
        [[0.0, -1.0], [-1.0, 0.0]]
    """

    table: Float[Tensor, "*batch M"] | Callable[[Tensor], Tensor]

    def at(self, offset: Tensor, n: int) -> Tensor:
        """log pi at integer offsets, (..., *offset.shape)."""
        if not isinstance(self.table, Tensor):
            return self.table(offset)
        index = offset.abs() if self.table.shape[-1] == n else offset + (n - 1)
        return self.table[..., index.clamp(0, self.table.shape[-1] - 1)]


@dataclass(frozen=True, eq=False)
class PairPrior:
    """log pi_ij, (..., N, N), added to the scores as it is: memory quadratic in N.

    Example:
        >>> import torch
        >>> PairPrior(torch.zeros(2, 2)).values.shape
        torch.Size([2, 2])
    """

    values: Float[Tensor, "*batch N N"]


LogPrior = KeyPrior | RelativePrior | PairPrior


def as_log_prior(
    prior: Tensor | Callable[[Tensor], Tensor] | LogPrior | Sequence[Tensor | LogPrior] | None, batch: torch.Size
) -> tuple[LogPrior, ...]:
    """What a bare tensor or function means: (..., N) per key, (..., 2 N - 1) by offset, (..., N, N) per pair.

    Args:
        prior: as given to `kl_attention`; a sequence adds one per key to one of another kind.
        batch: batch shape of the beliefs, (..., N).

    Raises:
        OptionError: a shape of none of these kinds, or of two of them (as many heads as tokens): say which by passing
            `KeyPrior`, `RelativePrior` or `PairPrior`; or two priors of a kind.
        NumericalRefusal: NaN or +inf, with the index.

    Example:
        >>> import torch
        >>> [type(prior).__name__ for prior in as_log_prior(torch.zeros(5), torch.Size([2, 3]))]
        ['RelativePrior']
    """
    given = () if prior is None else tuple(prior) if isinstance(prior, (list, tuple)) else (prior,)
    priors = tuple(_one(part, batch) for part in given)
    per_key = sum(isinstance(part, KeyPrior) for part in priors)
    if per_key > 1 or len(priors) - per_key > 1:
        raise OptionError(
            "log_prior",
            expected="at most one prior per key and one by offset or per pair",
            received=", ".join(type(part).__name__ for part in priors),
            remedy="add up those of a kind",
        )
    return priors


def split_prior(
    priors: tuple[LogPrior, ...],
) -> tuple[Tensor | None, RelativePrior | PairPrior | None, Bool[Tensor, "..."] | None]:
    """What becomes a feature of the key, what becomes a mask, and which keys stay visible (None: all).

    Example:
        >>> import torch
        >>> per_key, rest, live = split_prior((KeyPrior(torch.tensor([0.0, -torch.inf]).double()),))
        >>> per_key.tolist(), rest, live.tolist()
        ([0.0, -1e+30], None, [True, False])
    """
    rest = next((part for part in priors if not isinstance(part, KeyPrior)), None)
    key = next((part for part in priors if isinstance(part, KeyPrior)), None)
    if key is None:
        return None, rest, None
    if key.live.all():
        return key.values, rest, None
    return key.values.masked_fill(~key.live, HIDDEN), rest, key.live


def _one(prior: Tensor | Callable[[Tensor], Tensor] | LogPrior, batch: torch.Size) -> LogPrior:
    if isinstance(prior, Tensor):
        known = _by_shape(prior, batch)
    elif isinstance(prior, LogPrior):
        known = prior
    elif callable(prior):
        known = RelativePrior(prior)
    else:
        raise _unfit(type(prior).__name__, batch)
    _check(known, batch)
    return known


def _by_shape(prior: Tensor, batch: torch.Size) -> LogPrior:
    n = batch[-1]
    pair = prior.ndim >= 2 and prior.shape[-2:] == (n, n)
    if pair and prior.ndim <= len(batch) and n > 1 and len(batch) >= 2 and batch[-2] == n:
        raise OptionError(
            "log_prior",
            expected="one meaning",
            received=f"shape {tuple(prior.shape)} with as many heads as tokens",
            remedy="wrap it in KeyPrior (one number per head and key) or PairPrior (one per pair of tokens)",
        )
    if pair and (n > 1 or prior.ndim > len(batch)):
        return PairPrior(prior)
    if prior.ndim >= 1 and prior.shape[-1] == n:
        return KeyPrior(prior)
    if prior.ndim >= 1 and prior.shape[-1] == 2 * n - 1:
        return RelativePrior(prior)
    raise _unfit(f"shape {tuple(prior.shape)}", batch)


def _check(prior: LogPrior, batch: torch.Size) -> None:
    """Refuse shapes that do not fit the beliefs, NaN and +inf."""
    n = batch[-1]
    if isinstance(prior, RelativePrior) and not isinstance(prior.table, Tensor):
        return
    tensor = prior.table if isinstance(prior, RelativePrior) else prior.values
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        raise BadInput(
            "log_prior",
            expected="a floating-point tensor",
            received=str(getattr(tensor, "dtype", type(tensor).__name__)),
            remedy="convert it first",
        )
    event = {KeyPrior: (n,), PairPrior: (n, n)}.get(type(prior))
    trailing = tensor.shape[-1:] if event is None else tensor.shape[-len(event) :]
    fits = trailing[-1] in (n, 2 * n - 1) if event is None else tuple(trailing) == event
    lead = tensor.shape[: tensor.ndim - len(trailing)]
    if not fits or not _broadcasts_into(lead, batch[:-1]):
        raise _unfit(f"shape {tuple(tensor.shape)}", batch)
    bad = tensor.detach().isnan() | (tensor.detach() == torch.inf)
    if bad.any():
        raise NumericalRefusal(
            name_at("log_prior", bad),
            expected="a number or -inf",
            received=f"{tensor.detach()[bad][0].item()}",
            remedy="a log-prior of -inf hides a key; nothing can be infinitely likely",
        )


def _broadcasts_into(shape: torch.Size, target: torch.Size) -> bool:
    try:
        return torch.broadcast_shapes(shape, target) == target
    except RuntimeError:
        return False


def _unfit(received: str, batch: torch.Size) -> OptionError:
    n = batch[-1]
    return OptionError(
        "log_prior",
        expected=f"(..., {n}) per key, (..., {2 * n - 1}) by offset or (..., {n}, {n}) per pair, for beliefs {tuple(batch)}",
        received=received,
        remedy="match the number of tokens; heads go in front",
    )
