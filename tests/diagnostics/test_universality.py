"""Universality: families of paraphrases with a planted correlation, and references that loop over pairs of prompts."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_models
import torch
from fake_trace import fake_trace

import rgprobe as rg
from rgprobe.data.families import SAME_LAST_WORD, SHARED_WORDS
from rgprobe.diagnostics import family_distances as fd
from rgprobe.diagnostics import universality as d14
from rgprobe.probe.normalising import norm_kind
from rgprobe.testbeds import planted_icc

SIZES = [(5, 3, 7), (9, 2, 1), (6, 5, 33)]


def labels_of(families, members):
    return np.repeat(np.arange(families), members)


def planted(families, members, dim, icc=0.4, seed=3):
    points = planted_icc.sample(families=families, members=members, icc=icc, dim=dim, seed=seed)
    return points.reshape(families * members, dim), labels_of(families, members)


def icc_by_pairs(points, labels):
    """Mean over families, and over pairs of families, of the mean over pairs of prompts."""
    groups = range(labels.max() + 1)
    within, between = [], []
    for g in groups:
        mine = points[labels == g]
        within.append(np.mean([((a - b) ** 2).sum() for i, a in enumerate(mine) for b in mine[:i]]))
        for h in range(g):
            between.append(np.mean([((a - b) ** 2).sum() for a in mine for b in points[labels == h]]))
    return 1 - np.mean(within) / np.mean(between)


def icc_by_anova(points, labels):
    """ICC(1,1) of a one-way layout, mean squares summed over coordinates."""
    groups, members = labels.max() + 1, np.bincount(labels)[0]
    means = np.array([points[labels == g].mean(0) for g in range(groups)])
    between = members * ((means - points.mean(0)) ** 2).sum() / (groups - 1)
    within = ((points - means[labels]) ** 2).sum() / (groups * (members - 1))
    return (between - within) / (between + (members - 1) * within)


@pytest.mark.parametrize("size", SIZES)
def test_icc_is_the_analysis_of_variance(size):
    points, labels = planted(*size)
    assert fd.intraclass_correlation(points, labels) == pytest.approx(icc_by_anova(points, labels), rel=1e-12)
    assert fd.intraclass_correlation(points, labels) == pytest.approx(icc_by_pairs(points, labels), rel=1e-12)


def test_icc_of_families_of_unequal_size_counts_them_alike():
    points, labels = planted(6, 5, 3)
    kept = np.array([True, False, True, True, True] * 6) & ~((labels == 2) & (np.arange(30) % 5 > 2))
    assert np.bincount(labels[kept]).tolist() == [4, 4, 2, 4, 4, 4]
    expected = icc_by_pairs(points[kept], labels[kept])
    assert fd.intraclass_correlation(points[kept], labels[kept]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_jackknife_is_the_icc_without_each_family(size):
    points, labels = planted(*size)
    found = fd.icc_over_families(points, labels)
    for family in range(size[0]):
        rest = labels != family
        expected = icc_by_pairs(points[rest], np.unique(labels[rest], return_inverse=True)[1])
        assert found.deleted[family] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("icc", [0.2, 0.8])
def test_planted_icc_is_recovered(icc):
    points, labels = planted(40, 8, 16, icc, seed=0)
    known = planted_icc.exact(families=40, members=8, icc=icc, dim=16, coverage=0.999)
    assert known.estimate_interval[0] < fd.intraclass_correlation(points, labels) < known.estimate_interval[1]
    found = fd.icc_over_families(points, labels)
    assert abs(found.full - icc) < 4 * found.standard_error


def test_a_shift_of_all_prompts_and_tight_families_cost_no_digits():
    points, labels = planted(6, 4, 5)
    tight = labels[:, None] + 1e-6 * points
    found = 1 - fd.intraclass_correlation(tight + 1e4, labels)
    assert found == pytest.approx(1 - icc_by_pairs(tight, labels), rel=1e-4)


def matched_icc_by_loops(points, labels, kinds):
    """D_b over the combinations of kinds that occur within groups, with the weights that they have there."""
    groups = range(labels.max() + 1)
    within, weights = [], {}
    for g in groups:
        mine = np.flatnonzero(labels == g)
        pairs = [(i, j) for i in mine for j in mine if i < j]
        within.append(np.mean([((points[i] - points[j]) ** 2).sum() for i, j in pairs]))
        for i, j in pairs:
            key = tuple(sorted((kinds[i], kinds[j])))
            weights[key] = weights.get(key, 0) + 1 / len(pairs) / (labels.max() + 1)
    between = {}
    for key in weights:
        means = []
        for g in groups:
            for h in range(g):
                pairs = [(i, j) for i in np.flatnonzero(labels == g) for j in np.flatnonzero(labels == h)
                         if tuple(sorted((kinds[i], kinds[j]))) == key]  # fmt: skip
                means += [np.mean([((points[i] - points[j]) ** 2).sum() for i, j in pairs])] if pairs else []
        between[key] = np.mean(means)
    return 1 - np.mean(within) / sum(weights[key] * between[key] for key in weights)


@pytest.mark.parametrize("seed", range(3))
def test_matched_icc_is_that_of_plain_loops(seed):
    rng = np.random.default_rng(seed)
    points, labels = planted(7, 5, 3, seed=seed)
    kinds = rng.integers(0, 3, 35)
    expected = matched_icc_by_loops(points, labels, kinds)
    assert fd.intraclass_correlation(points, labels, kinds) == pytest.approx(expected, rel=1e-10)
    found = fd.icc_over_families(points, labels, kinds)
    for family in range(7):
        rest = labels != family
        relabelled = np.unique(labels[rest], return_inverse=True)[1]
        assert found.deleted[family] == pytest.approx(
            matched_icc_by_loops(points[rest], relabelled, kinds[rest]), rel=1e-8
        )


def test_kinds_that_move_points_far_do_not_hide_families_or_invent_them():
    """24 families that hold each of 8 kinds once: unmatched, an icc of no family at all is -1 / 7."""
    rng = np.random.default_rng(5)
    kinds = np.tile(np.arange(8), 24)
    noise, kind_effect = rng.standard_normal((192, 30)), 10 * rng.standard_normal((8, 30))[kinds]
    labels = labels_of(24, 8)
    assert fd.intraclass_correlation(noise + kind_effect, labels) == pytest.approx(-1 / 7, abs=0.01)
    assert fd.intraclass_correlation(noise + kind_effect, labels, kinds) == pytest.approx(0, abs=0.01)
    family = rng.standard_normal((24, 30))[labels]
    left = d14.without_kinds(noise + kind_effect + family, kinds)
    assert fd.intraclass_correlation(left, labels, kinds) == pytest.approx(0.5, abs=0.06)


def test_what_has_no_counterpart_between_groups_is_left_out():
    points, labels = planted(6, 4, 3)
    kinds = np.tile([0, 0, 1, 1], 6)
    kinds[:2] = 5  # no other family has two such prompts, so no pair (5, 5) exists between families
    found = fd.group_distances(points, labels, kinds)
    own = [(i, j) for i in range(4) for j in range(i) if (i, j) != (1, 0)]
    assert found.within[0] == pytest.approx(np.mean([((points[i] - points[j]) ** 2).sum() for i, j in own]))
    kinds[:4] = 5  # and now the whole family, which the others then are compared without
    rest = labels > 0
    lone = fd.icc_over_families(points, labels, kinds)
    expected = matched_icc_by_loops(points[rest], labels[rest] - 1, kinds[rest])
    assert np.isnan(fd.group_distances(points, labels, kinds).within[0])
    assert lone.full == pytest.approx(expected, rel=1e-10)
    assert lone.deleted[0] == pytest.approx(expected, rel=1e-10)


def test_equal_last_tokens_at_the_input_end_leave_nothing_to_explain():
    points = np.repeat(np.random.default_rng(0).standard_normal((3, 4)), 6, 0)
    kinds = np.repeat(np.arange(3), 6)
    assert (d14.without_kinds(points, kinds) == 0).all()
    found = fd.icc_over_families(points, np.tile(np.arange(6), 3), kinds)  # each family holds each last token once
    assert (found.full, found.deleted.tolist()) == (0, [0] * 6)  # not 1e-16, which would be the same in every sample


def grouped_trace(icc_by_state, *, families=7, members=4, width=33, seed=0):
    """Families, then as many groups of shared words, whose own correlation is nil; then two last words."""
    rng = np.random.default_rng(seed)
    count = families * members
    states = np.stack([planted(families, members, width, icc, seed=10 + i)[0] for i, icc in enumerate(icc_by_state)], 1)
    controls = rng.standard_normal((2 * count, len(icc_by_state), width))
    names = [f"family {i}" for i in labels_of(families, members)]
    words = [SHARED_WORDS + name for name in names]
    last = [f"{SAME_LAST_WORD}{i % 2}" for i in range(count)]
    trace = fake_trace(states=np.concatenate([states, controls])[:, :, None])
    return replace(trace, groups=(*names, *words, *last))


def test_trace_reports_at_the_first_prompt_of_each_family():
    trace = grouped_trace([0.1, 0.5, 0.9])
    found = d14.universality(trace).values
    icc = found["icc"].values
    assert np.flatnonzero(np.isfinite(icc).all(1)).tolist() == list(range(0, 28, 4))
    assert np.isfinite(icc).sum() == 7 * 3
    points = d14.last_states(trace)[:28]
    for state in range(3):
        expected = icc_by_anova(points[:, state], labels_of(7, 4))
        assert np.nanmean(icc[:, state]) == pytest.approx(expected, rel=1e-10)
    assert np.flatnonzero(np.isfinite(found["icc_shared_words"].values[:, 0])).tolist() == list(range(28, 56, 4))
    assert np.abs(np.nanmean(found["icc_shared_words"].values, 0)).max() < 0.1
    # all prompts end alike here, so that taking out the mean of the last token changes nothing
    np.testing.assert_allclose(found["icc_given_last_word"], icc, rtol=1e-10)
    gap = np.nanmean(icc, 0) - np.nanmean(found["icc_shared_words"].values, 0)
    np.testing.assert_allclose(np.nanmean(found["beyond_words"].values, 0), gap, rtol=1e-10)
    assert found["icc_last_word"].isnull().all()  # two groups are no sample


def test_within_ratio_is_the_contraction_of_families():
    rng = np.random.default_rng(1)
    centre = rng.standard_normal((6, 1, 1, 40)).repeat(3, 1).reshape(18, 1, 40)
    noise = rng.standard_normal((18, 1, 40))
    states = np.concatenate([centre + scale * noise for scale in (0.02, 0.01)], 1)
    trace = replace(fake_trace(states=states[:, :, None]), groups=tuple("abcdef"[i // 3] for i in range(18)))
    found = np.nanmean(d14.universality(trace).values["within_ratio"].values, 0)
    np.testing.assert_allclose(found, [1, 0.5], rtol=1e-3)  # normalisation bends it by the noise squared


def two_way(families, members, dim, icc, seed, size=3.0):
    """Every family ends once in every word, and words move states further than families do."""
    points, labels = planted(families, members, dim, icc, seed)
    kinds = np.tile(np.arange(members), families)
    return points + size * np.random.default_rng(99).standard_normal((members, dim))[kinds], labels, kinds


def icc_by_two_way_anova(points, labels, kinds):
    """ICC(3,1) of Shrout and Fleiss, mean squares summed over coordinates."""
    families, members = labels.max() + 1, kinds.max() + 1
    table = np.empty((families, members, points.shape[1]))
    table[labels, kinds] = points
    rows, columns = table.mean(1, keepdims=True), table.mean(0, keepdims=True)
    between = members * ((rows - table.mean((0, 1))) ** 2).sum() / (families - 1)
    left = ((table - rows - columns + table.mean((0, 1))) ** 2).sum() / ((families - 1) * (members - 1))
    return (between - left) / (between + (members - 1) * left)


@pytest.mark.parametrize("size", [(5, 3, 7), (6, 8, 16), (9, 2, 1)])
def test_with_the_means_of_kinds_taken_out_icc_is_the_two_way_analysis_of_variance(size):
    points, labels, kinds = two_way(*size, icc=0.4, seed=1)
    found = fd.icc_over_families(d14.without_kinds(points, kinds), labels, kinds, centred=True)
    assert float(found.full) == pytest.approx(icc_by_two_way_anova(points, labels, kinds), rel=1e-10)


@pytest.mark.parametrize("icc", [0.0, 0.2, 0.5])
def test_means_of_few_families_do_not_raise_what_is_left_without_them(icc):
    found = []
    for seed in range(60):
        points, labels, kinds = two_way(6, 8, 64, icc, seed)
        # families of other sizes as well: one that lacks two of the words
        for cut in (points[:, 0] < np.inf, (labels > 0) | (kinds > 1)):
            left = d14.without_kinds(points[cut], kinds[cut])
            found.append(float(fd.icc_over_families(left, labels[cut], kinds[cut], centred=True).full))
            if cut.all():
                uncounted = float(fd.icc_over_families(left, labels, kinds).full)
                assert uncounted == pytest.approx(found[-1] / (1 - (1 - found[-1]) / 6), rel=1e-9)
    assert abs(np.mean(found) - icc) < 0.015


def test_icc_given_last_word_of_a_trace_counts_the_means_that_it_takes_out():
    points, labels, kinds = two_way(6, 8, 33, icc=0.4, seed=2)
    # equal lengths, so that normalising leaves the states in place
    states = np.concatenate([points, np.sqrt(4000 - (points**2).sum(1, keepdims=True))], 1)
    trace = replace(fake_trace(states=states[:, None, None]), groups=tuple(f"family {i}" for i in labels))
    trace.token_ids[:, -1] = kinds
    found = np.nanmean(d14.universality(trace).values["icc_given_last_word"].values)
    assert found == pytest.approx(icc_by_two_way_anova(d14.last_states(trace)[:, 0], labels, kinds), rel=1e-10)


def test_permuted_families_have_no_correlation_and_report_at_the_same_prompts():
    measured = d14.universality(grouped_trace([0.5, 0.5]))
    null = measured.internal_nulls["permuted_families"]
    assert null["icc"].dims == ("draw", "prompt", "state")
    np.testing.assert_array_equal(null["icc"].notnull().all("draw"), measured.values["icc"].notnull())
    assert abs(float(null["icc"].mean())) < 0.03
    assert float(measured.values["icc"].mean()) > 0.4


def test_without_groups_or_with_few_families_nothing_is_defined():
    for groups in ((), ("a", "a", "b", "b") * 21, ("",) * 84):
        measured = d14.universality(replace(grouped_trace([0.5, 0.5]), groups=groups))
        assert all(array.isnull().all() for array in measured.values.values())
        assert all(array.isnull().all() for array in measured.internal_nulls["permuted_families"].values())


def test_last_states_follow_the_networks_norm():
    trace = grouped_trace([0.5])
    raw = trace.states.values[:, :, -1]
    rms = d14.last_states(trace)
    np.testing.assert_allclose(rms, raw / np.sqrt((raw**2).mean(-1, keepdims=True)))
    layer = d14.last_states(replace(trace, provenance={"norm": "layer"}))
    np.testing.assert_allclose(layer.mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose((layer**2).mean(-1), 1)
    elsewhere = replace(trace, token_mask=np.ones((84, 5), dtype=bool))
    assert np.isnan(d14.last_states(elsewhere)).all()


@pytest.mark.parametrize(
    ("family", "kind"), [("gpt2", "layer"), ("llama", "rms"), ("neox", "layer"), ("bert", "layer")]
)
def test_the_networks_norm_is_found_by_trying(family, kind):
    assert norm_kind(rg.load(tiny_models.FAMILIES[family]())) == kind


def test_run_keeps_the_groups_in_every_null_model():
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(4, 61, (9,), generator=generator) for _ in range(12)]
    for index, prompt in enumerate(prompts):
        prompt[5:] = 7 + index % 2  # so that last tokens combine alike in every family, shuffled ones as well
    groups = [str(i // 2) for i in range(12)]
    flow = rg.run(tiny_models.llama(), prompts, nulls=1, shuffles=1, diagnostics="universality", groups=groups)
    node = flow.to_xarray()["universality"].to_dataset()
    assert set(node["null_model"].values) == {"random_init", "shuffled_tokens", "permuted_families"}
    assert np.isfinite(node["null"].sel(quantity="icc").values).all()
    assert node["family"].values.tolist() == list("012345")
