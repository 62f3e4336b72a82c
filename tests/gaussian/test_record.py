"""The Gaussian record: parameters, structures, indexing, and refusals that name the index."""

import math

import pytest
import torch
from gaussian_cases import generator, normal, random_beliefs, rotated, spectrum, symmetric
from torch.distributions import MultivariateNormal

from rgprobe.errors import BadInput, NumericalRefusal, OptionError
from rgprobe.gaussian import Gaussian


def every_structure(k=3):
    g = generator(7)
    covariance = rotated(g, spectrum(k, 30.0)).expand(2, k, k)
    mean, variance = normal(g, 2, k), normal(g, 2, k).exp()
    return {
        "Triangular": Gaussian(mean, torch.linalg.cholesky(covariance)),
        "Full": Gaussian.from_covariance(mean, covariance),
        "Diagonal": Gaussian.from_diagonal(mean, variance),
        "LowRank": Gaussian.from_low_rank(mean, normal(g, 2, k, 2), variance),
    }


@pytest.mark.parametrize("name", ["Triangular", "Full", "Diagonal", "LowRank"])
def test_every_structure_agrees_with_its_dense_covariance(name):
    p = every_structure()[name]
    dense = p.covariance
    torch.testing.assert_close(p.precision @ dense, torch.eye(3).double().expand(2, 3, 3), rtol=0, atol=1e-13)
    torch.testing.assert_close(p.scale_tril @ p.scale_tril.mT, dense, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(p.entropy(), MultivariateNormal(p.mean, dense).entropy(), rtol=1e-13, atol=0)
    eigenvalues = torch.linalg.eigvalsh(dense)
    torch.testing.assert_close(p.condition, eigenvalues[:, -1] / eigenvalues[:, 0], rtol=1e-11, atol=0)
    first, second = p.mean_parameters()
    torch.testing.assert_close(second - first.unsqueeze(-1) * first.unsqueeze(-2), dense, rtol=1e-13, atol=1e-13)
    eta1, eta2 = p.natural_parameters()
    torch.testing.assert_close(-2 * eta2 @ p.mean.unsqueeze(-1), eta1.unsqueeze(-1), rtol=1e-13, atol=1e-13)
    back = Gaussian.from_natural_parameters(eta1, eta2)
    torch.testing.assert_close(back.mean, p.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(back.covariance, dense, rtol=1e-12, atol=1e-12)
    assert type(p.structure).__name__ == name


def test_a_covariance_is_kept_as_given():
    p = random_beliefs(1, 4)
    assert torch.equal(Gaussian.from_covariance(p.mean, p.covariance).covariance, p.covariance)


def test_batch_dimensions_broadcast_and_index_like_tensors():
    mean = torch.arange(30.0).reshape(5, 3, 2)
    p = Gaussian.from_diagonal(mean, torch.ones(2))
    assert p.batch_shape == (5, 3)
    assert len(p) == 5
    assert torch.equal(p[..., 2].mean, mean[:, 2])
    for index in (1, slice(1, None, 2), (None, 0), torch.tensor([4, 0, 4]), (slice(None), [0, 2])):
        assert torch.equal(p[index].mean, mean[index])
        assert p[index].covariance.shape == (*mean[index].shape[:-1], 2, 2)
    with pytest.raises(IndexError):
        p[0, 0, 0]
    assert p.reshape(-1).batch_shape == (15,)
    assert p.to(dtype=torch.float64).dtype == torch.float64
    with pytest.raises(TypeError, match="no length"):
        len(p[0, 0])


def test_the_record_is_frozen():
    with pytest.raises(AttributeError):
        random_beliefs(1).mean = torch.zeros(3)


def test_condition_flag():
    k = 5
    mild, wild = (rotated(generator(1), spectrum(k, c)) for c in (1e6, 1e11))
    p = Gaussian.from_covariance(torch.zeros(2, k).double(), torch.stack([mild, wild]))
    assert p.near_singular.tolist() == [False, True]
    torch.testing.assert_close(p.condition, torch.tensor([1e6, 1e11]).double(), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (torch.nan, r"covariance\[2, 0\].*NaN or Inf"),
        (torch.inf, r"covariance\[2, 0\].*NaN or Inf"),
        (0.25, r"covariance\[2, 0\].*symmetric.*0\.25"),
    ],
)
def test_a_bad_entry_is_refused_by_index(entry, message):
    covariance = torch.eye(2).expand(3, 2, 2, 2).clone()
    covariance[2, 0, 0, 1] = entry
    with pytest.raises(NumericalRefusal, match=message):
        Gaussian.from_covariance(torch.zeros(3, 2, 2), covariance)


def test_a_covariance_that_is_not_positive_definite_is_refused_by_index():
    covariance = torch.eye(2).expand(3, 2, 2).clone()
    covariance[1] = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(NumericalRefusal, match=r"covariance\[1\].*smallest eigenvalue -1"):
        Gaussian.from_covariance(torch.zeros(3, 2), covariance)
    with pytest.raises(NumericalRefusal, match="covariance: expected a positive-definite"):
        Gaussian.from_covariance(torch.zeros(2), torch.zeros(2, 2))


def test_bad_factors_and_variances_are_refused_by_index():
    eye, zero = torch.eye(2), torch.zeros(3, 2)
    with pytest.raises(NumericalRefusal, match="scale_tril: expected a lower-triangular"):
        Gaussian(zero, eye + eye.flip(0))
    with pytest.raises(NumericalRefusal, match=r"scale_tril diagonal\[1\]"):
        Gaussian(zero, torch.diag(torch.tensor([1.0, -1.0])))
    with pytest.raises(NumericalRefusal, match=r"scale_tril\[1\].*NaN"):
        Gaussian(zero, torch.stack([eye, eye * torch.nan, eye]))
    with pytest.raises(NumericalRefusal, match=r"variance\[2, 1\].*received 0"):
        Gaussian.from_diagonal(zero, torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]]))
    with pytest.raises(NumericalRefusal, match=r"mean\[2\]"):
        Gaussian.from_diagonal(torch.tensor([[0.0], [0.0], [torch.nan]]), torch.ones(1))
    with pytest.raises(NumericalRefusal, match=r"diagonal\[0\]"):
        Gaussian.from_low_rank(torch.zeros(2), torch.ones(2, 1), torch.tensor([0.0, 1.0]))


def test_rounding_asymmetry_is_averaged_without_loss():
    g = generator(3)
    a = normal(g, 6, 6)
    product = a @ torch.diag(torch.rand(6, generator=g).double() + 0.1) @ a.mT
    skewed = symmetric(product)
    skewed[0, 1] = torch.nextafter(skewed[0, 1], torch.tensor(torch.inf).double())
    kept = Gaussian.from_covariance(torch.zeros(6).double(), skewed).structure
    assert torch.equal(kept.covariance, kept.covariance.mT)
    assert ((kept.covariance[0, 1] - skewed[1, 0]) + kept.low[0, 1]) * 2 == skewed[0, 1] - skewed[1, 0]


def test_jitter_is_added_only_when_asked_and_reported():
    singular = torch.ones(2, 2)
    with pytest.warns(UserWarning, match=r"jitter 0\.001 added"):
        p = Gaussian.from_covariance(torch.zeros(2), singular, jitter=1e-3)
    assert p.covariance[0, 0].item() == pytest.approx(1.001)
    with pytest.raises(OptionError, match="jitter"):
        Gaussian.from_covariance(torch.zeros(2), singular, jitter=-1.0)
    with pytest.raises(OptionError, match="jitter"):
        Gaussian.from_covariance(torch.zeros(2), singular, jitter=math.nan)


@pytest.mark.usefixtures("unchecked_types")
def test_shapes_and_dtypes_that_do_not_fit_are_bad_input():
    with pytest.raises(BadInput, match=r"covariance.*floating-point.*int64"):
        Gaussian.from_covariance(torch.zeros(2), torch.ones(2, 2, dtype=torch.int64))
    with pytest.raises(BadInput, match=r"covariance.*\(2, 2\)"):
        Gaussian.from_covariance(torch.zeros(2), torch.eye(3))
    with pytest.raises(BadInput, match=r"variance.*K = 2"):
        Gaussian.from_diagonal(torch.zeros(2), torch.ones(3))
    with pytest.raises(BadInput, match="batch dimensions"):
        Gaussian.from_diagonal(torch.zeros(4, 2), torch.ones(3, 2))
    with pytest.raises(BadInput, match="mean"):
        Gaussian.from_diagonal(torch.tensor(0.0), torch.ones(1))
    with pytest.raises(BadInput, match="scale_tril"):
        Gaussian(torch.zeros(2), torch.eye(3))


def test_a_narrower_dtype_is_checked_again():
    near_singular = torch.tensor([[1.0, 1.0 - 1e-9], [1.0 - 1e-9, 1.0]], dtype=torch.float64)
    p = Gaussian.from_covariance(torch.zeros(2).double(), near_singular)
    with pytest.raises(NumericalRefusal, match="positive-definite"):
        p.to(dtype=torch.float32)
    tiny = Gaussian.from_diagonal(torch.zeros(2), torch.tensor([1.0, 1e-12]))
    with pytest.raises(NumericalRefusal, match=r"diagonal\[1\].*received 0"):
        tiny.to(dtype=torch.float16)
    with pytest.raises(NumericalRefusal, match="Inf"):
        Gaussian.from_diagonal(torch.zeros(2), torch.tensor([1.0, 1e12])).to(dtype=torch.float16)


def test_whole_numbers_are_refused_by_name(unchecked_types):
    mean, ones = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    with pytest.raises(BadInput, match="factor: expected a floating-point tensor"):
        Gaussian.from_low_rank(mean, torch.ones(3, 2, dtype=torch.int64), ones)
    with pytest.raises(BadInput, match="scale_tril: expected a floating-point tensor"):
        Gaussian(mean, torch.eye(3, dtype=torch.int64))
