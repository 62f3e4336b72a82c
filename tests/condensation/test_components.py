"""Connected components against a walk over the graph, the barcode, planted groups, and chains."""

import numpy as np
import pytest
from condensation_cases import categorical, gaussian

from rgprobe.condensation import condense
from rgprobe.condensation.components import component_deaths, components, divergences, number_of_components
from rgprobe.errors import BadInput, NumericalRefusal, OptionError
from rgprobe.gaussian import Gaussian, kl
from rgprobe.testbeds import planted_tree


def walked(matrix, epsilon):
    """Component of each token by walking along the links, first token first."""
    labels = np.full(len(matrix), -1)
    for start in range(len(matrix)):
        if labels[start] >= 0:
            continue
        labels[start], pending = labels.max() + 1, [start]
        while pending:
            here = pending.pop()
            for there in range(len(matrix)):
                if labels[there] < 0 and matrix[here, there] < epsilon and matrix[there, here] < epsilon:
                    labels[there] = labels[start]
                    pending.append(there)
    return labels


def chain(length, step):
    """Unit Gaussians on a line; neighbours are step^2 / 2 nats apart, both ways."""
    import torch

    means = step * torch.arange(length, dtype=torch.float64)[:, None]
    return Gaussian.from_diagonal(means, torch.ones_like(means))


@pytest.mark.parametrize("kind", [categorical, gaussian])
@pytest.mark.parametrize("quantile", [0.02, 0.1, 0.3])
def test_components_are_what_walks_along_links_reach(kind, quantile):
    beliefs = kind(23, seed=1)
    matrix = divergences(beliefs)
    epsilon = float(np.quantile(matrix[np.triu_indices(23, 1)], quantile))
    labels = components(beliefs, epsilon=epsilon)
    np.testing.assert_array_equal(labels, walked(matrix, epsilon))
    assert number_of_components(component_deaths(beliefs), epsilon) == labels.max() + 1


def test_both_directions_have_to_be_near():
    one_way = np.array([[0.0, 0.1], [5.0, 0.0]])
    assert components(matrix=one_way, epsilon=1.0).tolist() == [0, 1]
    assert components(matrix=one_way, epsilon=5.5).tolist() == [0, 0]
    assert components(matrix=one_way, epsilon=5.0).tolist() == [0, 1]  # below, not at, epsilon


def test_the_larger_direction_is_the_divergence():
    beliefs = gaussian(9)
    for i, j in ((0, 1), (4, 7)):
        both = float(kl(beliefs[i], beliefs[j])), float(kl(beliefs[j], beliefs[i]))
        assert divergences(beliefs)[i, j] == pytest.approx(max(both), rel=1e-12)


def test_factors_of_a_product_add():
    product = gaussian(7, factors=2)
    matrix = divergences(product)
    both = sum(float(kl(product[2, f], product[5, f])) for f in range(2))
    back = sum(float(kl(product[5, f], product[2, f])) for f in range(2))
    assert matrix[2, 5] == pytest.approx(max(both, back), rel=1e-12)


@pytest.mark.parametrize("depth", [3, 4])
def test_planted_groups_are_components_and_clusters_of_the_tree(depth):
    """The top split is longest: at an epsilon between the two scales both find its halves."""
    beliefs = planted_tree.sample(depth=depth, noise=0.05, ratio=0.2)
    matrix, half = divergences(beliefs), 2 ** (depth - 1)
    within = max(
        component_deaths(matrix=matrix[:half, :half]).max(), component_deaths(matrix=matrix[half:, half:]).max()
    )
    between = matrix[:half, half:].min()
    assert within < between
    labels = components(beliefs, epsilon=float(np.sqrt(within * between)))
    expected = np.repeat([0, 1], half)
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(condense(beliefs).cut(n_clusters=2), expected)


def test_a_chain_is_one_component_and_many_clusters():
    """Each token 0.02 nats from the next, the ends 11.5 apart: links reach everywhere; one meta-token loses 0.56 nats."""
    beliefs = chain(25, 0.2)
    epsilon = 0.03
    assert components(beliefs, epsilon=epsilon).max() == 0
    tree = condense(beliefs)
    variance = 0.2**2 * (25**2 - 1) / 12  # of the means; half a logarithm of 1 + variance is lost
    assert tree.loss(1) == pytest.approx(np.log1p(variance) / 2)
    assert tree.cut(height=epsilon / 2).max() + 1 > 4


def test_the_first_token_of_a_component_numbers_it():
    labels = components(categorical(15), epsilon=0.5)
    firsts = [np.flatnonzero(labels == c)[0] for c in range(labels.max() + 1)]
    assert firsts == sorted(firsts)


def test_beliefs_without_a_common_class_are_never_linked():
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    assert component_deaths(rows).tolist() == [np.inf, np.inf]
    assert components(rows, epsilon=1e9).tolist() == [0, 1, 2]


def test_barcodes_of_unequal_length_are_counted_apart():
    deaths = np.array([[0.1, 0.5, 2.0], [0.3, np.nan, np.nan]])
    assert number_of_components(deaths, np.array([0.4, 0.2])).tolist() == [3, 2]


def test_what_is_no_divergence_is_refused():
    for wrong in ({}, {"beliefs": categorical(3), "matrix": np.zeros((3, 3))}):
        with pytest.raises(OptionError, match="beliefs or matrix"):
            components(**wrong, epsilon=0.1)
    with pytest.raises(OptionError, match="epsilon"):
        components(categorical(3), epsilon=0.0)
    with pytest.raises(BadInput, match=r"\(N, N\)"):
        components(matrix=np.zeros((2, 3)), epsilon=0.1)
    for wrong in (np.array([[0.0, -1.0], [0.0, 0.0]]), np.array([[0.0, np.nan], [0.0, 0.0]]), np.eye(2)):
        with pytest.raises(NumericalRefusal, match="divergences >= 0"):
            components(matrix=wrong, epsilon=0.1)
    assert component_deaths(matrix=np.zeros((1, 1))).shape == (0,)
