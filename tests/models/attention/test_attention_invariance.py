"""Gauge invariance, flat holonomy and the dot-product limit."""

import math

import pytest
import torch
from attention_cases import build, dense_covariance, dense_frames, group_elements, leaves, relative_error

from rgprobe.gaussian import Gaussian, frames, kl
from rgprobe.models import kl_attention
from rgprobe.models.attention import so3_generators, so3_irreps


def sequence(kind="full", group="gl", n=9, k=3):
    tensors = [x.detach() for x in leaves(kind, 2, n, k=k)]
    u = dense_frames(group_elements(group, 2, n, k=k)[0]).detach()
    values = torch.randn(2, n, k, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    return tensors, u, values


def act(h, tensors, u, values):
    """Beliefs, frames and values with h acting on each token."""
    covariance = h @ dense_covariance("full", tensors) @ h.mT
    moved = [(h @ tensors[0].unsqueeze(-1)).squeeze(-1), 0.5 * (covariance + covariance.mT)]
    return moved, h @ u, (h @ values.unsqueeze(-1)).squeeze(-1)


@pytest.mark.parametrize("group", ["so", "gl"])
@pytest.mark.parametrize("common", [False, True])
def test_a_change_of_gauge_changes_nothing(group, common):
    tensors, u, values = sequence(group=group)
    phi = 0.7 * torch.randn(9, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    h = frames(phi[:1] if common else phi, group="gl").expand(2, 9, 3, 3)
    out, beta = kl_attention(build("full", tensors), values, frames=u, return_pattern=True)
    moved, moved_u, moved_values = act(h, tensors, u, values)
    after = kl_attention(build("full", moved), moved_values, frames=moved_u, return_pattern=True)
    assert relative_error(after[1], beta) < 1e-10
    assert relative_error(after[0], (h @ out.unsqueeze(-1)).squeeze(-1)) < 1e-10


def test_one_frame_for_all_tokens_is_no_frame():
    tensors, u, values = sequence()
    shared = u[:, :1].expand_as(u)
    carried = kl_attention(build("full", tensors), values, frames=shared)
    assert relative_error(carried, kl_attention(build("full", tensors), values)) < 1e-10


def test_flat_holonomy():
    _, u, _ = sequence(n=3)
    a, b, c = u[0]
    loop = (a @ b.inverse()) @ (b @ c.inverse()) @ (c @ a.inverse())
    assert (loop - torch.eye(3)).abs().max() < 1e-12
    # the kernel transports flatly: values that are one common vector come back as that vector in each frame
    tensors, u, _ = sequence()
    common = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    out = kl_attention(build("full", tensors), u @ common, frames=u)
    assert relative_error(out, u @ common) < 1e-12


@pytest.mark.parametrize("free", [False, True], ids=["isotropic form", "full form"])
def test_isotropic_beliefs_under_rotations_are_dot_product_attention(free):
    n, k, variance, kappa = 63, 5, 1.7, 0.6
    g = torch.Generator().manual_seed(8)
    mean = torch.randn(n, k, generator=g, dtype=torch.float64)
    phi = torch.randn(n, k, k, generator=g, dtype=torch.float64)
    u = frames(phi - phi.mT).requires_grad_(free)
    beliefs = Gaussian.from_diagonal(mean, torch.full((n, 1), variance, dtype=torch.float64).expand(n, k))
    _, beta = kl_attention(beliefs, mean, frames=u, kappa=kappa, causal=False, return_pattern=True)
    common = (u.mT @ mean.unsqueeze(-1)).squeeze(-1)
    tau = kappa * math.sqrt(k)
    scores = (common @ common.T - 0.5 * mean.square().sum(-1)) / (variance * tau)
    assert relative_error(beta, scores.softmax(-1)) < 1e-12


def test_weights_are_those_of_the_measured_divergence():
    tensors, _, values = sequence()
    p = build("full", [x[0] for x in tensors])
    _, beta = kl_attention(p, values[0], causal=False, kappa=0.5, return_pattern=True)
    divergence = kl(p[:, None], p[None])
    assert relative_error(beta, (-divergence / (0.5 * math.sqrt(3))).softmax(-1)) < 1e-10


@pytest.mark.parametrize("spin", [0, 1, 2, 3])
def test_spin_representations(spin):
    x, y, z = so3_generators(spin)
    for a, b, c in ((x, y, z), (y, z, x), (z, x, y)):
        assert (a @ b - b @ a - c).abs().max() < 1e-13
    casimir = -(x @ x + y @ y + z @ z)
    assert (casimir - spin * (spin + 1) * torch.eye(2 * spin + 1)).abs().max() < 1e-12
    turn = so3_irreps(torch.tensor([[0.0, 0.0, 2 * math.pi]], dtype=torch.float64), [spin]).blocks[0]
    assert (turn - torch.eye(2 * spin + 1)).abs().max() < 1e-12


def test_spin_one_turns_vectors():
    quarter = so3_irreps(torch.tensor([[0.0, 0.0, math.pi / 2]], dtype=torch.float64), [1]).blocks[0][0]
    # basis (y, z, x): a quarter turn about z carries x to y
    x_axis = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert torch.allclose(quarter @ x_axis, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64), atol=1e-14)
