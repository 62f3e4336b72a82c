"""Logits of random initialisations are made as large as wanted by the gain of the final norm, whatever the norm."""

import pytest
import tiny_models
import torch
from gauge_models import tiny_gauge
from hooked_model import VOCABULARY, HookedTransformer
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.errors import OptionError
from rgprobe.probe.logit_scale import logit_deviation, match_logit_scale

PROMPTS = random_prompts(3, 17, vocabulary=VOCABULARY)
MODELS = {
    "llama": tiny_models.llama,
    "gpt2": tiny_models.gpt2,
    "bert": tiny_models.bert,
    "gauge": lambda: tiny_gauge().float(),
}


def test_the_deviation_is_that_of_all_logits():
    probe = rg.load(tiny_models.llama())
    logits = torch.stack([probe.logits(ids) for ids in PROMPTS]).double()
    assert logit_deviation(probe, PROMPTS) == pytest.approx(
        float(logits.var(-1, correction=0).mean().sqrt()), rel=1e-12
    )


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("times", [0.25, 20.0])
def test_logits_become_as_large_as_wanted(family, times):
    probe = rg.load(MODELS[family]())
    before = probe.logits(PROMPTS[0])
    with probe.randomised(3) as null:
        plain, found = null.logits(PROMPTS[0]), logit_deviation(null, PROMPTS)
        assert match_logit_scale(null, PROMPTS, times * found) == pytest.approx(times, rel=1e-12)
        # every logit is multiplied: nothing else about the null changes
        torch.testing.assert_close(null.logits(PROMPTS[0]), times * plain, rtol=1e-4, atol=1e-5)
    assert torch.equal(probe.logits(PROMPTS[0]), before)


def test_a_gain_that_is_one_more_than_its_weight():
    probe = rg.load(tiny_models.gemma2(final_logit_softcapping=None))
    with probe.randomised(3) as null:
        wanted = 3 * logit_deviation(null, PROMPTS)
        assert match_logit_scale(null, PROMPTS, wanted) == pytest.approx(3)
        assert logit_deviation(null, PROMPTS) == pytest.approx(wanted, rel=1e-3)


def test_capped_logits_that_cannot_follow_are_refused():
    probe = rg.load(tiny_models.gemma2(final_logit_softcapping=0.5))
    with probe.randomised(3) as null, pytest.raises(OptionError, match="logits that follow the gain"):
        match_logit_scale(null, PROMPTS, 5.0)


def test_what_the_final_norm_does_not_scale_is_made_up_for():
    with rg.load(HookedTransformer()).randomised(3) as null:  # a bias behind the unembedding
        assert match_logit_scale(null, PROMPTS, 30.0) > 0
        assert logit_deviation(null, PROMPTS) == pytest.approx(30.0, rel=0.02)


def test_a_model_without_a_final_gain_is_refused_before_anything_runs():
    model = HookedTransformer()
    model.ln_final = torch.nn.Identity()
    with pytest.raises(OptionError, match="ends in a norm with a gain"):
        rg.run(model, PROMPTS, nulls=1, scaled_nulls=True)


def test_logits_that_are_all_alike_cannot_be_scaled():
    model = HookedTransformer()
    with rg.load(model).randomised(3) as null:
        for parameter in null.bridge.unembed.parameters():
            parameter.data.zero_()
        with pytest.raises(OptionError, match="received 0 from"):
            match_logit_scale(null, PROMPTS, 1.0)
