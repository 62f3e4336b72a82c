"""Meta-tokens patched into a pass: exact where they should be, scored where nothing leaks, and refused where undefined."""

import numpy as np
import pytest
import torch
from gauge_models import tiny_gauge
from tiny_models import llama

from rgprobe.errors import OptionError
from rgprobe.probe.loading import load
from rgprobe.probe.merge_metric import merge_metric, state_metrics
from rgprobe.probe.patching import patched_divergence, states_at
from rgprobe.rate_distortion import faithfulness, measuring
from rgprobe.rate_distortion.baselines import BASELINES, bipartite, rolled, text_units
from rgprobe.rate_distortion.measuring import cluster_means, meta_states

IDS = torch.randint(3, 50, (23,), generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["standard", "gauge"])
def probe(request):
    return load(llama() if request.param == "standard" else tiny_gauge())


def test_as_many_meta_tokens_as_tokens_lose_nothing(probe):
    curve = faithfulness(probe, IDS, layer=1)
    for method in curve.partitions:
        assert curve.distortion(method)[-1] < 1e-10, method
    assert curve.distortion("tree")[0] > 1e-6
    assert curve.data["relative"].sel(partition="windows", clusters=1) == pytest.approx(1)


def test_a_patch_at_the_output_end_cannot_reach_later_tokens(probe):
    curve = faithfulness(probe, IDS, layer=probe.n_blocks, baselines=("windows",))
    assert np.abs(curve.data["distortion"].values).max() < 1e-10


def test_merging_is_the_patch_that_a_person_would_write(probe):
    """Against a pass whose hook overwrites the states by hand."""
    curve = faithfulness(
        probe, IDS, layer=1, merge=slice(2, 9), score=slice(12, 20), sizes=(1, 3), baselines=("windows",)
    )
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2])

    def overwrite(tensor, hook):
        for cluster in range(3):
            members = 2 + (labels == cluster).nonzero()[:, 0]
            tensor[:, members] = tensor[:, members].mean(1, keepdim=True)
        return tensor

    found = []
    with torch.no_grad():
        before = probe.logits(IDS)[12:20].double().log_softmax(-1)
        hooks = [(probe.state_hook(1), overwrite), (probe.state_hook(probe.n_blocks), lambda x, hook: found.append(x))]
        probe.rows_to_last_state(IDS[None], hooks)
        after = probe.readout(found[-1][0, 12:20]).double().log_softmax(-1)
    expected = (before.exp() * (before - after)).sum(-1).mean()
    assert curve.distortion("windows")[1] == pytest.approx(float(expected), rel=1e-5)


def test_equal_keys_and_values_act_as_one_with_a_bias():
    """What makes replacing by means the same as removing tokens: c equal keys weigh as one with ln c on its score."""
    generator = torch.Generator().manual_seed(1)
    query, keys, values = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((5, 8), (7, 8), (7, 3))
    )
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 2])
    k, v = cluster_means(keys, labels), cluster_means(values, labels)
    whole = (query @ k.T).softmax(-1) @ v
    first = torch.tensor([0, 1, 3])
    removed = (query @ k[first].T + torch.bincount(labels).double().log()).softmax(-1) @ v[first]
    assert (whole - removed).abs().max() < 1e-12


def test_keys_and_values_of_one_block_are_replaced_alone():
    probe = load(llama())
    curve = faithfulness(probe, IDS, layer=0, place="keys_values", baselines=())
    assert curve.distortion("tree")[-1] < 1e-10
    assert curve.distortion("tree")[0] > 1e-8
    with pytest.raises(OptionError, match="residual"):
        faithfulness(load(tiny_gauge()), IDS, layer=0, place="keys_values")


def test_reconstructions_and_partitions_join_the_comparison(probe):
    halves = np.repeat([0, 1], [5, 5])
    curve = faithfulness(
        probe, IDS, layer=1, baselines=(), partitions={"halves": halves}, merge=slice(1, 11),
        reconstructions={"identity": lambda x: x, "zero": torch.zeros_like},
    )  # fmt: skip
    last = curve.data["distortion"].sel(clusters=10)
    assert float(last.sel(partition="identity")) < 1e-10 < float(last.sel(partition="zero"))
    assert np.isfinite(float(curve.data["distortion"].sel(partition="halves", clusters=2)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"merge": slice(1, 12), "score": slice(8, None)}, "behind the last merged"),
        ({"merge": slice(40, 50)}, "merge"),
        ({"sizes": (0, 3)}, "sizes"),
        ({"baselines": ("telepathy",)}, "telepathy"),
        ({"layer": 9}, "layer"),
        ({"place": "mind"}, "place"),
    ],
)
def test_what_is_undefined_is_refused(options, said):
    with pytest.raises(OptionError, match=said):
        faithfulness(load(llama()), IDS, **{"layer": 1, **options})


def test_a_patch_must_score_something():
    with pytest.raises(OptionError, match="score"):
        patched_divergence(load(llama()), IDS, [lambda x: x], state=1, score=torch.tensor([], dtype=torch.long))


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("clusters", [1, 2, 5, 11, 13])
def test_baselines_make_as_many_clusters_as_asked(name, clusters):
    states = np.random.default_rng(0).standard_normal((13, 6))
    labels = BASELINES[name](states, clusters, 3)
    assert labels.shape == (13,)
    assert set(labels.tolist()) == set(range(clusters))


def test_bipartite_matching_joins_what_is_alike():
    pairs = np.repeat(np.random.default_rng(1).standard_normal((6, 16)), 2, axis=0)
    assert bipartite(pairs, 6, 0).tolist() == np.repeat(np.arange(6), 2).tolist()


def test_rolled_partitions_keep_their_sizes():
    labels = np.array([0, 0, 0, 1, 1, 2])
    moved = rolled(labels, 1)
    assert sorted(np.bincount(moved)) == sorted(np.bincount(labels))
    assert moved.tolist() != labels.tolist()


def test_paragraphs_end_at_blank_lines():
    assert text_units(["a", "\n\n", "b", "c"], r"\n\s*\n").tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("belief", ["lens", "thermal", "downstream"])
def test_every_kind_of_tree_can_be_grown(probe, belief):
    curve = faithfulness(probe, IDS, layer=1, belief=belief, baselines=())
    assert curve.distortion("tree")[-1] < 1e-10


def test_precision_weighted_means_are_those_of_the_normal_equations():
    generator = torch.Generator().manual_seed(4)
    states = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    gradients = torch.randn(9, 6, 5, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    lengths = states.norm(dim=1)
    units = states / lengths[:, None]
    found = meta_states(states, labels, merge_metric(units, gradients, floor=0.5))
    information = torch.einsum("sni,snj->nij", gradients, gradients) / 9
    # five directions are what six tokens span: the metric of the whole space
    mean = information.diagonal(dim1=-2, dim2=-1).mean()
    damped = information + (0.5 + measuring.DAMPING * 1.5) * mean * torch.eye(5, dtype=torch.float64)
    for cluster in range(3):
        members = labels == cluster
        pull = torch.einsum("nij,nj->i", damped[members], units[members])
        expected = lengths[members].mean() * torch.linalg.solve(damped[members].sum(0), pull)
        torch.testing.assert_close(found[members], expected.expand(int(members.sum()), 5))


def test_the_metric_predicts_what_a_small_turn_of_a_state_costs():
    """To second order, half the quadratic form of the information is the divergence of the scored predictions, summed."""
    probe = load(llama())
    merged, scored = torch.arange(1, 4), torch.arange(8, 23)
    beliefs = state_metrics(probe, IDS, merged, scored=scored, draws=4000, floor=0.0)[1]
    states = states_at(probe, IDS, 1)
    lengths = states.norm(dim=1)
    moved = states.clone()
    moved[1] += 0.05 * (states[2] * lengths[1] / lengths[2] - states[1])
    nats = float(patched_divergence(probe, IDS, [lambda here: moved], state=1, score=scored)) * len(scored)
    coordinates = 0.05 * (beliefs.mean[1] - beliefs.mean[0])
    predicted = 0.5 * float(coordinates @ beliefs.precision[0] @ coordinates)
    assert nats == pytest.approx(predicted, rel=0.15)  # 4,000 draws, and a step of finite length


def test_a_metric_of_outputs_that_notice_nothing_leaves_lengths():
    states = torch.randn(4, 3, generator=torch.Generator().manual_seed(5))
    beliefs = merge_metric(states, torch.zeros(2, 4, 3))
    torch.testing.assert_close(beliefs.precision, torch.eye(3, dtype=torch.float64).expand(4, 3, 3))
    assert merge_metric(torch.ones(3, 2), torch.zeros(2, 3, 2)).dim == 1
