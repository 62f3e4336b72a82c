import ast
from pathlib import Path

import pytest
from parsed_page import prose
from synthetic_flow import synthetic_flow

from rgprobe.diagnostics import genealogy
from rgprobe.plots.arrays import quantity_label
from rgprobe.report.summary import summary
from rgprobe.report.verdicts import QUESTIONS, Against, trends


@pytest.fixture
def words():
    return lambda flow: prose(summary("standard-small", flow))


def test_without_nulls_it_says_so_and_claims_nothing(words):
    text = words(synthetic_flow(nulls=0))
    assert "No null model was run. Nothing below is evidence" in text
    assert "stand clear" not in text
    assert "trends over depth that differ" not in text


def test_too_few_seeds_or_prompts_is_said(words):
    text = words(synthetic_flow(nulls=3, prompts=20))
    assert "3 random initialisations of the same architecture and 1 shuffled copy of each prompt" in text
    assert "too few to say that anything beats its null" in text
    assert "trends over depth that differ" not in text


def test_with_enough_it_names_what_beat_its_null_and_what_did_not(words):
    flow = synthetic_flow(nulls=5, prompts=20)
    text = words(flow)
    assert "enough to say whether a number beats its null" in text
    found = [(trend, each.verdict) for trend in trends(flow) for each in trend.against if each.null == "random_init"]
    beaten, within = ([t for t, verdict in found if verdict == word] for word in ("beats null", "within null"))
    assert f"random init did training make it? {len(beaten)} of {len(beaten) + len(within)} which" in text
    assert f"It differs for {quantity_label(beaten[0].quantity)}" in text
    assert f"It does not differ for {quantity_label(within[0].quantity)}" in text
    beaten = [trend for trend in trends(flow) if trend.verdict == "beats null"]
    assert f"more than random initialisations show {len(beaten)} trends" in text


def test_a_trend_that_is_one_step_at_the_input_end_says_so(words):
    flow = synthetic_flow(nulls=5, prompts=20)
    turned = [trend for trend in trends(flow) if trend.turns]
    assert 0 < len(turned) < len(trends(flow))
    assert words(flow).count("without the first depth") == len(turned)
    assert "One step at the input end: without it" in words(flow)


def test_levels_stand_in_order_and_causal_is_not_claimed(words):
    text = words(synthetic_flow())
    places = [text.index(level) for level in ("identity", "descriptive true", "beats null more", "causal shown")]
    assert places == sorted(places)
    assert "causal shown by patching; not part of this report not tested" in text


def test_size_of_the_run_is_told(words):
    text = words(synthetic_flow(prompts=3))
    assert "12,345 parameters, 5 blocks of 3 heads" in text
    assert "3 prompts, 33 tokens in all" in text


@pytest.mark.parametrize(
    ("low", "high", "clear"), [(1.0, 3.0, 2.0), (-1.0, 5.0, 2 / 3), (float("nan"), float("nan"), 0.0)]
)
def test_distance_from_the_null_in_half_widths(low, high, clear):
    assert Against("random_init", 2.0, low, high, "descriptive").clear == pytest.approx(clear, rel=1e-12)


def test_every_null_that_a_diagnostic_draws_has_its_question():
    drawn = set(genealogy.NULLS)
    for file in Path(genealogy.__file__).parent.glob("*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.keyword) and call.arg == "internal_nulls" and isinstance(call.value, ast.Dict):
                drawn |= {key.value for key in call.value.keys}
    assert "random_directions" in drawn
    assert drawn <= set(QUESTIONS)
