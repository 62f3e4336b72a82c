"""Networks that were never trained, whose logits were made large: claims about predictions do not hold of them."""

import numpy as np
import pytest
import tiny_models
import torch
from measured_page import analysis

import rgprobe as rg

GAIN = 12.0
PROMPTS = [row.tolist() for row in tiny_models.random_prompts(20, 17)]


@pytest.fixture(scope="module")
def found():
    model = tiny_models.llama()
    with torch.no_grad():
        model.model.norm.weight.mul_(GAIN)
    return analysis("scale_matched").measure(rg.load(model), PROMPTS, nulls=5)


def test_gains_are_what_was_planted(found):
    np.testing.assert_allclose(found["gains"], GAIN, rtol=0.2)


def test_no_claim_holds_of_a_random_network_with_large_logits(found):
    assert len(found["claims"]) == 4
    assert [row["verdict"] for row in found["claims"] if row["verdict"].startswith("holds")] == []
