"""The lens: what each residual state would predict if the network ended there, reduced as soon as it is made.

p_l = softmax(readout(x_l)) at the recorded tokens. One state's distributions over the whole vocabulary are in memory at a
time, beside those of the state before it and of the output end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, cycle

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rgprobe import categorical
from rgprobe.probe.model import Probe

__all__ = ["LENS_QUANTITIES", "LensReduction", "reduce_lens"]

LENS_QUANTITIES = (
    "entropy",
    "kl_to_output",
    "kl_to_next",
    "purity",
    "logit_deviation",
    "answer_log_probability",
    "answer_rank",
    "class_log_probability",
)

ROWS_PER_READOUT = 128


@dataclass(frozen=True)
class LensReduction:
    """Lens quantities of one prompt.

    Attributes:
        quantities: (quantity, state, position), float64, in the order of `LENS_QUANTITIES`, nats; `kl_to_next` is
            KL(p_l || p_{l+1}) and NaN at the output end; answers are NaN where there is none.
        log_probabilities: (state, position, class) float64 beliefs in the reduced basis of each state, its last class the rest.
        classes: (state, class) vocabulary ids of the reduced basis, -1 for the rest.
    """

    quantities: Float[Tensor, "quantity state position"]
    log_probabilities: Float[Tensor, "state position class"]
    classes: Int[Tensor, "state class"]


@dataclass(frozen=True)
class _Prediction:
    """Distributions of one state, (positions, V) float64."""

    log_p: Tensor
    p: Tensor
    entropy: Tensor


@torch.inference_mode()
def reduce_lens(
    probe: Probe,
    states: Float[Tensor, "state position width"],
    answers: Int[Tensor, "position answer"],
    *,
    basis: int,
) -> LensReduction:
    """Read out every state at the recorded tokens.

    Args:
        states: residual states, input end first.
        answers: tokens to follow at each position, -1 for none; rank and probability are those of the first, the class
            probability is the sum over all.
        basis: how many classes of largest mean probability to keep apart per state; the others become one.

    Raises:
        NumericalRefusal: the model's readout is of unknown form.
    """
    predictions = _predictions(probe, states)
    output = next(predictions)
    before: _Prediction | None = None
    rows: list[dict[str, Tensor]] = []
    log_probabilities, classes = [], []
    for now in chain(predictions, [output]):
        if before is not None:
            rows[-1]["kl_to_next"] = _kl(before, now)
        rows.append(_reduce(now, output, answers.to(now.p.device)))
        kept = now.p.mean(0).topk(min(basis, now.p.shape[-1])).indices.sort().values
        log_probabilities.append(_reduced(now, kept))
        classes.append(_with_rest(kept, log_probabilities[-1].shape[-1]))
        before = now
    quantities = torch.stack([torch.stack([row[name] for row in rows]) for name in LENS_QUANTITIES])
    return LensReduction(quantities.cpu(), torch.stack(log_probabilities).cpu(), torch.stack(classes).cpu())


def _predictions(probe: Probe, states: Tensor) -> Iterator[_Prediction]:
    """The prediction of the output end, then of the other states from the input end on.

    Several states share one unembedding: thirty-two rows alone do not keep a core busy with a large vocabulary. A
    prediction lives until the second one after it is asked for; the first is never overwritten.
    """
    logits = probe.readout(states[-1])
    yield _predict(logits, _buffers(logits))
    rotating = cycle([_buffers(logits), _buffers(logits)])
    together = max(1, ROWS_PER_READOUT // states.shape[1])
    for group in states[:-1].split(together):
        for logits in probe.readout(group.flatten(0, 1)).unflatten(0, group.shape[:2]):
            yield _predict(logits, next(rotating))


def _buffers(logits: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(logits, dtype=torch.float64), torch.empty_like(logits, dtype=torch.float64)


def _predict(logits: Tensor, buffers: tuple[Tensor, Tensor]) -> _Prediction:
    """Softmax and its logarithm in place: fresh pages for every state would cost as much as the arithmetic."""
    log_p, p = buffers
    log_p.copy_(logits)
    log_p -= log_p.amax(-1, keepdim=True)
    partition = torch.exp(log_p, out=p).sum(-1, keepdim=True)
    p /= partition
    log_p -= partition.log()
    return _Prediction(log_p, p, -torch.linalg.vecdot(p, log_p))


def _reduce(now: _Prediction, output: _Prediction, answers: Tensor) -> dict[str, Tensor]:
    first, known = answers[:, :1].clamp_min(0), answers[:, 0] >= 0
    of_answer = now.log_p.gather(-1, first)
    of_class = now.log_p.gather(-1, answers.clamp_min(0)).masked_fill(answers < 0, -torch.inf).logsumexp(-1)
    nothing = torch.full_like(now.entropy, torch.nan)
    # log-probabilities are logits up to a constant per row
    classes, mean = now.log_p.shape[-1], now.log_p.mean(-1)
    deviation = (torch.linalg.vecdot(now.log_p, now.log_p) / classes - mean.square()).clamp_min(0).sqrt()
    return {
        "entropy": now.entropy,
        "kl_to_output": _kl(output, now),
        "kl_to_next": nothing,
        "purity": torch.linalg.vecdot(now.p, now.p),
        "logit_deviation": deviation,
        "answer_log_probability": torch.where(known, of_answer[:, 0], nothing),
        "answer_rank": torch.where(known, 1.0 + (now.log_p > of_answer).sum(-1).double(), nothing),
        "class_log_probability": torch.where(known, of_class, nothing) if answers.shape[1] > 1 else nothing,
    }


def _kl(a: _Prediction, b: _Prediction) -> Tensor:
    """KL(a || b): the cross-entropy form in float64, and the termwise form where that would lose digits."""
    if a is b:
        return torch.zeros_like(a.entropy)
    divergence = -a.entropy - torch.linalg.vecdot(a.p, b.log_p)
    close = divergence < 1e-6
    if bool(close.any()):
        divergence[close] = categorical.kl(a.log_p[close], b.log_p[close])
    return divergence


def _reduced(now: _Prediction, kept: Tensor) -> Tensor:
    """`categorical.coarse_grain`, from probabilities at hand unless the rest underflowed."""
    rest = now.p.index_fill(-1, kept, 0).sum(-1, keepdim=True)
    if bool((rest == 0).any()):
        return categorical.coarse_grain(now.log_p, kept)
    return torch.cat([now.log_p.index_select(-1, kept), rest.log()], -1)


def _with_rest(kept: Tensor, width: int) -> Tensor:
    rest = torch.full((width - len(kept),), -1, dtype=torch.long, device=kept.device)
    return torch.cat([kept.long(), rest])
