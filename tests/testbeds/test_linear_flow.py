"""Linear flow: planted singular values and gains are those of the drawn matrices."""

import numpy as np
import pytest
import torch

from rgprobe.errors import OptionError
from rgprobe.testbeds import linear_flow

VALUES = torch.rand(5, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 0.3


@pytest.mark.parametrize("frames", ["independent", "aligned", "identity"])
def test_each_layer_has_its_planted_singular_values(frames):
    flow = linear_flow.sample(singular_values=VALUES, frames=frames, seed=1)
    known = linear_flow.exact(singular_values=VALUES, frames=frames)
    torch.testing.assert_close(torch.linalg.svdvals(flow.weights), known.singular_values, rtol=1e-12, atol=0)
    # and the first layer stretches direction k by s_0[k]
    torch.testing.assert_close((flow.weights[0] @ flow.directions).norm(dim=0), VALUES[0], rtol=1e-12, atol=0)


@pytest.mark.parametrize("frames", ["aligned", "identity"])
def test_gains_of_the_directions_are_the_planted_ones(frames):
    flow = linear_flow.sample(singular_values=VALUES, frames=frames, seed=2)
    known = linear_flow.exact(singular_values=VALUES, frames=frames)
    log_gains = flow.states(flow.directions.mT).norm(dim=-1).log()
    torch.testing.assert_close(log_gains, known.log_gains, rtol=0, atol=1e-12)
    product = torch.linalg.multi_dot(list(flow.weights.flip(0)))
    torch.testing.assert_close(torch.linalg.svdvals(product), known.end_to_end, rtol=1e-11, atol=0)


def test_relevant_marginal_and_irrelevant_slopes():
    values = torch.tensor([[1.2, 1.0, 0.8]]).repeat(9, 1)
    known = linear_flow.exact(singular_values=values, frames="identity")
    # float32 options are taken at their float32 value, 1.2 to 4e-8
    np.testing.assert_allclose(known.slopes, np.log([1.2, 1.0, 0.8]), atol=1e-7)
    backward = linear_flow.sample(singular_values=values, frames="identity").weights.flip(0).cumprod(0)
    to_the_end = torch.diagonal(backward, dim1=-2, dim2=-1).flip(0).log()
    # what J_(l->L) shows instead: the opposite signs
    assert (torch.diff(to_the_end[:, 0]) < 0).all()
    assert (torch.diff(to_the_end[:, 2]) > 0).all()


def test_independent_frames_promise_nothing_about_the_product():
    known = linear_flow.exact(singular_values=VALUES, frames="independent")
    assert known.log_gains.isnan().all()
    assert known.slopes.isnan().all()
    assert known.end_to_end.isnan().all()


def test_frames_are_uniform_over_rotations():
    flow = linear_flow.sample(singular_values=torch.ones(2001, 3), frames="aligned", seed=4)
    # of a Haar matrix: E[q] = 0, E[q^2] = 1/3, E[q^4] = 3 / (n (n + 2)) = 1/5, so the errors are known
    q = flow.weights.reshape(-1, 9)
    assert (q.mean(0).abs() < 4 * np.sqrt(1 / 3 / len(q))).all()
    assert ((q**2).mean(0) - 1 / 3).abs().max() < 4 * np.sqrt((1 / 5 - 1 / 9) / len(q))


def test_sampling_is_a_function_of_its_seed():
    one, same, other = (linear_flow.sample(singular_values=VALUES, seed=s).weights for s in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("values", [torch.ones(0, 3), -torch.ones(2, 3), torch.full((2, 3), torch.nan)])
def test_what_is_no_flow_is_refused(values):
    with pytest.raises(OptionError):
        linear_flow.sample(singular_values=values)
