"""The lens: what each residual state would predict if the network ended there, reduced as soon as it is made.

p_l = softmax(readout(x_l)) at the recorded tokens. One state's probabilities over the whole vocabulary are in memory at a
time, beside those of the state before it and of the output end; log-probabilities only of a few rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice

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
# Float64 numbers of one kind that are worked on at once: they, and what they are compared with, stay in a core's cache.
NUMBERS_AT_ONCE = 2**17


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
    """Distributions of one state, (positions, V); log p = logits - level - log_partition, float64, made when needed."""

    logits: Tensor
    level: Tensor
    log_partition: Tensor
    p: Tensor  # float64
    entropy: Tensor

    def log_p(self, rows: Tensor) -> Tensor:
        return self.logits[rows].double() - self.level[rows] - self.log_partition[rows]


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
    output_logits = probe.readout(states[-1])
    answers = answers.to(output_logits.device)
    room = [torch.empty_like(output_logits, dtype=torch.float64) for _ in range(3)]
    output, _ = _reduce(output_logits, room[0], answers, [])
    before: _Prediction | None = None
    rows: list[dict[str, Tensor]] = []
    log_probabilities, classes = [], []
    # a prediction is asked for until the next one is there: two places take turns, and the output end keeps its own
    places = chain(islice(cycle(room[1:]), len(states) - 1), room[:1])
    for logits, place in zip(chain(_earlier_logits(probe, states), [output_logits]), places, strict=True):
        now, row = _reduce(logits, place, answers, [output] if before is None else [output, before])
        row["kl_to_output"] = _kl(output, now, row["kl_to_output"])
        if before is not None:
            rows[-1]["kl_to_next"] = _kl(before, now, row["kl_from_before"])
        rows.append(row)
        kept = now.p.mean(0).topk(min(basis, now.p.shape[-1])).indices.sort().values
        log_probabilities.append(_reduced(now, kept))
        classes.append(_with_rest(kept, log_probabilities[-1].shape[-1]))
        before = now
    quantities = torch.stack([torch.stack([row[name] for row in rows]) for name in LENS_QUANTITIES])
    return LensReduction(quantities.cpu(), torch.stack(log_probabilities).cpu(), torch.stack(classes).cpu())


def _earlier_logits(probe: Probe, states: Tensor) -> Iterator[Tensor]:
    """Logits of every state but the output end, one state after the other.

    Several states share one unembedding: thirty-two rows alone do not keep a core busy with a large vocabulary.
    """
    together = max(1, ROWS_PER_READOUT // states.shape[1])
    for group in states[:-1].split(together):
        ready = [*probe.readout(group.flatten(0, 1)).unflatten(0, group.shape[:2])]
        # the state after it is compared with it, and would keep the whole group until then
        ready[-1] = ready[-1].clone()
        while ready:
            yield ready.pop(0)


def _reduce(
    logits: Tensor, p: Tensor, answers: Tensor, others: Sequence[_Prediction]
) -> tuple[_Prediction, dict[str, Tensor]]:
    """A prediction, its probabilities written into `p`, and whatever is a sum over its classes.

    A few rows at a time, all that is asked of them while the caches hold them. KL(other || now) is there in its cross-entropy
    form: from the first of `others` as `kl_to_output`, from the second as `kl_from_before`.
    """
    together = max(1, NUMBERS_AT_ONCE // p.shape[-1])
    log_p = torch.empty((min(together, len(p)), p.shape[-1]), dtype=p.dtype, device=p.device)
    parts = []
    for rows in (slice(start, start + together) for start in range(0, len(p), together)):
        part = _softmax(logits[rows], p[rows], log_p[: len(p[rows])])
        part |= _of_rows(log_p[: len(p[rows])], p[rows], answers[rows])
        for name, other in zip(("kl_to_output", "kl_from_before"), others, strict=False):
            part[name] = -other.entropy[rows] - torch.linalg.vecdot(other.p[rows], log_p[: len(p[rows])])
        parts.append(part)
    row = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return _Prediction(logits, row.pop("level"), row.pop("log_partition"), p, row["entropy"]), row


def _softmax(logits: Tensor, p: Tensor, log_p: Tensor) -> dict[str, Tensor]:
    """Softmax and its logarithm in place: fresh pages for every state would cost as much as the arithmetic."""
    log_p.copy_(logits)
    level = log_p.amax(-1, keepdim=True)
    log_p -= level
    partition = torch.exp(log_p, out=p).sum(-1, keepdim=True)
    p /= partition
    log_partition = partition.log()
    log_p -= log_partition
    return {"level": level, "log_partition": log_partition, "entropy": -torch.linalg.vecdot(p, log_p)}


def _of_rows(log_p: Tensor, p: Tensor, answers: Tensor) -> dict[str, Tensor]:
    first, known = answers[:, :1].clamp_min(0), answers[:, 0] >= 0
    of_answer = log_p.gather(-1, first)
    of_class = log_p.gather(-1, answers.clamp_min(0)).masked_fill(answers < 0, -torch.inf).logsumexp(-1)
    nothing = torch.full_like(of_class, torch.nan)
    # log-probabilities are logits up to a constant per row
    classes, mean = log_p.shape[-1], log_p.mean(-1)
    deviation = (torch.linalg.vecdot(log_p, log_p) / classes - mean.square()).clamp_min(0).sqrt()
    return {
        "kl_to_next": nothing,
        "purity": torch.linalg.vecdot(p, p),
        "logit_deviation": deviation,
        "answer_log_probability": torch.where(known, of_answer[:, 0], nothing),
        "answer_rank": torch.where(known, 1.0 + (log_p > of_answer).sum(-1).double(), nothing),
        "class_log_probability": torch.where(known, of_class, nothing) if answers.shape[1] > 1 else nothing,
    }


def _kl(a: _Prediction, b: _Prediction, divergence: Tensor) -> Tensor:
    """KL(a || b) from its cross-entropy form, in the termwise form where that would lose digits."""
    if a.p is b.p:
        return torch.zeros_like(divergence)
    close = divergence < 1e-6
    if _waits(divergence):
        every = torch.arange(len(divergence), device=divergence.device)
        return torch.where(close, categorical.kl(a.log_p(every), b.log_p(every)), divergence)
    if bool(close.any()):
        divergence[close] = categorical.kl(a.log_p(close), b.log_p(close))
    return divergence


def _waits(tensor: Tensor) -> bool:
    """Whether to ask a tensor for a number makes the host wait for a device: then the longer way is taken unasked."""
    return tensor.device.type != "cpu"


def _reduced(now: _Prediction, kept: Tensor) -> Tensor:
    """`categorical.coarse_grain`, from probabilities at hand unless the rest underflowed."""
    together = max(1, NUMBERS_AT_ONCE // now.p.shape[-1])
    rest = torch.cat([rows.index_fill(-1, kept, 0).sum(-1, keepdim=True) for rows in now.p.split(together)])
    if _waits(rest) or bool((rest == 0).any()):
        every = now.log_p(torch.arange(len(now.p), device=kept.device))
        if not _waits(rest):
            return categorical.coarse_grain(every, kept)
        # struck out of the logarithms, what underflowed is still seen
        rest_of_all = every.index_fill(-1, kept, -torch.inf).logsumexp(-1, keepdim=True)
        return torch.cat([every.index_select(-1, kept), rest_of_all], -1)
    log_p = now.logits.index_select(-1, kept).double() - now.level - now.log_partition
    return torch.cat([log_p, rest.log()], -1)


def _with_rest(kept: Tensor, width: int) -> Tensor:
    rest = torch.full((width - len(kept),), -1, dtype=torch.long, device=kept.device)
    return torch.cat([kept.long(), rest])
