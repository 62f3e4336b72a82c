"""Planted self-similar patterns: alike at the planted factor, at no other, and not once their rows are permuted."""

import numpy as np
import pytest

from rgprobe.diagnostics.coarse_graining import rescaled
from rgprobe.diagnostics.row_permutations import permuted_rows
from rgprobe.errors import OptionError
from rgprobe.testbeds import self_similar_attention


@pytest.mark.parametrize(("tokens", "factor"), [(24, 2), (36, 3), (32, 4)])
def test_the_next_pattern_is_the_coarse_one_at_the_planted_factor_alone(tokens, factor):
    x = self_similar_attention.sample(tokens=tokens, layers=3, factor=factor, seed=1)
    known = self_similar_attention.exact(tokens=tokens, layers=3, factor=factor)
    np.testing.assert_allclose(x.sum(-1), 1.0)
    assert (np.triu(x, 1) == 0).all()
    for layer in range(2):
        assert rescaled(x[layer], x[layer + 1], factor) == pytest.approx(known, abs=1e-12)
    other = {2: 4, 3: 2, 4: 2}[factor]
    assert rescaled(x[0], x[1], other) < 0.97
    null = permuted_rows(x[1], np.random.default_rng(0), allowed=np.tri(tokens, dtype=bool))
    assert rescaled(x[0], null, factor) < 0.9


@pytest.mark.parametrize("options", [{"tokens": 9}, {"layers": 1}, {"factor": 1}])
def test_what_cannot_be_cut_is_refused(options):
    with pytest.raises(OptionError):
        self_similar_attention.sample(**{"tokens": 8, **options})
