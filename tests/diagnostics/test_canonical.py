"""Information and canonical correlations from covariances, against slow references, and the two diagnostics made of them."""

import numpy as np
import pytest
import tiny_models
from gauge_models import tiny_gauge
from scipy import stats

import rgprobe as rg
from rgprobe.diagnostics.canonical import canonical_pairs, covariances, gaussian_information, leading_scores, shrinkage
from rgprobe.diagnostics.pooling import Estimates
from rgprobe.diagnostics.real_space_information import BLOCK, filtered, real_space_information
from rgprobe.diagnostics.scale_separation import GROUP, conditional_information, scale_separation
from rgprobe.errors import NumericalRefusal
from rgprobe.planted_trace import planted_trace
from rgprobe.testbeds import ar1
from rgprobe.testbeds import scale_separation as scales


def mixed(rows, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, width)) @ rng.standard_normal((width, width)) + rng.standard_normal(width)


def test_covariances_are_those_of_numpy_with_and_without_each_prompt():
    x, owner = mixed(63, 5), np.sort(np.arange(63) % 7) + 3
    found = covariances(x + 1e4, owner)
    np.testing.assert_allclose(found.full, np.cov(x.T, bias=True), rtol=1e-7)
    for place, prompt in enumerate(np.unique(owner)):
        np.testing.assert_allclose(found.deleted[place], np.cov(x[owner != prompt].T, bias=True), rtol=1e-7)


def test_partial_information_is_that_of_residuals():
    x = mixed(500, 9, seed=1)
    covariance = np.cov(x.T)
    first, given, second = slice(0, 3), slice(3, 5), slice(5, 9)
    design = np.column_stack([np.ones(500), x[:, given]])
    residual = x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
    chosen = np.concatenate([residual[:, first], residual[:, second]], 1)
    rho = canonical_pairs(np.cov(chosen.T), 3)[0]
    found = gaussian_information(covariance, first, second, given=given)
    assert float(found) == pytest.approx(-0.5 * np.log1p(-(rho**2)).sum(), rel=1e-10)
    # one variable each: the partial correlation of a textbook
    one = gaussian_information(covariance[:3, :3], slice(0, 1), slice(1, 2), given=slice(2, 3))
    precision = np.linalg.inv(covariance[:3, :3])
    partial = precision[0, 1] ** 2 / (precision[0, 0] * precision[1, 1])
    assert float(one) == pytest.approx(-0.5 * np.log1p(-partial), rel=1e-10)


def test_canonical_filters_have_unit_variance_and_their_correlation():
    x = mixed(400, 8, seed=2)
    rho, filters = canonical_pairs(np.cov(x.T), 3)
    z = stats.zscore(x, ddof=1)
    first = z[:, :3] @ filters
    np.testing.assert_allclose(np.cov(first.T), np.eye(3), atol=1e-10)
    design = np.column_stack([np.ones(400), x[:, 3:]])
    explained = design @ np.linalg.lstsq(design, first, rcond=None)[0]
    np.testing.assert_allclose(explained.std(0) / first.std(0), rho, rtol=1e-10)
    assert (np.diff(rho) <= 0).all()


def test_scores_are_ranks_along_the_leading_components():
    rng = np.random.default_rng(3)
    points = rng.standard_normal((301, 6)) * np.array([9.0, 5, 3, 2, 1, 0])
    found = leading_scores(points, 2, skip=1)
    for column in range(2):
        assert abs(stats.spearmanr(found[:, column], points[:, 1 + column])[0]) > 0.97
    assert leading_scores(points, 9).shape == (301, 5)  # the constant one is no component
    assert stats.kurtosis(leading_scores(points**5, 1))[0] == pytest.approx(0, abs=0.1)


def test_noise_is_shrunk_and_signal_is_not():
    rng = np.random.default_rng(4)
    noise = [shrinkage(np.cov(rng.standard_normal((200, 20)).T), 200) for _ in range(5)]
    assert 0.8 < np.mean(noise) <= 1.0
    assert shrinkage(np.cov(mixed(20_000, 5, seed=5).T), 20_000) < 0.01


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize(("coefficient", "tolerance"), [(0.0, 0.002), (0.3, 0.01)])
def test_conditional_information_of_planted_scales(dim, coefficient, tolerance):
    x = scales.sample(rows=9000, coefficient=coefficient, dim=dim, seed=dim)
    known = scales.exact(coefficient=coefficient, dim=dim)
    found = conditional_information(x.micro, x.macro, x.output, owner=np.arange(9000) // 300)
    assert float(found.conditional.full) == pytest.approx(known.conditional_information, abs=tolerance)
    error = float(found.conditional.standard_error)
    assert abs(float(found.conditional.full) - known.conditional_information) < 3 * error + 2e-4
    assert error < 0.01


def test_dependent_rows_carry_no_information_on_average():
    """Slow drifts within a prompt make tokens look related; the shifts know how much that gives."""
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((25, 40, 10))
        for t in range(1, 40):
            x[:, t] = 0.8 * x[:, t - 1] + 0.6 * x[:, t]
        rows = x.reshape(1000, 10)
        owner = np.arange(1000) // 40
        information = conditional_information(rows[:, :4], rows[:, 4:7], rows[:, 7:], owner=owner)
        found.append([information.conditional.full, information.bias[0], information.total.full])
    mean, error = np.mean(found, 0), np.std(found, 0, ddof=1) / np.sqrt(12)
    independent = 4 * 3 / (2 * 1000)
    assert mean[1] * 1.5 > independent  # though shrunk
    assert abs(mean[0]) < 3 * error[0]
    assert abs(mean[2]) < 3 * error[2]


def test_little_data_is_refused():
    x = scales.sample(rows=89, coefficient=0.3, dim=3)
    with pytest.raises(NumericalRefusal, match="10 rows or more for each of 9 variables, received 89 rows"):
        conditional_information(x.micro, x.macro, x.output, owner=np.arange(89) // 9)
    x = scales.sample(rows=90, coefficient=0.3)
    with pytest.raises(NumericalRefusal, match="none with half of the rows"):
        conditional_information(x.micro, x.macro, x.output, owner=np.zeros(90, int))
    with pytest.raises(NumericalRefusal, match="CCA"):
        filtered(np.zeros((99, 4)), np.zeros((99, 6)), np.zeros(99, int))


@pytest.mark.parametrize(("phi", "gap"), [(0.8, 1), (0.9, 2), (-0.7, 0)])
def test_the_block_of_an_ar1_process_is_decimated(phi, gap):
    x = ar1.sample(rows=9000, phi=phi, block=3, gap=gap, environment=5, seed=1)
    known = ar1.exact(phi=phi, block=3, gap=gap, environment=5)
    found = filtered(x.block, x.environment, np.arange(9000) // 90)
    rho = found.rho.pseudo_values(unbiased=True).mean()
    assert rho == pytest.approx(known.canonical_correlations[0], abs=3.5 * float(found.rho.standard_error))
    assert found.weight.full[-1] > 0.99
    information = found.information.pseudo_values(unbiased=True).mean()
    assert information == pytest.approx(known.mutual_information, abs=3.5 * float(found.information.standard_error))
    exact = canonical_pairs(known.covariance, 3)
    np.testing.assert_allclose(exact[0], known.canonical_correlations, atol=1e-7)
    np.testing.assert_allclose(abs(exact[1][:, 0]), known.block_filter, atol=1e-7)


def test_a_common_part_of_all_tokens_is_averaged_not_decimated():
    rng = np.random.default_rng(5)
    common = rng.standard_normal((4000, 1))
    block, environment = (common + rng.standard_normal((4000, 4)) for _ in range(2))
    weight = filtered(block, environment, np.arange(4000) // 100).weight
    np.testing.assert_allclose(weight.full, 0.25, atol=0.06)
    assert isinstance(weight, Estimates)


def ar1_sketches(phi, prompts=14, sites=120, coordinates=5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((prompts, 1, sites, coordinates)) * np.array([3.0, 2, 1, 0.5, 0.5])
    for t in range(1, sites):
        x[:, :, t] = phi * x[:, :, t - 1] + np.sqrt(1 - phi**2) * x[:, :, t]
    return x


def test_tokens_that_follow_an_ar1_process():
    x = np.concatenate([ar1_sketches(0.8), ar1_sketches(0.0, seed=1), np.ones((14, 1, 120, 5))], 1)
    found = real_space_information(planted_trace(sketches=x))
    assert found.values["rho"].dims == ("prompt", "state")
    rho, endpoint = found.values["rho"].mean("prompt").values, found.values["endpoint"].mean("prompt").values
    assert rho[0] == pytest.approx(0.64, abs=0.06)
    assert endpoint[0] > 0.9
    assert abs(rho[1]) < 0.15
    assert abs(float(found.values["information"].mean("prompt")[1])) < 0.02
    assert np.isnan(rho[2])  # a state of position alone
    assert found.details["filter_weight"].shape == (3, BLOCK)
    few = real_space_information(planted_trace(sketches=x[:4]))
    assert np.isnan(few.values["rho"].values).all()


def test_micro_components_that_reach_the_output_and_those_that_do_not():
    rng = np.random.default_rng(6)
    scale = np.array([8.0, 7, 6, 5, *np.linspace(2, 1, 14)])
    start = rng.standard_normal((15, 40, 18)) * scale
    kept = start * np.where(np.arange(18) < 4, 1.0, 0.1)
    mixing = 6 * start[..., [4, 5, 6, 7]]
    used = start.copy()
    used[..., :4] += mixing
    for end, low, high in ((kept, -0.1, 0.1), (used, 0.5, 9.0)):
        states = np.stack([start, end], 1)
        found = scale_separation(planted_trace(states=states, sketches=states)).values
        information = found["component_information"].mean("prompt").values
        assert low < information[0] < high
        assert np.isnan(information[1])
        assert np.isfinite(found["component_share"].values[:, 0]).all()
    # groups of four tokens: 150 of them are too few for 20 variables
    assert np.isnan(found["token_information"].values).all()
    assert 15 * 40 // GROUP < 200


def test_both_are_measured_on_either_family():
    prompts = tiny_models.random_prompts(9, 30)
    names = ("scale_separation", "real_space_information")
    for model in (tiny_models.gpt2(), tiny_gauge()):
        flow = rg.run(model, prompts, nulls=1, shuffles=1, diagnostics=names, positions=24)
        separation = flow.to_xarray()["scale_separation"]["value"]
        assert np.isfinite(separation.sel(quantity="component_information").values[:-1]).all()
        assert np.isnan(separation.sel(quantity="component_information").values[-1])
        assert np.isnan(separation.sel(quantity="token_information").values).all()  # 9 x 7 groups
        assert flow.to_xarray()["real_space_information"]["value"].shape[0] == 3
