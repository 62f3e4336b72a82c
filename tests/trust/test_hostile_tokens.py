"""Token texts that are more than text, in everything that rgprobe writes: they stay text, and add no element to anything."""

import csv
import io
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hostile_strings import ALL, sample, strings
from parsed_page import ParsedPage
from plotly.offline import get_plotlyjs
from synthetic_flow import synthetic_flow

from rgprobe.cli.dendrogram import dendrogram_lines
from rgprobe.cli.failures import printable
from rgprobe.cli.run_summary import summary_json, summary_text
from rgprobe.cli.tree_file import trees_json
from rgprobe.condensation import CondensationTree
from rgprobe.plots import consensus, tree
from rgprobe.plots.paper import export
from rgprobe.report import write_report
from rgprobe.report.payload import running_text
from rgprobe.rg_flow import RGFlow, open_flow

PER_PAGE = 24
SVG = "{http://www.w3.org/2000/svg}"
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


@pytest.fixture(scope="module")
def texts(full):
    return strings(600) if full else sample(PER_PAGE)


@pytest.fixture(scope="module")
def batches(texts):
    """Flows whose tokens, prompts and names are hostile, PER_PAGE texts in each, and a plain one of the same shape."""
    parts = [texts[start : start + PER_PAGE] for start in range(0, len(texts), PER_PAGE)]
    whole = [part for part in parts if len(part) == PER_PAGE]
    return [_flow(part, name=part[0][:50]) for part in whole], _flow(["word"] * PER_PAGE, name="plain")


def _flow(tokens, *, name):
    sizes = {"prompts": 2, "blocks": 2, "heads": 2, "nulls": 1, "positions": PER_PAGE - 1}
    arrays = synthetic_flow(tokens=tuple(tokens), name=name, **sizes).to_xarray()
    recorded = {**json.loads(arrays.attrs["provenance"]), "truncated_tokens": [0, 0]}  # as a real run records
    arrays.attrs = {**arrays.attrs, "provenance": json.dumps(recorded)}
    return RGFlow(arrays)


def test_report_has_the_element_tree_of_plain_tokens(batches, texts, tally, tmp_path):
    hostile, plain = batches
    expected = ParsedPage(write_report(plain, tmp_path / "plain.html").read_text("utf-8"))
    for number, flow in enumerate(hostile):
        text = write_report(flow, tmp_path / f"{number}.html").read_text("utf-8")
        page = ParsedPage(text)
        assert page.tags == expected.tags
        assert page.policy.startswith("default-src 'none'")
        assert [block for block in page.blocks if block[1] is None] == [b for b in expected.blocks if b[1] is None]
        assert all(link.startswith("#") for link in page.links)
        assert not STEERING.search(text.replace(get_plotlyjs(), "").replace("\n", ""))
        assert len(page.data["sources"][0]["prompts"][0]["tokens"]) == PER_PAGE
    tally("hostile tokens", texts=len(texts), pages=len(hostile), formats=9)


def test_figures_for_papers_are_svg_without_scripts_or_links(batches, full, tmp_path):
    hostile, plain = batches
    expected = _svgs(plain, tmp_path / "plain")
    for number, flow in enumerate(hostile if full else hostile[:1]):
        found = _svgs(flow, tmp_path / str(number))
        assert found.keys() == expected.keys()
        for name, (elements, labels) in found.items():
            assert elements <= expected[name][0] | {"defs", "g", "path", "use"}, name
            assert labels <= expected[name][1], name  # long ones leave room for fewer


def _svgs(flow, directory):
    """Element names and number of texts of each figure that shows tokens; fails on anything that is not XML or that loads."""
    found = {}
    for path in export(flow, directory, formats=["svg"]).written:
        if path.suffix == ".txt":
            assert not STEERING.search(path.read_text("utf-8").replace("\n", ""))
            continue
        root = ElementTree.fromstring(path.read_bytes())
        for element in root.iter():
            for key, value in element.attrib.items():
                assert not key.lower().startswith("on")
                assert not key.endswith("href") or value.startswith(("#", "data:image/png"))
                assert "url(" not in value or value.startswith("url(#") or "url(#" in value
        names = {element.tag.removeprefix(SVG) for element in root.iter()}
        assert not names & {"script", "foreignObject", "a", "iframe", "animate", "set"}
        found[path.name] = names, sum(str(g.get("id", "")).startswith("text_") for g in root.iter(f"{SVG}g"))
    return found


def test_interactive_figures_hold_no_markup(batches):
    for flow in batches[0][:3]:
        for figure in (tree(flow.tree(0, 1)), consensus(flow, prompt=0)):
            record = json.loads(figure.to_json())
            for text in _texts(record["data"]) + _texts(record["layout"].get("yaxis", {})):
                without = text.replace("<br>", "").replace("<extra></extra>", "")
                assert "<" not in without, text
                assert not STEERING.search(without), text


def _texts(value):
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) else []


def _tree(labels):
    n = len(labels)
    parents = [n + max(0, leaf - 1) for leaf in range(n)] + [n + k + 1 for k in range(n - 2)] + [-1]
    return CondensationTree.from_parents(parents, np.full(n - 1, 0.125), labels=labels)


def test_newick_is_read_back_whole_by_its_grammar(texts):
    """Every label is one quoted string of one line, and distinct labels stay distinct."""
    labels = list(dict.fromkeys(texts))
    text = _tree(labels).to_newick()
    text.encode("utf-8")
    assert not STEERING.search(text)
    quoted = re.findall(r"'(?:[^']|'')*'", text)
    assert len(quoted) == len(set(quoted)) == len(labels)
    skeleton = re.sub(r"'(?:[^']|'')*'", "", text)
    assert re.fullmatch(r"[(),:;0-9.e-]+", skeleton)
    assert skeleton.count("(") == skeleton.count(")") == len(labels) - 1


def test_json_is_ascii_and_read_back_equal(texts, batches):
    tree = _tree(texts)
    text = tree.to_json()
    assert text.isascii()
    assert list(CondensationTree.from_json(text).labels) == list(texts)
    for flow in batches[0]:
        record = trees_json(flow)
        assert record.isascii()
        assert json.loads(record)["prompts"] == list(flow.prompts)


def test_netcdf_is_read_back_equal(batches, tmp_path):
    for number, flow in enumerate(batches[0]):
        flow.save(tmp_path / f"{number}.nc")
        again = open_flow(tmp_path / f"{number}.nc")
        assert again.tokens == flow.tokens
        assert again.prompts == flow.prompts


def test_tables_are_read_back_with_as_many_cells(batches):
    for flow in batches[0][:3]:
        stream = io.StringIO()
        table = flow.to_dataframe("temperature")
        table.to_csv(stream, index=False)
        rows = list(csv.reader(io.StringIO(stream.getvalue())))
        assert {len(row) for row in rows} == {len(table.columns)}
        assert len(rows) == len(table) + 1


def test_terminal_receives_nothing_that_steers_it(texts, batches, tmp_path):
    labels = [running_text(text) for text in texts]
    lines = dendrogram_lines(_tree(labels), labels, np.arange(len(labels)), width=100)
    assert len(lines) == len(labels)
    flows = {flow.provenance["source"]["name"]: flow for flow in batches[0][:3]}
    files = dict.fromkeys(flows, (tmp_path / "a.nc", tmp_path / "a.json"))
    said = [*lines, *(printable(text) for text in texts), summary_text(flows, files, tmp_path / "r.html")]
    for line in said:
        assert not STEERING.search(line.replace("\n", "")), repr(line)
        line.encode("utf-8")
    assert summary_json(flows, files, tmp_path / "r.html").isascii()


def test_there_are_enough_of_them():
    assert len(set(strings(600))) >= 500
    assert len(set(ALL)) == len(ALL)
