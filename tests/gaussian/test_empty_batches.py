"""Of no beliefs there are no divergences, whatever form their covariance is kept in, and no refusal either."""

import pytest
import torch

from rgprobe.gaussian import Gaussian, jeffreys, kl, pairwise_kl
from rgprobe.models import kl_attention


def beliefs(kind, *batch, k=3):
    mean, eye = torch.zeros(*batch, k).double(), torch.eye(k).double()
    return {
        "triangular": lambda: Gaussian(mean, eye.expand(*batch, k, k)),
        "full": lambda: Gaussian.from_covariance(mean, eye.expand(*batch, k, k)),
        "diagonal": lambda: Gaussian.from_diagonal(mean, torch.ones_like(mean)),
        "low rank": lambda: Gaussian.from_low_rank(mean, mean.new_ones(*batch, k, 2), torch.ones_like(mean)),
    }[kind]()


KINDS = ("triangular", "full", "diagonal", "low rank")


@pytest.mark.parametrize("kind", KINDS)
def test_divergences_of_nothing_are_empty(kind):
    none, four = beliefs(kind, 0), beliefs(kind, 4)
    for found, shape in (
        (pairwise_kl(none), (0, 0)),
        (pairwise_kl(none, four), (0, 4)),
        (pairwise_kl(four, none), (4, 0)),
        (pairwise_kl(beliefs(kind, 0, 5)), (0, 5, 5)),
        (kl(none, none), (0,)),
        (kl(none, beliefs(kind, 1)), (0,)),
        (jeffreys(none, none), (0,)),
    ):
        assert found.shape == shape
        assert found.dtype == torch.float64


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [(0, 5), (2, 0, 5), (0, 3, 5)])
def test_attention_over_no_sequence_is_empty(kind, batch):
    values = torch.zeros(*batch, 3).double().requires_grad_()
    frames = torch.eye(3).double().expand(*batch, 3, 3)
    for options in ({}, {"frames": frames}, {"window": 2, "causal": False}, {"kappa": 1e-300}):
        out, beta = kl_attention(beliefs(kind, *batch), values, return_pattern=True, **options)
        assert (out.shape, beta.shape) == ((*batch, 3), (*batch, 5))
        assert torch.equal(kl_attention(beliefs(kind, *batch), values, **options), out)
    out.sum().backward()
    temperatures = torch.ones(batch[:-1])
    assert kl_attention(beliefs(kind, *batch), values, kappa=temperatures).shape == (*batch, 3)
