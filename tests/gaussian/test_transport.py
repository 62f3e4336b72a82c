"""Gauge frames: group laws, pushforward, and transport in one common frame against the double loop."""

import mpmath
import pytest
import torch
from gaussian_cases import exact, generator, normal, random_beliefs, rotated, spectrum, symmetric
from hypothesis import given, settings
from hypothesis import strategies as st

from rgprobe.errors import BadInput, NumericalRefusal, OptionError
from rgprobe.gaussian import Gaussian, frames, kl, pairwise_kl, pushforward, to_common_frame
from rgprobe.gaussian.reference import transported_kl_loop


def skew(g, *shape):
    x = normal(g, *shape)
    return x - x.mT


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 9), group=st.sampled_from(["so", "gl"]))
def test_exponential_of_minus_is_the_inverse(seed, k, group):
    g = generator(seed)
    phi = (skew(g, 3, k, k) if group == "so" else normal(g, 3, k, k)) / k**0.5
    u, back = frames(phi, group), frames(-phi, group)
    scale = torch.linalg.matrix_norm(u, 2) * torch.linalg.matrix_norm(back, 2)
    gap = (u @ back - torch.eye(k).double()).abs().amax((-2, -1))
    assert (gap <= 1e-13 * scale).all()
    if group == "so":
        torch.testing.assert_close(u @ u.mT, torch.eye(k).double().expand(3, k, k), rtol=0, atol=1e-13)
        torch.testing.assert_close(torch.linalg.det(u), torch.ones(3).double(), rtol=0, atol=1e-12)


def test_coordinates_fill_the_lower_triangle_row_by_row():
    c = torch.tensor([[0.1, 0.2, 0.3], [0.0, -1.0, 2.0]]).double()
    phi = torch.zeros(2, 3, 3).double()
    phi[:, 1, 0], phi[:, 2, 0], phi[:, 2, 1] = c.unbind(-1)
    assert torch.equal(frames(c, coordinates=True), frames(phi - phi.mT))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_frames_keep_the_dtype(dtype):
    phi = normal(generator(1), 4, 3, 3) / 3
    u = frames(phi.to(dtype), "gl")
    assert u.dtype == dtype
    torch.testing.assert_close(
        u.double(), frames(phi.to(dtype).double(), "gl"), rtol=0, atol=4 * torch.finfo(dtype).eps
    )


@pytest.mark.parametrize("group", ["so", "gl"])
@pytest.mark.parametrize(("n", "k"), [(1, 2), (5, 3), (7, 9)])
def test_common_frame_equals_transport_of_every_pair(group, n, k):
    g = generator(n * k)
    u = frames((skew(g, n, k, k) if group == "so" else normal(g, n, k, k)) / k, group)
    p = random_beliefs(n + k, n, k=k)
    fast, slow = pairwise_kl(to_common_frame(p, u)), transported_kl_loop(p, u)
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("group", ["so", "gl"])
@pytest.mark.parametrize("condition", [1e3, 1e8])
def test_a_common_map_costs_near_equal_beliefs_no_digits(group, condition):
    k = 7
    g = generator(3)
    base = rotated(g, spectrum(k, condition))
    root = torch.linalg.cholesky(base)
    near = symmetric(root @ (torch.eye(k).double() + 1e-6 * symmetric(normal(g, k, k))) @ root.mT)
    p, q = (Gaussian.from_covariance(torch.zeros(k).double(), x) for x in (near, base))
    u = frames(skew(g, k, k) if group == "so" else normal(g, k, k) / 2, group)
    expected = kl(p, q)
    torch.testing.assert_close(kl(to_common_frame(p, u), to_common_frame(q, u)), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(kl(pushforward(p, u), pushforward(q, u)), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e6])
def test_a_common_frame_of_any_condition_matches_60_digits(condition):
    """The inverse of the frame is refined: solved in float64 alone it would be off by eps times the condition."""
    k, g = 5, generator(9)
    left, _ = torch.linalg.qr(normal(g, k, k))
    right, _ = torch.linalg.qr(normal(g, k, k))
    u = left * spectrum(k, condition) @ right
    p = Gaussian.from_diagonal(normal(g, k), normal(g, k).exp())
    found = to_common_frame(p, u)
    with mpmath.workdps(60):
        inverse = exact(u) ** -1
        references = inverse * exact(p.mean), inverse * exact(p.covariance) * inverse.T
        for value, reference in zip((found.mean, found.covariance), references, strict=True):
            largest = max(abs(v) for v in reference)
            assert max(abs(v - w) for v, w in zip(exact(value), reference, strict=True)) < 3e-16 * largest


def test_pushforward_is_the_law_of_the_image_and_composes():
    g = generator(5)
    p, a, b = random_beliefs(5, 4, k=5), normal(g, 3, 5), normal(g, 4, 2, 3)
    image = pushforward(p, a)
    torch.testing.assert_close(image.mean, p.mean @ a.mT, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(image.covariance, a @ p.covariance @ a.mT, rtol=1e-13, atol=1e-13)
    two_steps, one_step = pushforward(image, b), pushforward(p, b @ a)
    torch.testing.assert_close(two_steps.covariance, one_step.covariance, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["diagonal", "low rank", "factor"])
def test_every_structure_can_be_transported_and_brought_back(kind):
    g = generator(6)
    mean, variance, u = normal(g, 5, 4), normal(g, 5, 4).exp(), frames(normal(g, 5, 4, 4) / 2, "gl")
    p = {
        "diagonal": lambda: Gaussian.from_diagonal(mean, variance),
        "low rank": lambda: Gaussian.from_low_rank(mean, normal(g, 5, 4, 2), variance),
        "factor": lambda: Gaussian(mean, torch.linalg.cholesky(random_beliefs(7, 5, k=4).covariance)),
    }[kind]()
    assert (kl(pushforward(to_common_frame(p, u), u), p) < 1e-24).all()


def test_data_processing_a_projection_loses_information():
    p = random_beliefs(8, 6, k=5)
    image = pushforward(p, normal(generator(8), 2, 5))
    assert (pairwise_kl(image) <= pairwise_kl(p) + 1e-13).all()


def test_bad_maps_and_frames_are_refused_by_index():
    p = random_beliefs(1, 3, k=2)
    singular = torch.eye(2).expand(3, 2, 2).clone()
    singular[1] = 1.0
    with pytest.raises(NumericalRefusal, match=r"frame\[1\].*singular"):
        to_common_frame(p, singular)
    with pytest.raises(NumericalRefusal, match=r"covariance\[1\]"):
        pushforward(p, singular)
    with pytest.raises(NumericalRefusal, match=r"matrix\[1\].*NaN"):
        pushforward(p, singular.index_fill(0, torch.tensor([1]), torch.nan))
    with pytest.raises(BadInput, match="matrix"):
        pushforward(p, torch.ones(2, 3))
    with pytest.raises(BadInput, match="frame"):
        to_common_frame(p, torch.eye(3))
    phi = torch.zeros(2, 3, 3)
    phi[1, 0, 1] = 1.0
    with pytest.raises(BadInput, match=r"phi\[1\].*skew"):
        frames(phi, "so")
    with pytest.raises(BadInput, match="square"):
        frames(torch.zeros(2, 3), "gl")
    with pytest.raises(BadInput, match="1, 3, 6, 10"):
        frames(torch.zeros(2), coordinates=True)
    with pytest.raises(OptionError, match="coordinates"):
        frames(torch.zeros(3), "gl", coordinates=True)
