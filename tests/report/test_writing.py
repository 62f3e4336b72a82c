import base64
import hashlib
import os
import re

import pytest
from parsed_page import ParsedPage
from plotly.offline import get_plotlyjs
from synthetic_flow import synthetic_flow

from rgprobe.errors import EnvironmentFault
from rgprobe.plots.arrays import named_flows
from rgprobe.report import write_report
from rgprobe.report.embedding import script_json
from rgprobe.report.page import page


@pytest.fixture(scope="module")
def made_up_flow():
    return synthetic_flow()


@pytest.fixture(scope="module")
def report(made_up_flow):
    return page(named_flows(made_up_flow))


HOSTILE = (
    "<script>alert(1)</script>", "</script><b>", "$$", "\x00", "\ud800", "\u202e\u200fabc", "=1+1", "🙂", "]]>", "<!--",
    "'\"><img src=x onerror=alert(1)>",
)  # fmt: skip


def digest(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_policy_allows_exactly_the_scripts_and_styles_of_the_page(report):
    page = ParsedPage(report)
    rules = dict(rule.strip().split(" ", 1) for rule in page.policy.split(";"))
    assert rules["default-src"] == "'none'"
    scripts = [digest(text) for tag, kind, text in page.blocks if tag == "script" and kind is None]
    assert rules["script-src"].split() == scripts
    styles = [digest(text) for tag, _, text in page.blocks if tag == "style"]
    assert rules["style-src"].split() == ["'unsafe-hashes'", *styles, digest("")]
    assert rules["img-src"] == "data: blob:"
    assert "unsafe-inline" not in page.policy
    assert "unsafe-eval" not in page.policy


def test_nothing_is_fetched(report):
    assert report.count(get_plotlyjs()) == 1
    rest = report.replace(get_plotlyjs(), "")
    # the name of the SVG namespace is not an address to fetch
    assert re.findall(r"https?://[^\"' ]+", rest) == ["http://www.w3.org/2000/svg"]
    assert all(link.startswith("#") for link in ParsedPage(report).links)
    assert "@import" not in rest
    assert "url(" not in rest


def test_no_inline_style_or_handler_attributes(report):
    names = {name for _, attributes in ParsedPage(report).tags for name in attributes}
    assert not {name for name in names if name == "style" or name.startswith("on")}


def test_contents_lead_to_sections(report):
    ids = re.findall(r"<section id='([^']+)'", report)
    assert ParsedPage(report).links == [f"#{name}" for name in ids]
    assert ids[0] == "summary"
    assert ids[-1] == "provenance"
    assert "invented_later" in ids


def test_hostile_tokens_and_names_leave_the_element_tree_alone(tmp_path, report):
    hostile = synthetic_flow(tokens=HOSTILE, name="</title><script>alert(2)</script>")
    text = write_report(hostile, tmp_path / "hostile.html").read_text(encoding="utf-8")
    assert ParsedPage(text).tags == ParsedPage(report).tags
    assert "<script>alert" not in text
    assert "\x00" not in text
    assert "\u202e" not in text


def test_hostile_tokens_are_all_in_the_data_as_visible_text(tmp_path):
    text = write_report(synthetic_flow(tokens=HOSTILE), tmp_path / "hostile.html").read_text(encoding="utf-8")
    page = ParsedPage(text)
    tokens = page.data["sources"][0]["prompts"][0]["tokens"]
    assert tokens[:4] == ["<script>alert(1)</script>", "</script><b>", "$$", "␀"]
    assert tokens[4:6] == ["\\ud800", "\\u202e\\u200fabc"]
    assert not re.search("[<>&\u2028\u2029]", next(text for _, kind, text in page.blocks if kind == "application/json"))


def test_report_stays_below_five_and_a_half_megabytes(report):
    assert len(report.encode()) < 5_500_000  # 5 of them are plotly.js


def test_too_many_prompts_for_the_size_are_left_out_and_counted(monkeypatch):
    flow = synthetic_flow(prompts=24, positions=10)
    whole = page({"x": flow})
    without = len(whole.encode()) - len(script_json(ParsedPage(whole).data["sources"]))
    monkeypatch.setattr("rgprobe.report.page.LARGEST", without + 5_000)
    text = page({"x": flow})
    (source,) = ParsedPage(text).data["sources"]
    assert source["n_prompts"] == len(ParsedPage(whole).data["sources"][0]["prompts"]) == 24
    assert 1 <= len(source["prompts"]) < 24
    assert len(text) < len(whole)


def test_equal_flows_give_equal_bytes(tmp_path, made_up_flow, report):
    assert write_report(made_up_flow, tmp_path / "again.html").read_text(encoding="utf-8") == report


def test_a_failed_write_leaves_the_old_report_and_nothing_else(tmp_path, made_up_flow, monkeypatch):
    target = tmp_path / "report.html"
    target.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvironmentFault, match="No space left"):
        write_report(made_up_flow, target)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]


def test_a_missing_folder_is_named(tmp_path, made_up_flow):
    with pytest.raises(EnvironmentFault, match=re.escape(str(tmp_path / "none" / "report.html"))):
        write_report(made_up_flow, tmp_path / "none" / "report.html")
