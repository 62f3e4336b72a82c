"""Genealogy of planted beliefs along depth, its nulls, and the number of components at a null's quantile."""

from dataclasses import replace

import numpy as np
import pytest

from rgprobe.condensation import condense
from rgprobe.condensation.effective_tokens import effective_tokens
from rgprobe.diagnostics.components import calibrate, components
from rgprobe.diagnostics.genealogy import DRAWS, genealogy
from rgprobe.planted_trace import planted_trace


def groups(counts, tokens=24, classes=30, noise=0.02, seed=0):
    """Log-probabilities (state, token, class): at each state so many groups, token i in group i mod count."""
    generator = np.random.default_rng(seed)
    states = []
    for count in counts:
        centres = generator.dirichlet(np.full(classes, 0.15), size=count)
        rows = (
            centres[np.arange(tokens) % count] + noise * generator.dirichlet(np.full(classes, 0.5), size=tokens) + 1e-4
        )
        states.append(np.log(rows / rows.sum(1, keepdims=True)))
    return np.stack(states)


def unrelated(states=3, tokens=24, seed=0):
    rows = np.random.default_rng(seed).dirichlet(np.full(30, 0.3), size=(states, tokens)) + 1e-6
    return np.log(rows / rows.sum(-1, keepdims=True))


def test_quantities_stand_at_the_depth_that_a_passage_leads_to():
    trace = planted_trace(log_probabilities=[groups((8, 8, 4, 2), seed=p) for p in range(3)])
    values = genealogy(trace).values
    for name in ("adjusted_rand", "cophenetic", "persisting", "log_b_absolute", "log_b_relative"):
        assert np.isnan(values[name].values[:, 0]).all()
        assert np.isfinite(values[name].values[:, 1:]).any(), name
    trees = [condense(np.exp(rows)) for rows in trace.log_probabilities[1]]
    left = [np.log(effective_tokens(tree, loss=0.5)) for tree in trees]
    np.testing.assert_allclose(values["log_tokens_absolute"].values[1], left, rtol=1e-12)
    np.testing.assert_allclose(values["log_b_absolute"].values[1, 1:], -np.diff(left), rtol=1e-9)


def test_a_layer_and_its_copy_are_all_persistence():
    made = [groups((4, 2), seed=p)[[0, 0, 1]] for p in range(2)]
    measured = genealogy(planted_trace(log_probabilities=made))
    share, clusters = measured.details["event_share"], measured.details["clusters"].values
    assert (clusters[:, 0] == clusters[:, 1]).all()
    for name in ("adjusted_rand", "cophenetic", "persisting"):
        assert measured.values[name].values[:, 1] == pytest.approx(1.0)
    assert share.sel(event="persists").values[:, 1] == pytest.approx(1.0)
    assert (share.sel(event="persists").values[:, 2] < 1).all()
    np.testing.assert_allclose(share.sum("event").values[:, 1:], 1.0)


def test_unrelated_layers_agree_as_much_as_their_nulls():
    measured = genealogy(planted_trace(log_probabilities=[unrelated(seed=p) for p in range(12)]))
    assert set(measured.internal_nulls) == {"permuted_tokens", "shifted_tokens", "position_matched"}
    for null in measured.internal_nulls.values():
        assert null.sizes["draw"] == DRAWS
        for name in ("adjusted_rand", "cophenetic"):
            gap = (measured.values[name] - null[name].mean("draw")).values[:, 1:].mean(1)
            assert abs(gap.mean()) < 3.5 * gap.std(ddof=1) / np.sqrt(len(gap)), name


def test_related_layers_agree_more():
    measured = genealogy(planted_trace(log_probabilities=[groups((6, 6), seed=p) for p in range(6)]))
    for name, null in measured.internal_nulls.items():
        if name == "permuted_tokens":
            assert (measured.values["adjusted_rand"].values[:, 1] > null["adjusted_rand"].values[:, :, 1].max(0)).all()


def test_too_few_tokens_or_texts_are_left_undefined():
    measured = genealogy(planted_trace(log_probabilities=[unrelated(tokens=3)]))
    assert all(np.isnan(array).all() for array in measured.values.values())
    alone = genealogy(planted_trace(log_probabilities=[unrelated()]))
    assert set(alone.internal_nulls) == {"permuted_tokens", "shifted_tokens"}
    single = genealogy(planted_trace(log_probabilities=[unrelated(states=1), unrelated(states=1, seed=1)]))
    assert np.isnan(single.values["adjusted_rand"].values).all()


def test_components_at_the_null_quantile_are_the_planted_groups():
    """Against unrelated beliefs, whose nearest pairs are far apart, groups are components and clusters alike."""
    null = components(planted_trace(log_probabilities=[unrelated(seed=50 + p) for p in range(4)]))
    measured = components(planted_trace(log_probabilities=[groups((6, 3, 2), seed=p, noise=0.01) for p in range(4)]))
    counted = calibrate(measured, [null])
    epsilon = counted.details["epsilon"].values
    pairs = null.private["pair"].values
    np.testing.assert_allclose(epsilon, [np.quantile(pairs[:, state], 0.05) for state in range(3)])
    np.testing.assert_array_equal(counted.values["components"].values, np.tile([6, 3, 2], (4, 1)))
    np.testing.assert_array_equal(counted.values["tree_clusters"].values, np.tile([6, 3, 2], (4, 1)))


def test_components_wait_for_a_null_and_never_outnumber_clusters():
    measured = components(planted_trace(log_probabilities=[unrelated(seed=p) for p in range(3)]))
    assert np.isnan(measured.values["components"]).all()
    assert calibrate(measured, []) is measured
    counted = calibrate(measured, [measured]).values
    assert (counted["components"] <= counted["tree_clusters"]).all()
    assert (counted["components"] < 24).any()


def test_a_single_token_has_no_components():
    trace = planted_trace(log_probabilities=[unrelated(tokens=1)])
    measured = components(trace)
    other = components(planted_trace(log_probabilities=[unrelated()]))
    assert np.isnan(calibrate(measured, [other]).values["components"]).all()
    assert np.isnan(calibrate(replace(measured), [measured]).values["components"]).all()
