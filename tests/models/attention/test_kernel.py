"""The fused kernel equals the textbook double loop: output, weights and gradients, in float64."""

import pytest
import torch
from attention_cases import GROUPS, KINDS, build, group_elements, leaves, loop, relative_error

from rgprobe.models import kl_attention
from rgprobe.models.attention import KeyPrior, PairPrior, RelativePrior, Visibility

BAR = 1e-10


def both_ways(kind, group, n, *, k=3, gradients=True, seed=0, kappa=1.0, log_prior=None, prior=None, **options):
    """Kernel and loop on the same leaves: pairs of (output, weights, gradients)."""
    tensors = leaves(kind, n, k=k, seed=seed)
    elements, phi = group_elements(group, n, k=k, seed=seed + 1)
    values = torch.randn(n, k, generator=torch.Generator().manual_seed(9), dtype=torch.float64).requires_grad_()
    extra = [x for x in (kappa, log_prior) if isinstance(x, torch.Tensor) and x.requires_grad]
    inputs = [*tensors, *phi, values, *extra]
    rule = Visibility(**{key: options[key] for key in ("causal", "include_self", "window") if key in options})
    carried = options.get("transport_values", True)
    fast = kl_attention(
        build(kind, tensors), values, frames=elements, kappa=kappa, log_prior=log_prior, return_pattern=True, **options
    )
    slow = loop(kind, tensors, values, elements, rule=rule, kappa=kappa, prior=prior, transport_values=carried)
    results = []
    for out, beta in (fast, slow):
        probe = torch.linspace(0.5, 2.0, out.numel(), dtype=out.dtype).reshape(out.shape)
        probe = torch.where(out.isnan(), 0.0, probe)
        score = (torch.nan_to_num(out) * probe).sum()
        grads = ()
        if gradients:  # the loop's rows without keys are constants
            known = score.requires_grad
            grads = torch.autograd.grad(score, inputs, retain_graph=True, allow_unused=True) if known else (None,) * 9
        results.append((out, beta, grads))
    return results


def assert_equal(fast, slow):
    for got, expected in ((fast[0], slow[0]), (fast[1], slow[1])):
        assert torch.equal(got.isnan(), expected.isnan())
        assert relative_error(torch.nan_to_num(got), torch.nan_to_num(expected)) < BAR
    size = max((g.abs().max().item() for g in slow[2] if g is not None), default=0.0)
    for got, expected in zip(fast[2], slow[2], strict=False):
        if expected is None:
            assert got is None or got.abs().max() <= BAR * size
        else:
            assert relative_error(got, expected) < BAR or (got - expected).abs().max() < 1e-13 * size


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_structure_under_every_group(kind, group):
    assert_equal(*both_ways(kind, group, 7, k=4 if group in ("blocks", "irreps") else 3, causal=kind != "diagonal"))


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("include_self", [True, False])
def test_shortest_sequences(n, include_self):
    assert_equal(*both_ways("full", "gl", n, include_self=include_self))


@pytest.mark.parametrize(("kind", "group"), [("full", "gl"), ("low_rank", "so")])
def test_sixty_three_tokens(kind, group):
    assert_equal(*both_ways(kind, group, 63, k=2))


def test_a_hundred_and_twenty_eight_tokens():
    assert_equal(*both_ways("diagonal", "so", 128, k=2, gradients=False))


@pytest.mark.parametrize("window", [1, 2, 5, 64])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("include_self", [True, False])
def test_windowed_attention_equals_the_loop(window, causal, include_self):
    options = {"window": window, "causal": causal, "include_self": include_self}
    assert_equal(*both_ways("diagonal", "trivial", 11, k=1, **options))


@pytest.mark.parametrize("causal", [True, False])
def test_window_over_several_blocks(causal):
    tensors = leaves("full", 2, 3, 101, k=2)
    values = torch.randn(101, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    beliefs = build("full", [x.detach() for x in tensors])
    prior = RelativePrior(lambda offset: -0.1 * offset.abs().double())
    out, beta = kl_attention(beliefs, values, window=9, causal=causal, log_prior=prior, return_pattern=True)
    assert relative_error(out, beta @ values) < 1e-13
    bias = prior.at(torch.arange(101)[:, None] - torch.arange(101), 101)
    whole = kl_attention(beliefs, values, causal=causal, log_prior=PairPrior(bias), window=9)
    assert relative_error(out, whole) < 1e-13


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 3])
def test_attention_without_self_equals_the_loop(causal, window):
    assert_equal(*both_ways("full", "so", 6, causal=causal, include_self=False, window=window))


def test_values_left_where_they_are():
    assert_equal(*both_ways("full", "gl", 6, transport_values=False))


def offsets(n):
    return torch.arange(n)[:, None] - torch.arange(n)


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("form", ["key", "relative", "distance", "function", "pair"])
def test_priors_and_their_gradients(form, window):
    n = 7
    g = torch.Generator().manual_seed(4)
    size = {"key": (n,), "relative": (2 * n - 1,), "distance": (n,), "function": (n,), "pair": (n, n)}[form]
    table = torch.randn(size, generator=g, dtype=torch.float64).requires_grad_()
    given, dense = {
        "key": (table, lambda: table.expand(n, n)),
        "relative": (table, lambda: table[offsets(n) + n - 1]),
        "distance": (RelativePrior(table), lambda: table[offsets(n).abs()]),
        "function": (lambda offset: table[offset.abs().clamp(max=n - 1)], lambda: table[offsets(n).abs()]),
        "pair": (table, lambda: table),
    }[form]
    fast, slow = both_ways("full", "gl", n, causal=False, window=window, log_prior=given, prior=dense())
    if form in ("distance", "function"):
        fast_table = torch.autograd.grad(fast[0].square().sum(), table)[0]
        slow_table = torch.autograd.grad(slow[0].square().sum(), table)[0]
        assert relative_error(fast_table, slow_table) < BAR
    assert_equal(fast, slow)


def test_temperature_is_learnable():
    assert_equal(*both_ways("full", "so", 6, kappa=torch.tensor(0.7, dtype=torch.float64, requires_grad=True)))


def test_temperature_and_prior_per_head():
    heads, n, k = 3, 5, 3
    tensors = [x.detach() for x in leaves("full", heads, n, k=k)]
    elements, _ = group_elements("gl", heads, n, k=k)
    values = torch.randn(heads, n, k, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    kappa = torch.tensor([0.3, 1.0, 4.0], dtype=torch.float64)
    prior = torch.randn(heads, n, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    pair = prior.unsqueeze(-2).expand(heads, n, n)
    fast = kl_attention(
        build("full", tensors), values, frames=elements, kappa=kappa, log_prior=prior, return_pattern=True
    )
    slow = loop("full", tensors, values, elements, kappa=kappa, prior=pair)
    for got, expected in zip(fast, slow, strict=True):
        assert relative_error(got, expected) < BAR


def test_leading_dimensions_broadcast():
    tensors = [x.detach() for x in leaves("diagonal", 2, 3, 5)]
    elements, _ = group_elements("so", 1, 3, 5)
    values = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    both = kl_attention(build("diagonal", tensors), values, frames=elements)
    one = kl_attention(build("diagonal", [x[1, 2] for x in tensors]), values, frames=elements[0, 2])
    assert both.shape == (2, 3, 5, 3)
    assert relative_error(both[1, 2], one) < 1e-13


def test_wide_and_narrow_values_equal_pattern_times_values():
    beliefs = build("diagonal", leaves("diagonal", 2, 9))
    for width in (1, 7, 40):
        values = torch.randn(2, 9, width, dtype=torch.float64, generator=torch.Generator().manual_seed(width))
        out, beta = kl_attention(beliefs, values, return_pattern=True)
        assert relative_error(out, beta @ values) < 1e-13


def test_second_derivatives():
    tensors = leaves("full", 3, k=2)
    u, phi = group_elements("gl", 3, k=2)
    values = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()

    def attention(mean, root, u, values):
        beliefs = build("full", [mean, root @ root.mT + torch.eye(2, dtype=root.dtype)])
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return kl_attention(beliefs, values, frames=u, causal=False)

    assert torch.autograd.gradgradcheck(attention, (tensors[0], tensors[1], u, values))
    assert phi


def test_hidden_keys_get_nothing_and_rows_without_keys_are_nan():
    tensors = leaves("full", 4)
    prior = torch.tensor([-torch.inf, 0.0, -torch.inf, 0.5], dtype=torch.float64, requires_grad=True)
    values = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    for log_prior in (prior, KeyPrior(prior)):
        beliefs = build("full", tensors)
        out, beta = kl_attention(beliefs, values, log_prior=log_prior, return_pattern=True)
        assert out.isnan().all(-1).tolist() == beta.isnan().all(-1).tolist() == [True, False, False, False]
        assert (beta[1:, [0, 2]] == 0).all()
        grads = torch.autograd.grad(out[1:].sum() + beta[1:].square().sum(), [*tensors, values, prior])
        assert all(g.isfinite().all() for g in grads)
    inside = kl_attention(beliefs, values, log_prior=prior, window=2)
    assert inside.isnan().all(-1).tolist() == [True, False, False, False]
    short = kl_attention(beliefs, values, log_prior=prior, window=1)
    assert short.isnan().all(-1).tolist() == [True, False, True, False]
