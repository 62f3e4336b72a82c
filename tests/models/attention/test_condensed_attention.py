"""Condensed attention against flat attention: equal where keys are equal, within its bound elsewhere, causal everywhere."""

import math

import pytest
import torch

from rgprobe.errors import OptionError
from rgprobe.gaussian import Gaussian
from rgprobe.models import kl_attention
from rgprobe.models.attention import Visibility, attend
from rgprobe.models.attention.condensed import Condensation, condensed_attend, divergence_bound
from rgprobe.models.attention.condensed.attending import active_keys
from rgprobe.models.attention.condensed.clusters import cluster
from rgprobe.models.attention.condensed.cover import covers, span_weights, spans_before
from rgprobe.models.attention.condensed.meta_keys import members_as_meta_keys, merge_keys
from rgprobe.models.attention.condensed.tree import grow

FINE = {"chunk": 8, "span": 16, "meta_tokens": 4}
SIZES = (33, 40, 63, 97, 200)


def problem(n, *, heads=2, width=5, dim=3, distinct=None, batch=1, seed=0):
    """Features whose last query feature is 1; `distinct` different keys at most."""
    draw = torch.Generator().manual_seed(seed)
    queries = torch.randn(batch, heads, n, width, generator=draw, dtype=torch.float64)
    queries[..., -1] = 1.0
    keys = torch.randn(batch, heads, n, width, generator=draw, dtype=torch.float64)
    if distinct is not None:
        which = torch.randint(distinct, (n,), generator=draw)
        keys = keys[..., which, :]
    values = torch.randn(batch, heads, n, dim, generator=draw, dtype=torch.float64)
    return queries, keys, values


def flat(queries, keys, values):
    return attend(queries, keys, values, Visibility())


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("distinct", [1, 3, 4])
def test_equal_keys_merge_without_loss_at_budget_0(n, distinct):
    parts = problem(n, distinct=distinct)
    out = condensed_attend(*parts, Condensation(budget=0.0, **FINE))
    torch.testing.assert_close(out, flat(*parts), rtol=0, atol=1e-12)


def test_equal_keys_are_indeed_condensed():
    queries, keys, values = (x[0] for x in problem(200, distinct=4))
    options = Condensation(budget=0.0, **FINE)
    last = 200 // options.chunk
    tree = grow(queries, keys, values, options, spans_before(last, options))
    chunks = range(last, last + 1)
    found = covers(tree, span_weights(queries, keys, tree, chunks, options), chunks, options)[0]
    assert spans_before(last, options) == 12
    assert [active_keys(cover, options) for cover in found] == [8, 8]  # 12 spans: a node of 8 and one of 4


@pytest.mark.parametrize("n", SIZES)
def test_different_keys_are_left_alone_at_budget_0_bit_for_bit(n):
    parts = problem(n)
    assert torch.equal(condensed_attend(*parts, Condensation(budget=0.0, **FINE)), flat(*parts))


@pytest.mark.parametrize("n", [1, 7, 32])
def test_what_is_no_longer_than_the_lead_is_flat_bit_for_bit(n):
    parts = problem(n)
    assert torch.equal(condensed_attend(*parts, Condensation(budget=1e9, **FINE)), flat(*parts))


def test_heads_are_switched_off_one_by_one():
    queries, keys, values = problem(120, heads=3)
    keys[:, 1] = keys[:, 1, :1]
    out, expected = (
        condensed_attend(queries, keys, values, Condensation(budget=0.0, **FINE)),
        flat(queries, keys, values),
    )
    assert torch.equal(out[:, [0, 2]], flat(queries[:, [0, 2]], keys[:, [0, 2]], values[:, [0, 2]]))
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("refine", [True, False])
@pytest.mark.parametrize("budget", [0.05, 0.5, 1e9])
def test_no_output_depends_on_a_later_token(budget, refine):
    """Every later query, key and value is replaced, and clusters, budgets and covers with them."""
    options = Condensation(budget=budget, refine=refine, **FINE)
    queries, keys, values = problem(150, seed=1)
    keys = 0.3 * keys
    others = problem(150, seed=2)
    whole = condensed_attend(queries, keys, values, options)
    for cut in (33, 64, 65, 100, 127, 128, 149):
        mixed = (
            torch.cat([x[..., :cut, :], y[..., cut:, :]], -2)
            for x, y in zip((queries, keys, values), others, strict=True)
        )
        torch.testing.assert_close(
            condensed_attend(*mixed, options)[..., :cut, :], whole[..., :cut, :], rtol=0, atol=1e-13
        )


def test_gradients_reach_no_later_token_and_every_earlier_one():
    options = Condensation(budget=1e9, **FINE)
    parts = [x.requires_grad_() for x in problem(100)]
    out = condensed_attend(*parts, options)
    for place in (40, 79, 80, 99):
        gradients = torch.autograd.grad(out[..., place, :].square().sum(), parts, retain_graph=True)
        for gradient in gradients:
            assert (gradient[..., place + 1 :, :] == 0).all()
        assert (gradients[1][..., : place + 1, :].abs().sum(-1) > 0).all()
        assert (gradients[2][..., : place + 1, :].abs().sum(-1) > 0).all()


def test_gradients_are_those_of_flat_attention_where_keys_are_equal():
    options = Condensation(budget=0.0, **FINE)
    found, expected = [], []
    for attention, gradients in ((lambda *x: condensed_attend(*x, options), found), (flat, expected)):
        parts = [x.requires_grad_() for x in problem(100, distinct=3)]
        of_queries, of_values = torch.autograd.grad(attention(*parts).sin().sum(), (parts[0], parts[2]))
        gradients += [of_queries[..., :-1], of_values]  # the last feature is the constant 1
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def one_level(seed, spread, n=60, count=6):
    """Clusters of all keys by `cluster`, for queries that see everything."""
    queries, keys, values = (x[0] for x in problem(n, seed=seed))
    keys = spread * keys
    scores = keys @ queries.mT / math.sqrt(n)
    labels = cluster(scores, count)
    meta = merge_keys(members_as_meta_keys(keys, values), labels, count, scores)
    centre = meta.keys.gather(1, labels.unsqueeze(-1).expand_as(keys))
    radius = (keys - centre).norm(dim=-1).new_zeros(len(keys), count)
    radius = radius.scatter_reduce(1, labels, (keys - centre).norm(dim=-1), "amax")
    return queries, keys, values, labels, meta, radius


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("spread", [0.03, 0.1, 0.3, 1.0])
def test_the_bounds_hold(seed, spread):
    queries, keys, values, labels, meta, radius = one_level(seed, spread)
    meta_scores = queries @ meta.biased_keys().mT
    per_member = (meta_scores - meta.log_size.unsqueeze(1)).gather(
        -1, labels.unsqueeze(1).expand(-1, queries.shape[1], -1)
    )
    condensed, weights = per_member.softmax(-1), (queries @ keys.mT).softmax(-1)
    divergence = (condensed * (condensed.log() - weights.log())).sum(-1)
    free_energies = (queries @ keys.mT).logsumexp(-1) - meta_scores.logsumexp(-1)
    torch.testing.assert_close(divergence, free_energies, rtol=0, atol=1e-12)
    assert (divergence <= divergence_bound(queries, meta_scores, radius) + 1e-12).all()
    out, expected = meta_scores.softmax(-1) @ meta.values, weights @ values
    torch.testing.assert_close(out, condensed @ values, rtol=0, atol=1e-12)
    diameter = torch.cdist(values, values).amax((-2, -1)).unsqueeze(-1)
    assert ((out - expected).norm(dim=-1) <= diameter * (divergence / 2).sqrt() + 1e-12).all()


def test_the_loss_is_the_divergence_to_second_order():
    queries, keys, _, _, meta, _ = one_level(0, 0.01)
    meta_scores = queries @ meta.biased_keys().mT
    divergence = (queries @ keys.mT).logsumexp(-1) - meta_scores.logsumexp(-1)
    estimate = (meta_scores.softmax(-1).mean(-2) * meta.loss).sum(-1)
    torch.testing.assert_close(divergence.mean(-1), estimate, rtol=0.01, atol=0)


def test_merging_in_two_steps_is_merging_in_one():
    _, keys, values = (x[0] for x in problem(24))
    nothing = torch.zeros_like(keys[..., :1])
    members = members_as_meta_keys(keys, values)
    labels = (torch.arange(24) % 6).expand(2, -1)
    once = merge_keys(members, labels % 3, 3, nothing)
    twice = merge_keys(merge_keys(members, labels, 6, nothing), (torch.arange(6) % 3).expand(2, -1), 3, nothing[:, :6])
    for one, other in zip(vars(once).values(), vars(twice).values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_a_smaller_budget_comes_closer():
    queries, keys, values = problem(400, heads=4)
    keys = 0.25 * keys
    expected = flat(queries, keys, values)
    options = [Condensation(budget=budget, chunk=8, span=32, meta_tokens=8) for budget in (1e9, 0.05, 0.03, 0.0)]
    errors = [(condensed_attend(queries, keys, values, one) - expected).norm().item() for one in options]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[1] > errors[2] > 0 == errors[3]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("budget", -1.0),
        ("budget", math.nan),
        ("budget", math.inf),
        ("chunk", 0),
        ("span", 12),
        ("meta_tokens", 5),
        ("meta_tokens", 0),
    ],
)
def test_values_outside_their_domain_are_refused(field, value):
    with pytest.raises(OptionError, match=field):
        Condensation(**{**FINE, field: value})


def structured(kind, n=70, k=3, distinct=4):
    draw = torch.Generator().manual_seed(3)
    mean = torch.randn(distinct, k, generator=draw, dtype=torch.float64)
    which = torch.randint(distinct, (2, n), generator=draw)
    if kind == "diagonal":
        return Gaussian.from_diagonal(
            mean[which], torch.rand(distinct, k, generator=draw, dtype=torch.float64)[which] + 0.5
        )
    root = torch.randn(distinct, k, k, generator=draw, dtype=torch.float64)
    return Gaussian.from_covariance(mean[which], (root @ root.mT + torch.eye(k, dtype=torch.float64))[which])


@pytest.mark.parametrize("kind", ["diagonal", "full"])
@pytest.mark.parametrize("kappa", [0.5, 2.0])
def test_equal_beliefs_condense_in_kl_attention(kind, kappa):
    beliefs, values = structured(kind), torch.randn(2, 70, 3, dtype=torch.float64)
    prior = beliefs.mean[..., 0]
    expected = kl_attention(beliefs, values, kappa=kappa, log_prior=prior)
    out = kl_attention(beliefs, values, kappa=kappa, log_prior=prior, condense=Condensation(budget=0.0, **FINE))
    assert not torch.equal(out, expected)  # another way to the same number
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "switches",
    [
        {"causal": False},
        {"include_self": False},
        {"window": 5},
        {"log_prior": lambda offset: -offset.abs().double()},
        {"log_prior": torch.zeros(70, 70, dtype=torch.float64)},
        {"return_pattern": True},
    ],
)
def test_what_meta_keys_cannot_do_is_refused(switches):
    beliefs, values = structured("diagonal"), torch.randn(2, 70, 3, dtype=torch.float64)
    with pytest.raises(OptionError, match="condense"):
        kl_attention(beliefs, values, condense=Condensation(**FINE), **switches)
