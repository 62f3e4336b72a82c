"""Losses by place in the context add up to the loss of the documents, and pair models of equal seed."""

import numpy as np
import pytest
import torch
from measured_page import analysis
from tokenizers import Tokenizer

from rgprobe.data import load_prompts
from rgprobe.models.corpus import Document
from rgprobe.models.evaluation import document_loss
from rgprobe.models.shipped import shipped_path
from rgprobe.models.tokenizer import encode
from rgprobe.probe.plain import plain_forward

EDGES = (0, 4, 16, 24)


@pytest.fixture
def documents():
    """Cut to three and two whole windows."""
    tokenizer = Tokenizer.from_file(str(shipped_path("standard-small") / "tokenizer.json"))
    texts = load_prompts("held_out")[:2]
    return [Document(f"text {n}", tokenizer.decode(encode(tokenizer, text)[: n * EDGES[-1]]))
            for n, text in zip((3, 2), texts, strict=True)]  # fmt: skip


def test_places_add_up_to_the_loss_of_the_documents(documents):
    path = shipped_path("gauge-small")
    found = analysis("position_losses").window_losses(path, documents, EDGES)
    assert found.shape == (5, 3)
    forward, _ = plain_forward(path)
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    model = torch.nn.Module()
    model.forward = lambda ids: torch.cat([forward(row) for row in ids])
    whole = [document_loss(model, tokenizer, each, context=EDGES[-1]) for each in documents]
    assert (found * np.diff(EDGES)).sum() == pytest.approx(sum(loss.nats for loss in whole), rel=1e-6)


def test_models_of_equal_seed_are_paired(documents, monkeypatch):
    position_losses = analysis("position_losses")
    monkeypatch.setattr(position_losses, "load_corpus", lambda: type("Corpus", (), {"test": documents}))
    standard, gauge = shipped_path("standard-small"), shipped_path("gauge-small")
    found = position_losses.by_position(
        {"standard": [standard, gauge], "same": [standard], "swapped": [gauge, standard]}, edges=EDGES
    )
    assert found["seeds"] == {"standard": 2, "same": 1, "swapped": 2}
    assert found["windows"] == 5
    assert found["differences"]["same"] == [[0.0, 0.0, 0.0]] * 3
    for centre, low, high in found["differences"]["swapped"]:
        assert centre == pytest.approx(0, abs=1e-4)  # what one seed gains the other loses
        assert low < 0 < high
