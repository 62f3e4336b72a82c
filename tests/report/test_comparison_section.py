"""The comparison in the report: behind the summary, honest about what it speaks of, and as safe as the rest of the page."""

import re

import numpy as np
import pytest
from parsed_page import ParsedPage, prose
from planted_flows import planted_flow, random_values
from synthetic_flow import synthetic_flow

import rgprobe as rg
from rgprobe.plots.arrays import named_flows
from rgprobe.report import write_report
from rgprobe.report.comparison_section import comparison_section
from rgprobe.report.comparison_wording import outcome_words

HOSTILE = "</h2><script>alert(3)</script>"


@pytest.fixture(scope="module")
def flows():
    return named_flows(
        [synthetic_flow(prompts=21, nulls=5), synthetic_flow(seed=1, name="gauge-small", prompts=21, nulls=5)]
    )


@pytest.fixture(scope="module")
def text(flows, tmp_path_factory):
    return write_report(flows, tmp_path_factory.mktemp("report") / "r.html").read_text(encoding="utf-8")


def section(text, key="comparison"):
    return re.search(f"<section id='{key}'>.*?</section>", text, flags=re.DOTALL).group(0)


def test_it_stands_behind_the_summary_and_the_contents_lead_there(text):
    ids = re.findall(r"<section id='([^']+)'", text)
    assert ids[:2] == ["summary", "comparison"]
    assert ParsedPage(text).links == [f"#{name}" for name in ids]


def test_it_says_of_what_it_speaks(text):
    words = prose(section(text))
    assert "One checkpoint of each, on the same 21 prompts" in words
    assert "one checkpoint is one draw of training" in words
    assert "heads of two models do not correspond" in words


def test_every_compared_quantity_is_drawn_and_judged_and_the_others_are_named(text, flows):
    comparison = rg.compare(flows)
    html, figures = section(text), ParsedPage(text).data["figures"]
    for name in comparison.diagnostics:
        for quantity in comparison.to_xarray()[name]["quantity"].values:
            assert f"comparison/{name}/{quantity}" in figures
            assert f"data-figure='comparison/{name}/{quantity}'" in html
    rows = re.findall(r"<tr><td>[^<]*</td><td><span class='chip", html)
    assert len(rows) == len(comparison.summary().drop_duplicates(["diagnostic", "quantity"]))
    assert html.count("<li>") == len(comparison.not_compared)


def test_the_table_holds_the_numbers(text, flows):
    words = prose(section(text))
    entry = rg.compare(flows).to_xarray()["elimination"].to_dataset().sel(quantity="entropy").isel(state=-1)
    first = float(entry["value"].sel(run="standard-small"))
    assert f"entropy of the prediction bits, at the output end {first:.3g}" in words
    assert "parameters 12,345 12,345" in words
    heads = flows["standard-small"].to_xarray()["temperature"]["value"].sel(quantity="theta", sink="excluded")
    assert f"heads {float(heads.min()):.3g} to {float(heads.max()):.3g}" in words


def test_one_flow_has_no_comparison(flows, tmp_path):
    text = write_report(flows["standard-small"], tmp_path / "r.html").read_text(encoding="utf-8")
    assert "id='comparison'" not in text
    assert not any(key.startswith("comparison") for key in ParsedPage(text).data["figures"])


def test_runs_that_cannot_be_compared_are_shown_with_the_reason(flows, tmp_path):
    text = write_report([flows["standard-small"], synthetic_flow(prompts=3)], tmp_path / "r.html").read_text("utf-8")
    words = prose(section(text))
    assert "They are shown together and not compared." in words
    assert "expected the 21 of &#x27;standard-small&#x27;, received 3" in words


def test_three_flows_are_compared_with_the_first(flows, tmp_path):
    third = synthetic_flow(seed=2, name="third", prompts=21, nulls=5)
    text = write_report([*flows.values(), third], tmp_path / "r.html").read_text("utf-8")
    assert "standard-small and gauge-small, side by side" in prose(section(text))
    assert "standard-small and third, side by side" in prose(section(text, "comparison-2"))
    ids = re.findall(r"<section id='([^']+)'", text)
    assert len(set(ids)) == len(ids)


def test_hostile_names_leave_the_element_tree_alone(text, flows, tmp_path):
    hostile = {f"{HOSTILE}{index}": flow for index, flow in enumerate(flows.values())}
    other = write_report(hostile, tmp_path / "hostile.html").read_text(encoding="utf-8")
    assert ParsedPage(other).tags == ParsedPage(text).tags
    assert "<script>alert" not in other


def test_report_of_a_comparison_stays_below_eight_megabytes(text):
    assert len(text.encode()) < 8_000_000


def words_for(comparison):
    return prose(outcome_words(comparison))


def test_counts_are_those_of_the_verdicts():
    rng = np.random.default_rng(0)
    difficulty = rng.standard_normal((3, 24, 1))
    shifts = np.array([9.0, -9.0, 9.0])[:, None, None]
    runs = {
        "a": planted_flow(random_values(rng, 3, difficulty=difficulty)),
        "b": planted_flow(random_values(rng, 3, difficulty=difficulty, shift=shifts)),
    }
    words = words_for(rg.compare(runs))
    assert "a above b above no difference found not tested mean over depth 1 2 0 0" in words
    assert "read its size as well" in words


def test_too_few_prompts_and_equal_runs_are_said():
    rng = np.random.default_rng(1)
    few = {name: planted_flow(random_values(rng, 1, prompts=4)) for name in "ab"}
    assert "Too few to say that anything differs , which takes 20 prompts" in words_for(rg.compare(few))
    assert "The two runs are equal" in words_for(rg.compare({"a": few["a"], "again": few["a"]}))
    seeds = {name: [planted_flow(random_values(rng, 1)) for _ in range(2)] for name in "ab"}
    assert "which takes 3 training seeds of each" in words_for(rg.compare(seeds))


def test_training_seeds_are_told_in_the_section():
    rng = np.random.default_rng(2)
    seeds = {name: [planted_flow(random_values(rng, 1)) for _ in range(3)] for name in ("standard", "gauge")}
    figures = {}
    words = prose(comparison_section(rg.compare(seeds), {}, figures))
    assert "families as trained here" in words
    assert "checkpoints 3 3" in words
    assert list(figures) == ["comparison/fake/q0"]
