"""Changes of attention scores between checkpoints against the gradients at the earlier one."""

import numpy as np
import pytest
from sweep_work import TEXTS, training_run

import rgprobe as rg
from rgprobe.diagnostics.update_alignment import update_alignment
from rgprobe.errors import BadInput, PromptError
from rgprobe.probe.descent import gradient_step
from rgprobe.probe.patterns import attention_patterns, attention_slopes
from rgprobe.sweeping.updates import alignment_with_gradients

TOKENS = 13


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return training_run(tmp_path_factory.mktemp("updates") / "seed-0", steps=(0, 3, 10))


@pytest.fixture(scope="module")
def found(run):
    return alignment_with_gradients(run, list(TEXTS), tokens=TOKENS, device="cpu")


def test_cosines_are_those_of_single_rows(run, found):
    assert found["step"].values.tolist() == [0, 3]
    assert found["later"].values.tolist() == [3, 10]
    first, second = (rg.load(run / "checkpoints" / f"step-{step:06d}", device="cpu") for step in (3, 10))
    own, descended = [], []
    for prompt in first.encode(list(TEXTS)):
        ids = prompt.ids[:TOKENS]
        weights, slopes = (each.double().numpy()[1, 0] for each in attention_slopes(first, ids))
        with gradient_step(first, ids):
            stepped = attention_patterns(first, ids).double().numpy()[1, 0]
        after = attention_patterns(second, ids).double().numpy()[1, 0]
        for row in range(7, TOKENS - 1):  # the first sees eight keys; the last token's predictions are not scored
            here = (row, slice(0, row + 1))
            own.append(update_alignment(weights[here], slopes[here], after[here]))
            descended.append(update_alignment(weights[here], slopes[here], stepped[here]))
    for cosines, suffix in ((own, ""), (descended, "_step")):
        for name in ("plain", "natural", "excess"):
            expected = np.mean([getattr(each, name) for each in cosines])
            assert float(found[name + suffix].sel(step=3, block=1, head=0)) == pytest.approx(expected, abs=1e-9)
    between = np.mean([each.between for each in own])
    assert float(found["between"].sel(step=3, block=1, head=0)) == pytest.approx(between, abs=1e-9)


def test_updates_without_aim_are_no_nearer_than_random_ones(found):
    # the checkpoints of this run drift at random
    assert (np.abs(found["plain"].mean()) < 4 * found["random_deviation"].max()).item()
    assert (found["between"] > 0.9).all()  # heads that have learnt nothing are hot
    np.testing.assert_allclose(found["expected_between"], found["between"], atol=0.05)


def test_prompts_that_are_too_short_or_alone_and_single_checkpoints_are_refused(run):
    with pytest.raises(PromptError, match="two texts of at least 30 tokens"):
        alignment_with_gradients(run, list(TEXTS), tokens=30, device="cpu")
    with pytest.raises(PromptError, match="two texts"):
        alignment_with_gradients(run, TEXTS[:1], tokens=TOKENS, device="cpu")
    with pytest.raises(BadInput, match="of one run"):
        alignment_with_gradients("standard-small", list(TEXTS), device="cpu")
