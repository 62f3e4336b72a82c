"""Rows that see nothing: refused where a mask hides a whole prompt, NaN with a reason where attention does, never a zero."""

import numpy as np
import pytest
import torch

import rgprobe as rg
from rgprobe.errors import PromptError
from rgprobe.gaussian import Gaussian
from rgprobe.models import kl_attention
from rgprobe.probe.attention import attention_moments

FAMILIES = ("standard", "gauge")
IDS = [[5, 6, 7, 8, 9], [11, 12, 13, 0, 0]]
MASK = [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, sources):
    return rg.load(sources[request.param], device="cpu")


@pytest.mark.parametrize("floor", [torch.finfo(torch.float32).min, -torch.inf])
@pytest.mark.parametrize("causal", [True, False])
def test_fully_masked_row_has_no_moments(floor, causal):
    """A softmax would make it uniform (lowest finite score) or NaN (-inf); its own moments are NaN, of no key."""
    scores = torch.randn(2, 7, 7, generator=torch.Generator().manual_seed(0))
    scores[:, 4] = floor
    if causal:
        scores = scores.masked_fill(torch.ones(7, 7, dtype=torch.bool).triu(1), floor)
    for moments in attention_moments(scores, causal=causal):
        assert (moments.keys[:, 4] == 0).all()
        assert moments.log_partition[:, 4].isneginf().all()
        others = {name: value for name, value in moments.as_dict().items() if name not in ("keys", "log_partition")}
        assert all(value[:, 4].isnan().all() for value in others.values())
        assert all(value[:, 5].isfinite().all() for value in others.values())


@pytest.mark.parametrize("hidden", ["itself", "prior"])
def test_fully_masked_row_of_divergence_attention_is_nan(hidden):
    beliefs = Gaussian.from_diagonal(torch.randn(4, 3, dtype=torch.float64), torch.ones(4, 3, dtype=torch.float64))
    prior = torch.tensor(
        [-torch.inf, 0.0, 0.0, 0.0], dtype=torch.float64
    )  # the first key is hidden, and row 0 sees no other
    options = {"include_self": False} if hidden == "itself" else {"log_prior": prior}
    values = torch.ones(4, 2, dtype=torch.float64)
    out, pattern = kl_attention(beliefs, values, causal=True, return_pattern=True, **options)
    assert out.isnan().all(-1).tolist() == pattern.isnan().all(-1).tolist() == [True, False, False, False]


def test_batch_with_a_fully_masked_row_is_refused(model):
    with pytest.raises(
        PromptError, match="prompt 1: expected at least one token, received a mask that hides all"
    ) as refusal:
        rg.trace(model, {"input_ids": IDS, "attention_mask": [[1] * 5, [0] * 5]})
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize("side", ["right", "left"])
def test_padded_batch_equals_its_rows_alone(model, side):
    ids, mask = (IDS, MASK) if side == "right" else ([row[::-1] for row in IDS], [row[::-1] for row in MASK])
    alone = [[token for token, kept in zip(*pair, strict=True) if kept] for pair in zip(ids, mask, strict=True)]
    wanted = {"bos": "never", "collect": ["states", "attention"]}
    padded = rg.trace(model, {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}, **wanted)
    separate = rg.trace(model, [torch.tensor(row) for row in alone], **wanted)
    np.testing.assert_array_equal(padded.states.values, separate.states.values)
    assert padded.attention.identical(separate.attention)


def test_row_that_sees_only_the_sink_is_nan_with_a_reason(model):
    """One token: without the sink its only row sees nothing."""
    flow = rg.run(
        model, [[5]], bos="never", nulls=0, diagnostics="temperature,attention_entropy,attention_distance,diffusion"
    )
    for name in flow.diagnostics:
        node = flow.to_xarray()[name]
        assert np.isnan(node["value"].sel(sink="excluded").values).all(), name
        assert node.attrs["undefined"]


def test_a_text_may_end_in_the_mark_that_its_tokenizer_pads_with():
    flow = rg.run("standard-small", ["to be or not to be <|pad|>"], nulls=1, shuffles=1, diagnostics="collapse")
    assert flow.to_xarray()["prompts"]["token_ids"].values[0, -1] == rg.load("standard-small").tokenizer.pad_token_id
    assert flow.to_xarray()["collapse"]["null"].notnull().any()
