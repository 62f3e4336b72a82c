"""Condensed keys and two-way coupling inside the gauge transformer."""

import pytest
import torch
from gauge_models import tiny_gauge

from rgprobe.errors import OptionError
from rgprobe.gaussian import Gaussian, kl
from rgprobe.models import GaugeConfig, GaugeTransformer
from rgprobe.models.gauge.coupling import meta_tokens

FINE = {"condense_chunk": 4, "condense_span": 8, "condense_meta_tokens": 2}
VARIANTS = [
    {},
    {"covariance": "full"},
    {"covariance": "isotropic"},
    {"include_self": True},
    {"values": "means"},
    {"update": "vfe"},
]


def name_of(switches):
    return ",".join(f"{key}={value}" for key, value in switches.items()) or "default"


def some_ids(n, seed=3, rows=2, vocabulary=61):
    return torch.randint(0, vocabulary, (rows, n), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("switches", VARIANTS, ids=name_of)
def test_condensing_is_an_option_of_a_trained_model_and_off_is_the_same_bits(switches):
    model, ids = tiny_gauge(n_ctx=64, **switches), some_ids(61)
    with torch.no_grad():
        before = model(ids)
        model.set_condensation(condense="keys", condense_budget=1e9, **FINE)
        merged = model(ids)
        model.set_condensation(condense_budget=0.0)
        kept = model(ids)
        model.set_condensation(condense="off")
        after = model(ids)
    assert torch.equal(before, after)
    assert torch.equal(before, kept)  # the beliefs of a trained model are all different: every head switches itself off
    assert (merged[:, 16:] - before[:, 16:]).abs().max() > 1e-3
    torch.testing.assert_close(merged[:, :16], before[:, :16], rtol=0, atol=1e-12)


def test_one_token_repeated_without_positions_condenses_without_loss():
    model, ids = tiny_gauge(n_ctx=64, frames="none"), torch.full((1, 61), 7)
    with torch.no_grad():
        expected = model(ids)
        model.set_condensation(condense="keys", condense_budget=0.0, **FINE)
        torch.testing.assert_close(model(ids), expected, rtol=0, atol=1e-10)


def test_every_nth_block():
    model = tiny_gauge(n_layers=3, condense="keys", condense_every=2, **FINE)
    assert [block.attn.condensation is not None for block in model.blocks] == [True, False, True]


COUPLED = {"update": "vfe", "condense": "two-way", "condense_chunk": 4, "condense_span": 8, "condense_meta_tokens": 2}


@pytest.mark.parametrize(
    "switches",
    [
        {"condense": "keys", "condense_budget": 1e9, **FINE},
        COUPLED,
        {**COUPLED, "covariance": "isotropic", "log_prior": False},
    ],
    ids=["keys", "two-way", "two-way, isotropic"],
)
def test_no_logit_depends_on_a_later_token(switches):
    model, ids = tiny_gauge(n_ctx=64, **switches), some_ids(47, rows=1)
    with torch.no_grad():
        whole = model(ids)
        for cut in (3, 4, 5, 17, 24, 25, 31, 46):
            mixed = torch.cat([ids[:, :cut], some_ids(47 - cut, seed=cut, rows=1)], 1)
            torch.testing.assert_close(model(mixed)[:, :cut], whole[:, :cut], rtol=0, atol=1e-11)


def test_no_gradient_of_a_coupled_model_reaches_a_later_token():
    model, ids = tiny_gauge(n_ctx=64, **COUPLED), some_ids(23, rows=1)
    states = []
    model.add_hook("hook_embed", lambda value, hook: states.append(value.detach().requires_grad_()) or states[-1])
    logits = model(ids)
    for place in (3, 4, 11, 15):
        (gradient,) = torch.autograd.grad(logits[:, place].square().sum(), states, retain_graph=True)
        assert (gradient[:, place + 1 :] == 0).all()
        assert (gradient[:, : place + 1].abs().sum(-1) > 0).all()


def test_coupling_adds_a_share_per_head_and_changes_tokens_behind_the_first_chunk():
    coupled, ids = tiny_gauge(n_ctx=64, **COUPLED), some_ids(23)
    alone = tiny_gauge(n_ctx=64, update="vfe")
    added = {name for name, _ in coupled.named_parameters()} - {name for name, _ in alone.named_parameters()}
    assert added == {f"blocks.{block}.descent.top_down" for block in range(len(coupled.blocks))}
    alone.load_state_dict(coupled.state_dict(), strict=False)
    with torch.no_grad():
        difference = (coupled(ids) - alone(ids)).abs().amax((0, 2))
    assert (difference[:4] == 0).all()
    assert (difference[4:] > 1e-6).all()


def test_the_prior_of_a_token_is_what_the_formula_says():
    """One head, two chunks of three tokens, one meta-token each; the reference spells out every divergence."""
    draw = torch.Generator().manual_seed(0)
    mean = torch.randn(7, 2, generator=draw, dtype=torch.float64)
    precision = torch.rand(7, 2, generator=draw, dtype=torch.float64) + 0.5
    natural = torch.cat([precision * mean, precision], -1)
    now = natural + 0.1
    queries = torch.cat([mean, 1 / precision + mean.square(), torch.ones(7, 1, dtype=torch.float64)], -1) / 0.7
    queries[:, -1] = 1.0
    tau = torch.full((1, 1, 1), 1 / 0.7, dtype=torch.float64)
    metas = meta_tokens(natural[None, None], queries[None, None], tau, width=2, chunk=3, count=1)
    share = torch.tensor([0.3], dtype=torch.float64)
    found = metas.prior(natural[None, None], now[None, None], share)[0, 0]
    pools = torch.stack([now[:3].mean(0), now[3:6].mean(0)])
    beliefs = Gaussian.from_diagonal(mean, 1 / precision)
    divergence = torch.stack(
        [kl(beliefs, Gaussian.from_diagonal((p[:2] / p[2:]).expand(7, 2), (1 / p[2:]).expand(7, 2))) for p in pools], -1
    )
    weights = (-divergence / 0.7).softmax(-1)
    torch.testing.assert_close(found[:3], natural[:3])
    torch.testing.assert_close(found[3:6], 0.7 * natural[3:6] + 0.3 * pools[0])
    torch.testing.assert_close(found[6], 0.7 * natural[6] + 0.3 * weights[6] @ pools)


@pytest.mark.parametrize(
    "switches",
    [
        {"condense": "keys", "attention": "uniform"},
        {"condense": "keys", "attention": "dot"},
        {"condense": "two-way"},
        {"condense": "yes"},
        {"condense_every": 0},
    ],
)
def test_options_that_mean_nothing_are_refused(switches):
    with pytest.raises(OptionError, match="condense"):
        tiny_gauge(**switches)


def test_only_condensation_can_be_changed_afterwards():
    model = tiny_gauge()
    with pytest.raises(OptionError, match="n_layers"):
        model.set_condensation(n_layers=3)
    with pytest.raises(OptionError, match="two-way"):
        model.set_condensation(condense="two-way")


def test_a_checkpoint_remembers_how_it_condenses(tmp_path):
    tiny_gauge(condense="keys", **FINE).save_pretrained(tmp_path)
    loaded = GaugeTransformer.from_pretrained(tmp_path)
    assert loaded.cfg.condense == "keys"
    assert loaded.blocks[1].attn.condensation.chunk == 4
    assert GaugeConfig.from_dict(loaded.cfg.to_dict()) == loaded.cfg
