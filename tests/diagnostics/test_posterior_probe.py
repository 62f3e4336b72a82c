"""D16: the probe against scikit-learn, against closed forms, and what it refuses."""

import numpy as np
import pytest
import torch
from fake_trace import fake_trace
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GroupKFold

from rgprobe.diagnostics.posterior_probe import posterior_probe, probe_trace
from rgprobe.errors import NumericalRefusal, OptionError
from rgprobe.testbeds import mess3

CASES = [(6, 7, 5, 3, 2), (23, 3, 4, 2, 5), (31, 11, 9, 5, 31)]


def sequences(rows, length, width, classes, *, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(rows, length, width)) * rng.uniform(0.1, 10, width) + 3.0
    posterior = states @ rng.normal(size=(width, classes)) + noise * rng.normal(size=(rows, length, classes)) - 1.0
    return states, posterior


@pytest.mark.parametrize(("rows", "length", "width", "classes", "folds"), CASES)
def test_held_out_predictions_are_those_of_a_fit_to_the_other_sequences(rows, length, width, classes, folds):
    states, posterior = sequences(rows, length, width, classes)
    found = posterior_probe(states, posterior, folds=folds, ridge=0.3, seed=1)
    fold = np.random.default_rng(1).permutation(rows) % folds
    for held in range(folds):
        x, b = states[fold != held].reshape(-1, width), posterior[fold != held].reshape(-1, classes)
        penalty = 0.3 * len(x) * x.var(0).mean()
        expected = Ridge(alpha=penalty, solver="cholesky").fit(x, b).predict(states[fold == held].reshape(-1, width))
        np.testing.assert_allclose(found.predicted[fold == held].reshape(expected.shape), expected, atol=1e-9)


def test_r2_and_its_jackknife_against_a_loop():
    states, posterior = sequences(9, 5, 4, 2)
    found = posterior_probe(states, posterior, folds=9)
    left, total = [], []
    for train, test in GroupKFold(9).split(range(9), groups=range(9)):
        model = LinearRegression().fit(states[train].reshape(-1, 4), posterior[train].reshape(-1, 2))
        left.append(((posterior[test[0]] - model.predict(states[test[0]])) ** 2).sum())
        total.append(((posterior[test[0]] - posterior[train].mean((0, 1))) ** 2).sum())
    # GroupKFold may take the groups in any order; sums over sequences do not care
    assert found.r2 == pytest.approx(1 - sum(left) / sum(total), abs=1e-7)
    deleted = [1 - (sum(left) - a) / (sum(total) - b) for a, b in zip(left, total, strict=True)]
    assert sorted(found.pseudo_values) == pytest.approx(
        sorted(found.r2 - 8 * (one - np.mean(deleted)) for one in deleted), abs=1e-6
    )


def test_the_probe_does_not_see_scale_shift_or_rotation():
    states, posterior = sequences(20, 6, 5, 3)
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(5, 5)))[0]
    same = posterior_probe(1e3 * states @ rotation + 7.0, posterior)
    assert same.r2 == pytest.approx(posterior_probe(states, posterior).r2, abs=1e-6)


def test_planted_noise_leaves_the_share_that_it_should():
    rng = np.random.default_rng(0)
    tokens = mess3.sample(length=40, rows=300, seed=1).tokens
    belief = mess3.beliefs(tokens)[:, 1:]
    plane = np.linalg.qr(rng.normal(size=(16, 3)))[0].T
    sigma = 0.2
    found = posterior_probe(belief @ plane + sigma * rng.normal(size=(300, 40, 16)), belief)
    variance = np.linalg.eigvalsh(np.cov(belief.reshape(-1, 3).T))[1:]
    assert found.r2 == pytest.approx((variance**2 / (variance + sigma**2)).sum() / variance.sum(), abs=0.01)


def test_states_that_say_nothing_give_no_r2():
    rng = np.random.default_rng(0)
    posterior = mess3.beliefs(mess3.sample(length=20, rows=60).tokens)[:, 1:]
    found = posterior_probe(rng.normal(size=(60, 20, 8)), posterior)
    assert -0.1 < found.r2 < 0.01
    # states that do not move predict the mean
    assert posterior_probe(np.ones((60, 20, 8)), posterior).r2 == pytest.approx(0.0, abs=1e-12)


def test_a_trace_is_probed_state_by_state_at_its_recorded_tokens():
    rng = np.random.default_rng(0)
    posterior = rng.normal(size=(7, 6, 2))
    states = torch.from_numpy(np.stack([rng.normal(size=(7, 6, 4)), np.concatenate([posterior, posterior], -1)], 1))
    trace = fake_trace(states=states.numpy())
    found = probe_trace(trace, posterior)
    assert found.dims == ("prompt", "state")
    assert found.sizes == {"prompt": 7, "state": 2}
    assert float(found.mean("prompt")[1]) == pytest.approx(1.0, abs=1e-6)
    assert float(found.mean("prompt")[0]) < 0.5


def test_what_cannot_be_probed_is_refused():
    states, posterior = sequences(8, 5, 4, 2)
    with pytest.raises(OptionError, match="posterior"):
        posterior_probe(states, posterior[:, :4])
    with pytest.raises(OptionError, match="folds"):
        posterior_probe(states, posterior, folds=9)
    with pytest.raises(OptionError, match="ridge"):
        posterior_probe(states, posterior, ridge=0.0)
    with pytest.raises(NumericalRefusal, match="at least 5"):
        posterior_probe(states[:4], posterior[:4])
    with pytest.raises(NumericalRefusal, match=r"states\[3\]"):
        posterior_probe(np.where(np.arange(8)[:, None, None] == 3, np.nan, states), posterior)
    with pytest.raises(NumericalRefusal, match="a constant"):
        posterior_probe(states, np.ones_like(posterior))
