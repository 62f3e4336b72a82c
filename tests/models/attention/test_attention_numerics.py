"""float32 against float64, extreme temperatures, autocast, and what bad input gets."""

import math

import pytest
import torch
from attention_cases import build, group_elements, leaves, relative_error

from rgprobe.errors import BadInput, NumericalRefusal, OptionError
from rgprobe.gaussian import Gaussian, frames
from rgprobe.models import kl_attention
from rgprobe.models.attention import BlockFrames, KeyPrior, PairPrior


def conditioned(n, k, condition, seed, shared=False):
    """Frames of a given condition number, float32: random rotations around logarithmic scales."""
    g = torch.Generator().manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(n, k, k, generator=g))[0] for _ in range(2))
    scales = torch.logspace(0, -math.log10(condition), k)
    u = left @ torch.diag(scales) @ right
    return u[:1].expand(n, k, k).contiguous() if shared else u


@pytest.mark.parametrize("shared", ["each", "all", "pairs"])
@pytest.mark.parametrize("condition", [10.0, 1e3])
@pytest.mark.parametrize("include_self", [True, False])
def test_float32_weights_under_ill_conditioned_frames(shared, condition, include_self):
    n, k = 65, 8
    tensors = [x.detach().float() for x in leaves("full", n, k=k)]
    u = conditioned(n, k, condition, 2, shared == "all")
    if shared == "pairs":  # neighbours share a frame, so that rows have more than one key at finite divergence
        u = u[torch.arange(n) // 4]
    if shared != "each":  # means apart by sigmas of the common frame
        tensors[0] = tensors[0] * 2
    beliefs, values = build("full", tensors), torch.ones(n, k)
    options = {"frames": u, "causal": False, "include_self": include_self, "return_pattern": True}
    _, beta = kl_attention(beliefs, values, **options)
    _, exact = kl_attention(build("full", [x.double() for x in tensors]), values, **options | {"frames": u.double()})
    assert beta.dtype in (torch.float32, torch.float64)
    assert (beta - exact).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["full", "diagonal", "low_rank", "isotropic"])
@pytest.mark.parametrize("group", ["trivial", "so", "gl"])
@pytest.mark.parametrize("apart", [1.0, 10.0])
def test_float32_weights_of_distant_means(kind, group, apart):
    n, k = 63, 8
    tensors = [x.detach().float() for x in leaves(kind, n, k=k)]
    tensors[0] = tensors[0] * apart / math.sqrt(2)  # typical distance per coordinate, and a common offset
    tensors[0] = tensors[0] + 100.0
    elements = group_elements(group, n, k=k)[0]
    u = None if elements is None else elements.detach().float()
    values = torch.ones(n, k)
    _, beta = kl_attention(build(kind, tensors), values, frames=u, causal=False, return_pattern=True)
    double = [x.double() for x in tensors]
    wide = None if u is None else u.double()
    _, exact = kl_attention(build(kind, double), values.double(), frames=wide, causal=False, return_pattern=True)
    assert (beta - exact).abs().max() < 1e-4


def test_ordinary_float32_input_stays_in_float32():
    beliefs = build("full", [x.detach().float() for x in leaves("full", 31, k=4)])
    _, beta = kl_attention(beliefs, torch.ones(31, 4), return_pattern=True)
    assert beta.dtype == torch.float32
    far = Gaussian.from_diagonal(beliefs.mean * 1e4, torch.ones(31, 4))
    assert kl_attention(far, torch.ones(31, 4), return_pattern=True)[1].dtype == torch.float64
    forced = kl_attention(far, torch.ones(31, 4), return_pattern=True, precision=torch.float32)
    assert forced[1].dtype == torch.float32


def test_an_outlier_does_not_spoil_the_others():
    mean = torch.randn(33, 4, generator=torch.Generator().manual_seed(0))
    variance = torch.ones(33, 4)
    mean[0], variance[7] = 1e5, 1e-8
    beliefs = Gaussian.from_diagonal(mean, variance)
    options = {"causal": False, "return_pattern": True}
    _, beta = kl_attention(beliefs, mean, **options, precision=torch.float32)
    _, exact = kl_attention(beliefs, mean, **options, precision=torch.float64)
    ordinary = [i for i in range(33) if i not in (0, 7)]
    assert (beta - exact)[ordinary].abs().max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_narrow_input_are_computed_in_float32(dtype):
    mean = torch.randn(17, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    beliefs = Gaussian.from_diagonal(mean, torch.full((17, 4), 0.5, dtype=dtype))
    with torch.autocast("cpu", dtype=dtype):
        out, beta = kl_attention(beliefs, mean, return_pattern=True)
    wide = Gaussian.from_diagonal(mean.float(), torch.full((17, 4), 0.5))
    expected, pattern = kl_attention(wide, mean.float(), return_pattern=True)
    assert (out.dtype, beta.dtype) == (dtype, torch.float32)
    assert torch.equal(beta, pattern)
    assert torch.equal(out, expected.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kappa", [1e-300, 1e-30, 1e-5])
def test_vanishing_temperature_takes_the_nearest_and_ties_share(dtype, kappa):
    mean = torch.tensor([[0.0], [3.0], [0.0], [1.0], [3.0], [0.0], [2.0]], dtype=dtype)
    beliefs = Gaussian.from_diagonal(mean, torch.full_like(mean, 0.3))
    kappa = 1e-20 if dtype == torch.float64 and kappa == 1e-5 else kappa
    out, beta = kl_attention(beliefs, mean, kappa=kappa, causal=False, include_self=False, return_pattern=True)
    nearest = [[2, 5], [4], [0, 5], [0, 2, 5, 6], [1], [0, 2], [1, 3, 4]]
    for i, keys in enumerate(nearest):
        assert torch.allclose(beta[i, keys].double(), torch.full((len(keys),), 1 / len(keys), dtype=torch.float64))
    assert out.isfinite().all()


@pytest.mark.parametrize("kappa", [1e12, 1e300])
def test_infinite_temperature_is_uniform(kappa):
    beliefs = build("full", [x.detach().float() for x in leaves("full", 9)])
    _, beta = kl_attention(beliefs, torch.ones(9, 3), kappa=kappa, return_pattern=True)
    assert torch.allclose(beta, torch.ones(9, 9).tril() / torch.arange(1, 10)[:, None])


def test_a_cold_head_among_warm_ones():
    beliefs = build("diagonal", [x.detach() for x in leaves("diagonal", 2, 6)])
    values = torch.randn(2, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    kappa = torch.tensor([1e-40, 0.8], dtype=torch.float64, requires_grad=True)
    out = kl_attention(beliefs, values, kappa=kappa)
    assert relative_error(out[1], kl_attention(beliefs[1], values[1], kappa=0.8)) < 1e-12
    assert relative_error(out[0], values[0]) < 1e-12  # each token is nearest to itself
    assert torch.autograd.grad(out.sum(), kappa)[0].isfinite().all()


@pytest.mark.parametrize("kappa", [0.0, -1.0, math.nan, math.inf])
def test_kappa_outside_its_domain(kappa):
    beliefs = build("diagonal", leaves("diagonal", 2, 3))
    for bad in (kappa, torch.tensor([1.0, kappa])):
        with pytest.raises(OptionError, match="kappa"):
            kl_attention(beliefs, beliefs.mean, kappa=bad)


def test_kappa_of_the_wrong_shape():
    beliefs = build("diagonal", leaves("diagonal", 2, 3))
    with pytest.raises(OptionError, match="per head"):
        kl_attention(beliefs, beliefs.mean, kappa=torch.ones(3))


def singular():
    u = torch.eye(3, dtype=torch.float64).repeat(5, 1, 1)
    u[3, 2] = u[3, 0] + u[3, 1]
    u[3, :, 2] = u[3, :, 0]
    return u


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"frames": torch.eye(2).expand(5, 2, 2)}, BadInput, "frames: expected shape"),
        ({"frames": torch.eye(3).expand(4, 3, 3)}, BadInput, "frames: expected shape"),
        ({"frames": torch.full((5, 3, 3), math.nan)}, NumericalRefusal, r"frames\[0\]"),
        ({"frames": singular()}, NumericalRefusal, r"frames\[3\].*invertible"),
        ({"frames": singular().float()}, NumericalRefusal, r"frames\[3\].*invertible"),
        ({"frames": 2 * torch.eye(3).expand(5, 3, 3), "group": "so"}, BadInput, r"frames\[0\].*rotation"),
        ({"frames": [torch.eye(2).expand(5, 2, 2)]}, BadInput, "frames: expected shape"),
        ({"frames": BlockFrames((torch.eye(4).expand(5, 4, 4),))}, BadInput, "frames: expected shape"),
        ({"group": "su"}, OptionError, "group"),
        ({"window": 0}, OptionError, "window"),
        ({"log_prior": torch.zeros(4)}, OptionError, "log_prior"),
        ({"log_prior": torch.tensor([0.0, 0.0, math.nan, 0.0, 0.0])}, NumericalRefusal, r"log_prior\[2\]"),
        ({"log_prior": torch.tensor([0.0, math.inf, 0.0, 0.0, 0.0])}, NumericalRefusal, r"log_prior\[1\]"),
        ({"precision": torch.bfloat16}, OptionError, "precision"),
    ],
)
def test_bad_options(options, error, text):
    beliefs = build("full", leaves("full", 5))
    with pytest.raises(error, match=text):
        kl_attention(beliefs, beliefs.mean, **options)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (torch.ones(4, 3), BadInput),
        (torch.ones(5, 2), BadInput),
        (torch.ones(5, 3, dtype=torch.long), BadInput),
        (torch.full((5, 3), math.nan), NumericalRefusal),
    ],
)
def test_bad_values(values, error):
    beliefs, u = build("full", leaves("full", 5)), torch.eye(3).expand(5, 3, 3)
    with pytest.raises(error, match="values"):
        kl_attention(beliefs, values, frames=u)


def test_a_prior_with_two_meanings_must_say_which():
    beliefs = build("diagonal", leaves("diagonal", 4, 4))
    table = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(OptionError, match="as many heads as tokens"):
        kl_attention(beliefs, beliefs.mean, log_prior=table)
    per_key = kl_attention(beliefs, beliefs.mean, log_prior=KeyPrior(table))
    per_pair = kl_attention(beliefs, beliefs.mean, log_prior=PairPrior(table))
    assert not torch.allclose(per_key, per_pair)


def test_divergences_beyond_float64_are_refused():
    beliefs = Gaussian.from_diagonal(torch.tensor([[1e200], [-1e200]], dtype=torch.float64), torch.ones(2, 1))
    with pytest.raises(NumericalRefusal, match="scores"):
        kl_attention(beliefs, beliefs.mean)


def test_no_pattern_in_memory():
    """The features are all there is: every saved tensor of a causal pass is linear in N."""
    n, sizes = 2000, []
    mean = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    beliefs = Gaussian.from_diagonal(mean, torch.ones(n, 2))

    def record(x):
        sizes.append(x.numel())
        return x

    for options in ({}, {"include_self": False}, {"window": 50}, {"log_prior": torch.zeros(n)}, {"causal": False}):
        with torch.autograd.graph.saved_tensors_hooks(record, lambda x: x):
            kl_attention(beliefs, mean, **options)
    assert max(sizes) < 200 * n


def test_frames_may_come_as_a_list_of_blocks():
    beliefs = build("diagonal", leaves("diagonal", 5))
    phi = torch.randn(5, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    blocks = [frames(phi - phi.mT), torch.full((5, 1, 1), 2.0, dtype=torch.float64)]
    listed = kl_attention(beliefs, beliefs.mean, frames=blocks)
    dense = kl_attention(beliefs, beliefs.mean, frames=BlockFrames(tuple(blocks)).dense())
    assert relative_error(listed, dense) < 1e-12
