"""What the public functions are called with by mistake: a typed error that names the argument, never another answer."""

import numpy as np
import pytest
import tiny_models
import torch
from gauge_models import tiny_gauge

import rgprobe as rg
from rgprobe.condensation import condense
from rgprobe.errors import BadInput, OptionError, PromptError
from rgprobe.gaussian import Gaussian, jeffreys, kl, merge, pairwise_kl, pool, pushforward
from rgprobe.models import kl_attention

pytestmark = pytest.mark.usefixtures("unchecked_types")

IDS = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
NO_WHOLE = [2.5, "3", True, None]
NO_SEED = [-1, 0.5, None, "0", True]
G = Gaussian.from_diagonal(torch.zeros(4, 3), torch.ones(4, 3))
VALUES = torch.ones(4, 3)
TREE = condense(np.eye(4) * 0.6 + 0.1)


@pytest.fixture(scope="module")
def probe():
    return rg.load(tiny_models.llama())


@pytest.fixture(scope="module")
def flow(probe):
    return rg.run(probe, [IDS, IDS[::-1]], nulls=0, diagnostics="collapse")


@pytest.mark.parametrize(
    "positions",
    ["3", [1.9, 2.2], True, 2.5, None, [], [[1, 2]], ["1"], [True], 0, -1, [-1], [10], np.array(2.5)],
    ids=repr,
)
def test_positions_are_a_count_or_indices(probe, positions):
    with pytest.raises(OptionError, match="positions"):
        rg.trace(probe, [IDS], positions=positions)


def test_whole_numbers_of_numpy_and_torch_are_taken(probe):
    for positions in (3, np.int64(3), torch.tensor(3)):
        trace = rg.trace(probe, [IDS], positions=positions, collect=["beliefs"])
        assert trace.recorded(0).tolist() == [1, 5, 9]
        assert trace.provenance["options"]["positions"] == 3
    for positions in ((7, 2), np.array([7, 2]), torch.tensor([2, 7, 2]), range(2, 8, 5)):
        assert rg.trace(probe, [IDS], positions=positions, collect=["beliefs"]).recorded(0).tolist() == [2, 7]
    made = rg.run(probe, [IDS], nulls=np.int64(1), shuffles=np.int64(0), seed=np.int64(7), diagnostics="collapse")
    assert made.provenance["seed"] == 7
    torch.testing.assert_close(kl_attention(G, VALUES, window=np.int64(3)), kl_attention(G, VALUES, window=3))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("basis", [0, -1, *NO_WHOLE]),
        ("truncate", ["no", 1, None]),
        ("groups", [5, "ab", ["a", 1], ["a"]]),
        ("answers", [5, "ab", [5, "a"], [[5], ["a"]], [[], ["a"]], ["a"]]),
        ("belief", [5, [], "x"]),
        ("belief_options", [5, ["rank"], {"rank": 8}]),
    ],
)
def test_options_of_a_trace(probe, name, wrong):
    for value in wrong:
        for call in (rg.trace, rg.run):
            with pytest.raises(OptionError, match=name):
                call(probe, [IDS, IDS], **{name: value})


@pytest.mark.parametrize(
    "prompts", [torch.full((1, 1, 3), 5), torch.ones(1, 3), [[5.0]], [[True]], 5, None, [None], [["a"]]], ids=repr
)
def test_prompts_are_texts_or_token_ids(probe, prompts):
    for call in (rg.trace, rg.run, lambda model, given: model.loss(given)):
        with pytest.raises(PromptError, match="prompt"):
            call(probe, prompts)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("nulls", [-1, 0.0, "3", True, None]),
        ("shuffles", [-1, 0.0, "3", True]),
        ("seed", NO_SEED),
        ("diagnostics", [None, 5, [None], "x"]),
    ],
)
def test_options_of_a_run(probe, name, wrong):
    for value in wrong:
        with pytest.raises(OptionError, match=rf"^{name}"):
            rg.run(probe, [IDS, IDS], **{name: value})


def test_seeds_of_all_that_takes_one(probe, flow):
    trace = rg.trace(probe, [IDS])
    calls = (
        lambda seed: rg.measure(trace, seed=seed),
        lambda seed: rg.compare({"a": flow, "b": flow}, seed=seed),
        lambda seed: rg.faithfulness(probe, IDS, layer=1, seed=seed),
    )
    for call in calls:
        for seed in NO_SEED:
            with pytest.raises(OptionError, match=r"^seed: expected a whole number >= 0"):
                call(seed)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        *[({"layer": layer}, "layer") for layer in (1.5, "1", None, True, -1, 99)],
        *[
            ({"merge": merge}, "merge")
            for merge in ((1, 5), [1, 2], slice(1.5, 5), slice(5, 5), slice(1, 5, 0), 3, "1:5")
        ],
        *[({"score": score}, "score") for score in ((6, 9), slice(99, None), "end")],
        *[({"sizes": sizes}, "sizes") for sizes in ([2.9], [0], [99], 4, "2", [], [True])],
        *[
            ({"partitions": {"mine": labels}}, "partitions")
            for labels in ([0, 1], [0.5] * 4, 4, "aaaa", [[0, 1, 1, 0]], np.zeros(4), None)
        ],
    ],
)
def test_options_of_faithfulness(probe, options, named):
    with pytest.raises(OptionError, match=rf"^{named}"):
        rg.faithfulness(probe, IDS, **{"layer": 1, "merge": slice(1, 5), "baselines": (), "tree": TREE, **options})


def test_a_loss_is_of_one_prompt(probe):
    assert probe.loss(IDS) == probe.loss([IDS]) == probe.loss(torch.tensor(IDS)) == probe.loss(np.array([IDS]))
    with pytest.raises(PromptError, match="prompt: expected one text or row of token ids, received 2 of them"):
        probe.loss([IDS, IDS])


def test_faithfulness_reads_one_prompt(probe):
    for prompt in ([IDS], ["text"], [IDS, IDS], torch.tensor([IDS])):
        with pytest.raises(PromptError, match="prompt 0"):
            rg.faithfulness(probe, prompt, layer=1)


def test_labels_of_a_partition_are_names_not_indices(probe):
    options = {"layer": 1, "merge": slice(1, 5), "baselines": (), "tree": TREE}
    curves = [
        rg.faithfulness(probe, IDS, partitions={"mine": labels}, **options) for labels in ([0, 1, 1, 0], [7, -2, -2, 7])
    ]
    np.testing.assert_array_equal(curves[0].distortion("mine"), curves[1].distortion("mine"))


@pytest.mark.parametrize("runs", ["list", 5, "flow", "number", "numbers", "one"])
def test_runs_to_compare_are_two_names_with_flows(flow, runs):
    given = {"list": [flow, flow], "flow": flow, "number": {"a": flow, "b": 5}, "numbers": {"a": [flow], "b": [5]},
             "one": {"a": flow}}.get(runs, runs)  # fmt: skip
    with pytest.raises(OptionError, match=r"^runs"):
        rg.compare(given)


@pytest.mark.parametrize("flows", [5, None, "flow.nc", [5], {"a": 5}, []], ids=repr)
def test_a_report_is_of_flows(tmp_path, flows):
    with pytest.raises(OptionError, match=r"^flows"):
        rg.write_report(flows, tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [0, 5, *NO_WHOLE[:3]])
def test_clusters_of_a_tree_are_whole_numbers(number):
    for call in (TREE.loss, TREE.meta_tokens, lambda n: TREE.cut(n_clusters=n)):
        with pytest.raises(OptionError, match=r"^n_clusters: expected a whole number from 1 to 4"):
            call(number)
    assert TREE.loss(np.int64(2)) == TREE.loss(2)


@pytest.mark.parametrize("height", ["0.1", [0.1], -1, float("nan")])
def test_heights_of_a_tree_are_numbers(height):
    with pytest.raises(OptionError, match=r"^height: expected a number of nats >= 0"):
        TREE.cut(height=height)
    assert TREE.cut(height=np.float32(0)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("layers", [0, -1, *NO_WHOLE[:3]])
def test_layers_to_be_read_are_whole_numbers(layers):
    with pytest.raises(OptionError, match=r"^layers: expected a whole number >= 1"):
        rg.load("standard-small", layers=layers)


def test_labels_of_a_tree_are_texts():
    with pytest.raises(BadInput, match="labels: expected 4 strings, one per token, received an entry of type int"):
        condense(np.eye(4) * 0.6 + 0.1, labels=[0, 1, 2, 3])
    assert condense(np.eye(4) * 0.6 + 0.1, labels=np.array(list("abcd"))).to_newick().count("'a'") == 1


def test_means_are_no_beliefs():
    calls = (
        lambda x: kl(x, x), lambda x: kl(G, x), lambda x: jeffreys(x, G), lambda x: pairwise_kl(x), lambda x: merge(x),
        lambda x: pool(x), lambda x: pushforward(x, torch.eye(3)), lambda x: kl_attention(x, VALUES),
    )  # fmt: skip
    for call in calls:
        for given in (G.mean, G.mean.numpy(), None, [G, G]):
            with pytest.raises(BadInput, match="expected a Gaussian, received"):
                call(given)


@pytest.mark.parametrize("combine", [merge, pool])
def test_weights_of_any_library_are_one(combine):
    weights = [0.1, 0.2, 0.3, 0.4]
    wanted = combine(G, torch.tensor(weights, dtype=torch.float64))
    for given in (weights, tuple(weights), np.array(weights)):
        torch.testing.assert_close(combine(G, given).covariance, wanted.covariance, rtol=0, atol=0)
    for given in ("abcd", [None] * 4, {}, object()):
        with pytest.raises(BadInput, match=r"^weights"):
            combine(G, given)


def test_a_gauge_model_takes_rows_of_whole_numbers():
    model = tiny_gauge()
    for ids in (torch.ones(1, 4), torch.ones(1, 4, dtype=torch.bool), [[5, 6]], torch.tensor([5, 6]), None):
        with pytest.raises(PromptError, match=r"^ids: expected a tensor of whole numbers"):
            model(ids)
