"""Training on a known process: what it reaches, that it repeats, and what the batches are."""

import numpy as np
import pytest
import torch
from torch import nn

from rgprobe.errors import OptionError
from rgprobe.models.sequence_training import FIRST_ID, batch_seed, sequence_ids, train_on_sequences, untrained
from rgprobe.models.tokenizer import BOS_ID, PAD_ID

SIZES = {"layers": 1, "width": 16, "heads": 2, "batch": 16, "steps": 80, "warmup": 5, "learning_rate": 1e-2}


def alternating(rows, seed):
    """0 1 0 1 ... or 1 0 1 0 ...: one bit at the first token, none afterwards."""
    start = np.random.default_rng(seed).integers(2, size=(rows, 1))
    return (start + np.arange(6)) % 2


def test_ids_leave_the_reserved_ones_alone():
    ids = sequence_ids(np.array([[0, 1, 4]]))
    assert ids.tolist() == [[BOS_ID, FIRST_ID, FIRST_ID + 1, FIRST_ID + 4]]
    assert {BOS_ID, PAD_ID} == set(range(FIRST_ID))


@pytest.mark.parametrize("family", ["standard", "gauge"])
def test_training_reaches_the_entropy_of_the_process(family):
    model = train_on_sequences(alternating, vocabulary=2, length=6, family=family, **SIZES)
    ids = sequence_ids(np.array([[0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 1, 0]]))
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model(ids[:, :-1]).transpose(1, 2), ids[:, 1:], reduction="none").mean(0)
    # one bit, then nothing
    assert abs(float(loss[0]) - np.log(2)) < 0.05
    assert float(loss[1:].max()) < 0.1


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    few = {**SIZES, "steps": 3}
    first, second, other = (
        dict(train_on_sequences(alternating, vocabulary=2, length=6, **few, seed=seed).named_parameters())
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert torch.equal(torch.rand(2), expected)


def test_every_step_has_sequences_of_its_own():
    seen = []

    def draw(rows, seed):
        seen.append(seed)
        return alternating(rows, seed)

    train_on_sequences(draw, vocabulary=2, length=6, **{**SIZES, "steps": 4}, seed=5)
    assert seen == [batch_seed(5, step) for step in range(4)]
    assert len(set(seen)) == 4


def test_the_untrained_model_is_where_training_starts():
    start = untrained(vocabulary=2, length=6, layers=1, width=16, heads=2, seed=7)

    def draw(rows, seed):
        return alternating(rows, seed)

    still = {**SIZES, "steps": 1, "learning_rate": 1e-12, "warmup": 0, "weight_decay": 0.0}
    model = train_on_sequences(draw, vocabulary=2, length=6, **still, seed=7)
    kept = dict(model.named_parameters())
    for name, parameter in start.named_parameters():
        torch.testing.assert_close(kept[name], parameter, atol=1e-9, rtol=0)


def test_an_unknown_family_is_refused():
    with pytest.raises(OptionError, match="--family"):
        train_on_sequences(alternating, vocabulary=2, length=6, family="mamba", **SIZES)
