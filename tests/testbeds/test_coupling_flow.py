"""The planted flow of couplings: simulated second moments against the recursion."""

import numpy as np
import pytest

from rgprobe.errors import OptionError
from rgprobe.testbeds import coupling_flow


@pytest.mark.parametrize("eigenvalues", [(1.1, 0.8, 0.5), (0.6,)])
def test_moments_of_many_prompts_are_the_exact_ones(eigenvalues):
    options = {"layers": 5, "eigenvalues": eigenvalues, "spread": 0.7, "noise": 0.2, "seed": 2}
    known = coupling_flow.exact(**options)
    paths = coupling_flow.sample(prompts=40_000, **options).paths
    np.testing.assert_allclose(sorted(np.linalg.eigvals(known.matrix).real), sorted(eigenvalues), atol=1e-12)
    np.testing.assert_allclose(paths[:, :-1].var(0), known.variance, rtol=0.04)
    np.testing.assert_allclose(((paths[:, 1:] - paths[:, :-1]) ** 2).mean(0), known.persistence_error, rtol=0.04)
    predicted = known.fixed_point + (paths[:, :-1] - known.fixed_point) @ known.matrix.T
    np.testing.assert_allclose(((paths[:, 1:] - predicted) ** 2).mean(0), known.flow_error, rtol=0.04)
    np.testing.assert_allclose(paths.mean(0), np.tile(known.fixed_point, (6, 1)), atol=0.03)


def test_without_noise_the_flow_is_the_map_and_equal_seeds_are_equal():
    known = coupling_flow.exact(layers=3, noise=0.0, seed=4)
    paths = coupling_flow.sample(prompts=7, layers=3, noise=0.0, seed=4).paths
    deviation = paths - known.fixed_point
    np.testing.assert_allclose(deviation[:, 1:], deviation[:, :-1] @ known.matrix.T, atol=1e-12)
    np.testing.assert_array_equal(paths, coupling_flow.sample(prompts=7, layers=3, noise=0.0, seed=4).paths)


@pytest.mark.parametrize(
    "options", [{"layers": 0}, {"spread": 0.0}, {"noise": -1.0}, {"eigenvalues": ()}, {"prompts": 0}]
)
def test_what_is_no_flow_is_refused(options):
    with pytest.raises(OptionError):
        coupling_flow.sample(**{"prompts": 3, "layers": 2, **options})
