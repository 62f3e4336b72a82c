"""One training run as a record: what is trained, on what, and how it is scored and saved."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer
from torch import nn

from rgprobe.models.corpus import Corpus, Document
from rgprobe.models.evaluation import Loss, document_loss
from rgprobe.models.families import Family
from rgprobe.models.options import TrainingOptions
from rgprobe.models.tokenizer import save_tokenizer, train_tokenizer

__all__ = ["Run", "prepare"]


@dataclass(frozen=True)
class Run:
    """What the loop works with; the record is frozen, the weights inside `model` are not.

    Args:
        options: what was asked for.
        family: how the model is built and saved.
        corpus: the documents of each split.
        tokenizer: fitted on the training documents.
        model: token ids (B, N) to logits (B, N, V).
    """

    options: TrainingOptions
    family: Family
    corpus: Corpus
    tokenizer: Tokenizer
    model: nn.Module

    @property
    def identity(self) -> str:
        """Options, corpus and tokenizer as text: equal identities give equal weights."""
        tokenizer_sha256 = hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()
        return "\n".join([self.options.identity(), self.corpus.sha256, tokenizer_sha256])

    def losses(self, documents: Sequence[Document]) -> dict[str, Loss]:
        """Loss on each document, in non-overlapping windows."""
        context, device = self.options.context, self.options.device
        return {
            document.name: document_loss(self.model, self.tokenizer, document, context=context, device=device)
            for document in documents
        }

    def save(self, directory: Path) -> None:
        """Write weights, configuration and tokenizer."""
        directory.mkdir(parents=True, exist_ok=True)
        self.family.save(self.model, directory)
        save_tokenizer(self.tokenizer, directory, context=self.options.context)


def prepare(options: TrainingOptions, family: Family, corpus: Corpus) -> Run:
    """Fit the tokenizer and build the model with fresh weights that `options.seed` decides."""
    texts = [document.text for document in corpus.train]
    tokenizer = train_tokenizer(texts, level=options.level, vocabulary=options.vocabulary)
    with torch.random.fork_rng(devices=[]):  # the caller's random state stays as it was
        torch.manual_seed(options.seed)
        model = family.build(
            vocabulary=tokenizer.get_vocab_size(),
            context=options.context,
            layers=options.layers,
            width=options.width,
            heads=options.heads,
            **options.switches(),
        )
    if options.gradient_checkpointing:
        cast(Any, model).activation_checkpointing_enable()  # both families have it, as transformers names it
    return Run(options, family, corpus, tokenizer, model.to(options.device))
