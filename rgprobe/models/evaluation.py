"""Loss of a language model on documents, in nats per token and per character.

Windows do not overlap: a document's tokens are cut into runs of `context`, each predicted from `<|endoftext|>` and the
tokens before it in the same run. That is how the model was trained, costs one forward pass over the text, and is
pessimistic against a sliding window, because every run starts without memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from tokenizers import Tokenizer
from torch import Tensor, nn

from rgprobe.models.corpus import Document
from rgprobe.models.tokenizer import BOS_ID, encode

__all__ = ["Loss", "document_loss", "total_loss", "windows"]


@dataclass(frozen=True)
class Loss:
    """Total surprise of a text, with what it is divided by.

    Args:
        nats: -sum of log-probabilities of all tokens.
        tokens: number of tokens predicted.
        characters: number of Unicode characters of the text.

    Example:
        >>> Loss(nats=6.0, tokens=2, characters=4).nats_per_token
        3.0
    """

    nats: float
    tokens: int
    characters: int

    @property
    def nats_per_token(self) -> float:
        """Cross-entropy per token, nats."""
        return self.nats / self.tokens

    @property
    def nats_per_character(self) -> float:
        """Cross-entropy per character, nats; comparable across tokenizers."""
        return self.nats / self.characters

    @property
    def bits_per_character(self) -> float:
        """Cross-entropy per character, bits."""
        return self.nats_per_character / math.log(2)

    def __add__(self, other: Loss) -> Loss:
        return Loss(self.nats + other.nats, self.tokens + other.tokens, self.characters + other.characters)

    def as_dict(self) -> dict[str, float | int]:
        """The record with its ratios, rounded to six digits, for a JSON file."""
        return {
            "tokens": self.tokens,
            "characters": self.characters,
            "nats_per_token": round(self.nats_per_token, 6),
            "nats_per_character": round(self.nats_per_character, 6),
            "bits_per_character": round(self.bits_per_character, 6),
        }


def windows(ids: Sequence[int], context: int) -> list[Int[Tensor, " n"]]:
    """Cut token ids into runs of `context`; the last one may be shorter.

    Example:
        >>> [run.tolist() for run in windows([5, 6, 7, 8, 9], context=2)]
        [[5, 6], [7, 8], [9]]
    """
    return list(torch.tensor(ids, dtype=torch.int64).split(context))


@torch.no_grad()
def document_loss(
    model: nn.Module, tokenizer: Tokenizer, document: Document, *, context: int, batch: int = 16, device: str = "cpu"
) -> Loss:
    """Loss of `model` on one document in non-overlapping windows.

    Args:
        model: token ids (B, N) to logits (B, N, V).
        tokenizer: from `train_tokenizer`.
        document: the text.
        context: window length in tokens.
        batch: windows per forward pass.
        device: where the model is.
    """
    *full, last = windows(encode(tokenizer, document.text), context)
    groups = [full[start : start + batch] for start in range(0, len(full), batch)] + [[last]]  # the last may be shorter
    nats = math.fsum(_nats(model, torch.stack(group).to(device)) for group in groups)
    return Loss(nats, sum(len(run) for run in (*full, last)), len(document.text))


def total_loss(losses: Mapping[str, Loss]) -> Loss:
    """Sum over documents, so that its ratios weigh every token, or character, equally.

    Example:
        >>> total_loss({"a": Loss(1.0, 2, 4), "b": Loss(3.0, 2, 4)}).nats_per_token
        1.0
    """
    return sum(losses.values(), start=Loss(0.0, 0, 0))


def _nats(model: nn.Module, targets: Int[Tensor, "B N"]) -> float:
    inputs = torch.cat([torch.full_like(targets[:, :1], BOS_ID), targets[:, :-1]], dim=1)
    was_training = model.training
    logits = model.eval()(inputs).flatten(0, 1).double()  # sums over 10^5 tokens stay exact to the last digit printed
    nats = nn.functional.cross_entropy(logits, targets.flatten(), reduction="sum")
    model.train(was_training)
    return float(nats)
