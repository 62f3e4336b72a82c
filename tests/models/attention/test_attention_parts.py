"""The parts a model takes when it skips the records: they equal `kl_attention`, and their gradients hold in float32."""

import math

import pytest
import torch
from attention_cases import build, dense_covariance, dense_frames, group_elements, leaves, relative_error

from rgprobe.errors import BadInput, OptionError
from rgprobe.models import kl_attention
from rgprobe.models.attention import (
    BlockFrames,
    DiagonalCovariance,
    FullCovariance,
    PairPrior,
    RelativePrior,
    Visibility,
    attend,
    attention_features,
    dense_common_frame,
    isotropic_common_frame,
    so3_generators,
    so3_irreps,
)
from rgprobe.models.attention.inverses import frame_inverse, is_rotation, spd_inverse
from rgprobe.models.attention.local_covariance import local_covariance

N, K = 21, 3


def values(*shape, seed=3):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("group", ["trivial", "so", "gl"])
def test_parts_equal_the_whole(group):
    tensors = [x.detach() for x in leaves("full", 2, N)]
    u = dense_frames(group_elements(group, 2, N)[0])
    local = values(2, N, K)
    common = dense_common_frame(tensors[0], FullCovariance(tensors[1]), u, orthogonal=group == "so")
    queries, keys = attention_features(common.blocks, 1 / math.sqrt(K))
    out = common.scatter(attend(queries, keys, common.gather(local), Visibility()))
    assert relative_error(out, kl_attention(build("full", tensors), local, frames=u)) < 1e-12


def test_isotropic_parts_learn_rotations_along_the_group():
    phi = values(N, K, K, seed=5).requires_grad_()
    tensors, local = [x.detach() for x in leaves("isotropic", N)], values(N, K)
    u = torch.linalg.matrix_exp(phi - phi.mT)
    common = isotropic_common_frame(*tensors, u)
    queries, keys = attention_features(common.blocks, 1 / math.sqrt(K))
    out = common.scatter(attend(queries, keys, common.gather(local), Visibility()))
    assert queries.shape[-1] == K + 2
    whole = kl_attention(build("isotropic", tensors), local, frames=u)
    gradients = [torch.autograd.grad(x.square().sum(), phi, retain_graph=True)[0] for x in (out, whole)]
    assert relative_error(out, whole) < 1e-12
    assert relative_error(*gradients) < 1e-11


@pytest.mark.parametrize("kind", ["full", "diagonal"])
@pytest.mark.parametrize("group", ["so", "gl"])
def test_float32_gradients(kind, group):
    def gradients(dtype):
        tensors = [x.detach().to(dtype).requires_grad_() for x in leaves(kind, N)]
        u = group_elements(group, N)[0].detach().to(dtype).requires_grad_()
        covariance = FullCovariance(tensors[1]) if kind == "full" else DiagonalCovariance(tensors[1])
        common = dense_common_frame(tensors[0], covariance, u, orthogonal=group == "so")
        queries, keys = attention_features(common.blocks, 0.5)
        local = values(N, K).to(dtype)
        out = common.scatter(attend(queries, keys, common.gather(local), Visibility()))
        return torch.autograd.grad(out.square().sum(), [*tensors, u])

    if group == "so":  # float64 frames are rotations to rounding; cast to float32 they still are, to its own
        assert is_rotation(dense_frames(group_elements(group, N)[0]).float()).all()
    for narrow, wide in zip(gradients(torch.float32), gradients(torch.float64), strict=True):
        assert relative_error(narrow.double(), wide) < 2e-4


def test_inverses_and_their_second_derivatives():
    root = values(4, K, K)
    matrix = (root @ root.mT + torch.eye(K)).requires_grad_()
    inverse, log_det = spd_inverse(matrix)
    assert relative_error(inverse, torch.linalg.inv(matrix)) < 1e-12
    assert relative_error(log_det, torch.logdet(matrix)) < 1e-12

    def symmetric(x):
        return spd_inverse(x @ x.mT + torch.eye(K))

    assert torch.autograd.gradcheck(symmetric, root.requires_grad_())
    assert torch.autograd.gradgradcheck(symmetric, root)
    frame = dense_frames(group_elements("gl", 4)[0]).detach().requires_grad_()
    assert torch.autograd.gradcheck(frame_inverse, frame)
    assert torch.autograd.gradgradcheck(frame_inverse, frame)
    rotation = dense_frames(group_elements("so", 4)[0]).detach().requires_grad_()
    newton, lu = frame_inverse(rotation, orthogonal=True), frame_inverse(rotation)
    assert relative_error(newton, lu) < 1e-14
    weight = values(4, K, K, seed=8)
    slopes = [torch.autograd.grad((x * weight).sum(), rotation)[0] for x in (newton, lu)]
    assert relative_error(*slopes) < 1e-14
    indefinite = spd_inverse(torch.diag(torch.tensor([1.0, -1.0])))[1]
    assert indefinite.isnan()


def test_one_newton_step_squares_the_error_of_a_guess():
    frame = dense_frames(group_elements("gl", 4)[0]).detach().float()
    exact = torch.linalg.inv(frame.double())
    guess = (exact * (1 + 1e-4 * values(4, K, K))).float()
    assert relative_error(frame_inverse(frame, guess=guess).double(), exact) < 2e-6


@pytest.mark.parametrize("window", [None, 6])
def test_relative_prior_per_head(window):
    heads = 2
    tensors = [x.detach() for x in leaves("diagonal", 3, heads, N)]
    table = values(heads, 2 * N - 1, seed=6)
    options = {"causal": False, "window": window, "log_prior": RelativePrior(table)}
    out = kl_attention(build("diagonal", tensors), values(3, heads, N, 4), **options)
    for head in range(heads):
        alone = kl_attention(
            build("diagonal", [x[1, head] for x in tensors]),
            values(3, heads, N, 4)[1, head],
            **options | {"log_prior": table[head]},
        )
        assert relative_error(out[1, head], alone) < 1e-13


@pytest.mark.parametrize("window", [None, 2, 6])
@pytest.mark.parametrize("include_self", [True, False])
def test_a_prior_per_key_and_one_by_offset_add_up(window, include_self):
    beliefs, local = build("diagonal", [x.detach() for x in leaves("diagonal", N)]), values(N, K)
    key, table = values(N, seed=7), values(2 * N - 1, seed=8)
    key[[0, 4]], table[N] = -torch.inf, -torch.inf
    offset = torch.arange(N)[:, None] - torch.arange(N)
    options = {"window": window, "include_self": include_self}
    out = kl_attention(beliefs, local, log_prior=(key, table), **options)
    whole = kl_attention(beliefs, local, log_prior=PairPrior(key + table[offset + N - 1]), **options)
    assert torch.equal(out.isnan(), whole.isnan())
    assert relative_error(out.nan_to_num(), whole.nan_to_num()) < 1e-12
    with pytest.raises(OptionError, match="at most one"):
        kl_attention(beliefs, local, log_prior=(key, key))


def test_five_dimensions_and_shared_values():
    tensors = [x.detach() for x in leaves("full", 2, 2, 2, 5)]
    out = kl_attention(build("full", tensors), values(5, 7), transport_values=False)
    alone = kl_attention(build("full", [x[1, 0, 1] for x in tensors]), values(5, 7))
    assert out.shape == (2, 2, 2, 5, 7)
    assert relative_error(out[1, 0, 1], alone) < 1e-13


def test_covariance_operators_are_the_matrices():
    for kind in ("full", "diagonal", "low_rank"):
        tensors = leaves(kind, 4)
        operator, matrix = local_covariance(build(kind, tensors), torch.float64), dense_covariance(kind, tensors)
        x = values(4, K, K)
        assert relative_error(operator.covariance_times(x), matrix @ x) < 1e-14
        assert relative_error(operator.precision_times(x), torch.linalg.solve(matrix, x)) < 1e-12


def test_frames_that_are_no_frames():
    with pytest.raises(BadInput, match="at least one block"):
        BlockFrames(())
    with pytest.raises(BadInput, match="block 1"):
        BlockFrames((torch.eye(2)[None], torch.ones(1, 2, 3)))
    with pytest.raises(BadInput, match="three coordinates"):
        so3_irreps(torch.zeros(4, 2), [1])
    with pytest.raises(OptionError, match="spin"):
        so3_generators(-1)
