import math

import pytest
import torch
from torch import nn

from rgprobe.models.corpus import Document
from rgprobe.models.evaluation import Loss, document_loss
from rgprobe.models.standard import build_standard
from rgprobe.models.tokenizer import BOS_ID, encode, train_tokenizer

DOCUMENT = Document("verse", "Tell me where is fancy bred, or in the heart or in the head? " * 5)
TOKENIZER = train_tokenizer([DOCUMENT.text], vocabulary=270)


class Uniform(nn.Module):
    """Every token is equally likely: the loss is ln V exactly."""

    def forward(self, ids):
        return torch.zeros(*ids.shape, 270)


@torch.no_grad()
def reference_loss(model, ids, context):
    """One token at a time, from the definition."""
    total = 0.0
    for index, target in enumerate(ids):
        start = index - index % context
        prefix = torch.tensor([[BOS_ID, *ids[start:index]]])
        total -= float(model(prefix)[0, -1].double().log_softmax(-1)[target])
    return total


def test_uniform_model_costs_log_vocabulary():
    loss = document_loss(Uniform(), TOKENIZER, DOCUMENT, context=16)
    assert loss.nats_per_token == pytest.approx(math.log(270), rel=1e-12)
    assert loss.characters == len(DOCUMENT.text)
    assert loss.bits_per_character == pytest.approx(loss.nats / loss.characters / math.log(2), rel=1e-12)


@pytest.mark.parametrize("context", [7, 16, 500])
@pytest.mark.parametrize("batch", [1, 3])
def test_batched_windows_equal_the_definition(context, batch):
    torch.manual_seed(0)
    model = build_standard(vocabulary=270, context=500, layers=2, width=16, heads=2).double()
    ids = encode(TOKENIZER, DOCUMENT.text)
    loss = document_loss(model, TOKENIZER, DOCUMENT, context=context, batch=batch)
    assert loss.tokens == len(ids)
    assert loss.nats == pytest.approx(reference_loss(model, ids, context), rel=1e-12)


def test_losses_add():
    assert Loss(1.0, 2, 3) + Loss(4.0, 5, 6) == Loss(5.0, 7, 9)
