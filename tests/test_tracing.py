"""What a trace keeps: which tokens, under which policies, of which prompts."""

import numpy as np
import pytest
import tiny_models
import torch
from tiny_models import random_prompts
from tiny_tokenizer import tokenizer

import rgprobe as rg
from rgprobe.errors import OptionError, PromptError
from rgprobe.probe.row_statistics import BY_TOKEN, MEANS

PROMPTS = [ids[:length] for ids, length in zip(random_prompts(3, 40), (40, 17, 5), strict=True)]


@pytest.fixture(scope="module")
def probe():
    return rg.load(tiny_models.llama())


def test_ragged_prompts_are_padded_and_masked(probe):
    trace = rg.trace(probe, PROMPTS, positions=6)
    assert trace.token_mask.sum(1).tolist() == [40, 17, 5]
    for row, ids in zip(trace.token_ids, PROMPTS, strict=True):
        assert row[: len(ids)].tolist() == ids.tolist()
        assert (row[len(ids) :] == -1).all()
    keys = trace.attention["keys"].sel(sink="included").isel(block=0)
    np.testing.assert_array_equal(keys.notnull(), trace.token_mask)
    assert list(trace.attention) == [*MEANS, "keys", *(f"{name}_by_token" for name in BY_TOKEN)]
    kept = trace.attention["participation_by_token"].isel(block=0, head=0).notnull().values
    np.testing.assert_array_equal(kept, trace.token_mask & (np.arange(40) >= 8))  # eight keys without the sink
    assert (trace.n_prompts, trace.n_depths, trace.depth_dim) == (3, tiny_models.LAYERS + 1, "state")
    assert [len(trace.recorded(prompt)) for prompt in range(3)] == [6, 6, 4]


def test_recorded_tokens_are_evenly_spaced_and_leave_out_the_sink(probe):
    excluded = rg.trace(probe, PROMPTS[:1], positions=4)
    included = rg.trace(probe, PROMPTS[:1], positions=4, sink="include")
    assert excluded.recorded(0).tolist() == [1, 14, 26, 39]
    assert included.recorded(0).tolist() == [0, 13, 26, 39]
    assert excluded.attention["sink"].values.tolist() == ["excluded", "included"]
    assert included.attention["sink"].values.tolist() == ["included", "excluded"]
    for sink in ("excluded", "included"):
        one, other = (t.attention[[*MEANS, "keys"]].sel(sink=sink).drop_vars("sink") for t in (excluded, included))
        assert one.equals(other)
    assert not excluded.attention["heat_capacity_by_token"].equals(included.attention["heat_capacity_by_token"])
    assert rg.trace(probe, PROMPTS[:1], positions=[7, 3, 7]).recorded(0).tolist() == [3, 7]


def test_the_attention_graph_is_head_averaged_and_renormalised_without_the_sink(probe):
    for sink in ("include", "exclude"):
        trace = rg.trace(probe, PROMPTS[:1], positions=range(1, 40), sink=sink)
        rows = trace.graph.sum("source").values[0]
        if sink == "exclude":
            np.testing.assert_allclose(rows, 1, rtol=1e-5)  # everything but the sink is recorded
        else:
            assert (rows < 1).all()


def test_what_is_not_asked_for_is_not_collected(probe):
    trace = rg.trace(probe, PROMPTS[:1], collect=["attention"])
    assert len(trace.lens) == len(trace.geometry) == 0
    assert trace.log_probabilities == ()
    only = rg.trace(probe, PROMPTS[:1], collect=["beliefs"])
    assert len(only.attention) == 0
    assert only.lens.equals(rg.trace(probe, PROMPTS[:1]).lens)


def test_provenance_names_the_model_and_every_option(probe):
    trace = rg.trace(probe, PROMPTS, positions=4, truncate=True)
    provenance = trace.provenance
    assert len(provenance["source"]["sha256"]["state_dict"]) == 64
    assert provenance["options"]["positions"] == 4
    assert provenance["options"]["truncate"] is True
    assert provenance["dtype"] == "float32"
    assert "predictions" in provenance["assumption"]


def test_texts_and_truncation_are_recorded():
    probe = rg.load(tiny_models.gpt2(vocab_size=300, n_positions=8), tokenizer=tokenizer())
    with pytest.raises(PromptError, match="at most 8"):
        rg.trace(probe, ["to be or not to be"])
    trace = rg.trace(probe, ["to be or not to be", "that"], truncate=True, positions=3)
    assert trace.provenance["truncated_tokens"] == [10, 0]
    assert trace.prompts[1] == "that"
    assert "".join(trace.tokens[1]) == "that"


def test_progress_and_refusals(probe):
    done = []
    rg.trace(probe, PROMPTS, positions=2, on_prompt=done.append)
    assert done == [1, 2, 3]
    for options in (
        {"belief": "x"},
        {"sink": "x"},
        {"collect": ["x"]},
        {"positions": 0},
        {"positions": [40]},
        {"bos": "x"},
    ):
        with pytest.raises(OptionError):
            rg.trace(probe, PROMPTS[:1], **options)
    with pytest.raises(OptionError, match="answers"):
        rg.trace(probe, PROMPTS, answers=["a"])


def test_equal_traces_are_equal_to_the_bit(probe):
    one, same = (rg.trace(probe, PROMPTS, positions=5) for _ in range(2))
    assert one.attention.identical(same.attention)
    assert one.lens.identical(same.lens)
    assert torch.equal(*(torch.from_numpy(t.states.values).nan_to_num() for t in (one, same)))


def test_groups_are_kept_by_the_trace_and_by_the_flow(probe, tmp_path):
    groups = ["a", "b", ""]
    assert rg.trace(probe, PROMPTS, collect=["states"]).groups == ()
    trace = rg.trace(probe, PROMPTS, collect=["states"], groups=groups)
    assert (trace.groups, trace.provenance["options"]["groups"]) == (("a", "b", ""), groups)
    flow = rg.run(probe, PROMPTS, nulls=1, shuffles=1, diagnostics="collapse", groups=groups)
    flow.save(tmp_path / "flow.nc")
    assert rg.open_flow(tmp_path / "flow.nc").groups == ("a", "b", "")


@pytest.mark.parametrize("groups", [["a", "b"], "abc"])
def test_groups_that_are_no_label_per_prompt_are_refused(probe, groups):
    with pytest.raises(OptionError, match="groups: expected a text for each of 3 prompts"):
        rg.trace(probe, PROMPTS, groups=groups)
