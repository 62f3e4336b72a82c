"""Fisher information of rows, matrix-free, against dense matrices; the curve of the natural gradient; alignment of blocks."""

import numpy as np
import pytest
import torch
import xarray as xr
from fake_trace import fake_trace, handing_over

from rgprobe.diagnostics.fisher import fisher, natural_gradient_alignment
from rgprobe.diagnostics.fisher_alignment import fisher_alignment
from rgprobe.errors import OptionError
from rgprobe.probe.fisher import DRAWS, FisherCollector, fisher_largest, fisher_overlap, fisher_trace


def rows(spread, *, keys=21, count=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (spread * torch.randn(count, keys, generator=generator, dtype=torch.float64)).softmax(-1)


def dense(weights):
    return torch.diag_embed(weights) - weights[..., :, None] * weights[..., None, :]


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0, 4.0, 30.0])
@pytest.mark.parametrize("keys", [2, 3, 63])
def test_trace_largest_eigenvalue_and_overlap_are_those_of_the_dense_matrix(spread, keys):
    a, b = rows(spread, keys=keys), rows(1.0, keys=keys, seed=1)
    f, g = dense(a), dense(b)
    values = torch.linalg.eigvalsh(f)
    torch.testing.assert_close(fisher_trace(a), values.sum(-1), rtol=0, atol=1e-12)
    torch.testing.assert_close(fisher_trace(a), 1 - a.square().sum(-1), rtol=0, atol=1e-12)
    torch.testing.assert_close(fisher_largest(a), values[..., -1], rtol=0, atol=1e-14)
    torch.testing.assert_close(fisher_overlap(a, b), (f * g).sum((-1, -2)), rtol=1e-9, atol=1e-15)


def test_ties_zeros_and_single_precision():
    tied = torch.tensor([[0.4, 0.4, 0.2, 0.0], [1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
    torch.testing.assert_close(
        fisher_largest(tied), torch.linalg.eigvalsh(dense(tied.double()))[:, -1], atol=1e-7, rtol=0
    )
    single = rows(1.0).float()
    torch.testing.assert_close(
        fisher_trace(single), torch.linalg.eigvalsh(dense(single.double())).sum(-1), atol=1e-6, rtol=0
    )


def collected(blocks):
    """blocks: weights (heads, rows, keys)."""
    probe, attention = handing_over()
    collector = FisherCollector(probe, attention, 5)
    for weights in blocks:
        attention.listeners[0](weights)
    trace = fake_trace(graph=np.ones((1, len(blocks), 3, 3)))
    trace.reductions["fisher"] = xr.concat([collector.dataset()], "prompt")
    return trace


def test_the_diagnostic_averages_rows_of_eight_keys_and_more():
    wide, narrow = rows(1.0, count=5), torch.zeros(2, 21, dtype=torch.float64)
    narrow[:, :7] = rows(1.0, keys=7, count=2)
    weights = torch.cat([wide, narrow])[None]
    found = fisher(collected([weights, weights])).values.isel(prompt=0, head=0)
    np.testing.assert_allclose(found["fisher_trace"], (1 - wide.square().sum(-1)).mean(), rtol=1e-12)
    np.testing.assert_allclose(found["fisher_largest"], torch.linalg.eigvalsh(dense(wide))[:, -1].mean(), rtol=1e-9)
    uniform = torch.full((1, 4, 21), 1 / 21, dtype=torch.float64)
    found = fisher(collected([uniform])).values
    assert found["leading_share"].item() == pytest.approx(1 / 20, rel=1e-9)
    assert fisher(collected([narrow[None]])).values.to_array().isnull().all()
    with pytest.raises(OptionError, match="the collection 'fisher'"):
        fisher(fake_trace(graph=np.ones((1, 1, 3, 3))))


def test_blocks_that_attend_alike_align_and_unrelated_ones_are_as_their_permutations():
    heads = torch.stack([rows(2.0, keys=63, count=40, seed=seed) for seed in range(3)])
    other = torch.stack([rows(2.0, keys=63, count=40, seed=seed) for seed in range(3, 6)])
    measured = fisher_alignment(collected([heads, heads, other]))
    found = measured.values["alignment"].values[0]
    null = measured.internal_nulls["permuted_keys"]["alignment"].values[:, 0]
    g = [dense(x).mean(0) for x in (heads, other)]
    cosine = (g[0] * g[1]).sum((-1, -2)) / (g[0].square().sum((-1, -2)) * g[1].square().sum((-1, -2))).sqrt()
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(1, abs=1e-12)
    assert found[2] == pytest.approx(float(cosine.mean()), rel=1e-9)
    assert null.shape == (DRAWS, 3)
    assert null[:, 1].max() < 0.7
    # forty rows: the mean alignment of unrelated rows is known to a few percent
    assert found[2] == pytest.approx(null[:, 2].mean(), rel=0.15)


def test_permutations_keep_hidden_keys_hidden():
    weights = torch.zeros(1, 3, 21, dtype=torch.float64)
    for row, keys in enumerate((9, 13, 21)):
        weights[0, row, :keys] = rows(1.0, keys=keys, count=1)
    measured = fisher_alignment(collected([weights, weights]))
    assert measured.values["alignment"].values[0, 1] == pytest.approx(1, abs=1e-12)
    other = weights[:, :, torch.arange(20, -1, -1)]
    assert fisher_alignment(collected([weights, other])).values["alignment"].values[0, 1] < 0.9


# three standard errors of sixteen rows, as measured over the rows, are below .01, .01, .03, .04, .04
CURVE = [(0, 1, 1e-9), (0.5, 0.94, 0.01), (1, 0.75, 0.02), (2, 0.36, 0.04), (4, 0.10, 0.05)]


@pytest.mark.parametrize(("spread", "expected", "error"), CURVE)
def test_the_gradient_leaves_the_natural_one_as_scores_spread(spread, expected, error):
    found = natural_gradient_alignment(float(spread))
    assert found.mean() == pytest.approx(expected, abs=error)


def test_in_few_dimensions_the_gradient_stays_natural_for_longer():
    few, many = (natural_gradient_alignment(1.0, keys=64, width=width, rows=40).mean() for width in (4, 60))
    assert few > 0.9
    # in as many dimensions as keys: exp(-spread^2 / 2), up to the size of 64 keys
    assert many == pytest.approx(np.exp(-0.5), abs=0.1)
    for wrong in ({"spread": -1.0}, {"spread": 1.0, "width": 512}):
        with pytest.raises(OptionError):
            natural_gradient_alignment(**wrong)
