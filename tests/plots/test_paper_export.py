"""Export: files of every format, whole, the same bytes for the same flow, captions that hold the facts."""

import json

import pytest
from ladder_cases import made_up_result
from matplotlib import rcParams
from paper_flow import HOSTILE, paper_flow
from synthetic_flow import synthetic_flow

import rgprobe as rg
from rgprobe.cli import main
from rgprobe.errors import EnvironmentFault, OptionError
from rgprobe.plots.paper import FORMATS, elimination, export, rendered
from rgprobe.plots.paper.catalogue import FIGURES
from rgprobe.plots.paper.style import DOUBLE
from rgprobe.plots.paper.tokens import paper_text


@pytest.fixture(scope="module")
def flow():
    return paper_flow(tokens=HOSTILE, positions=12, blocks=2, name="mo\x1bdel <b>$x$")


VECTOR = ("pdf", "svg")  # every figure; pixels take most of the time, and are made of one


@pytest.fixture(scope="module")
def folder(flow, tmp_path_factory):
    place = tmp_path_factory.mktemp("figures")
    export(flow, place, formats=VECTOR)
    return place


def test_every_figure_in_every_format_with_its_caption(folder):
    expected = {f"{entry.name}.{suffix}" for entry in FIGURES for suffix in (*VECTOR, "txt")}
    assert {file.name for file in folder.iterdir()} == expected


def test_pixels_are_those_of_the_width_in_print(tmp_path):
    (written,) = (path for path in export(made_up_result(), tmp_path, formats=["png"]).written if path.suffix == ".png")
    content = written.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert int.from_bytes(content[16:20], "big") == round(DOUBLE * 300)
    assert set(FORMATS) == {*VECTOR, "png"}


def test_fonts_are_truetype(folder):
    for file in folder.glob("*.pdf"):
        content = file.read_bytes()
        assert content.startswith(b"%PDF-")
        assert b"/CIDFontType2" in content
        assert b"/Type3" not in content


def test_letters_are_outlines_and_no_dates_in_svg(folder):
    for file in folder.glob("*.svg"):
        content = file.read_text("utf-8")
        assert "<text" not in content
        assert "dc:date" not in content
        assert "<script" not in content


def test_equal_flows_make_equal_bytes_whatever_the_settings(flow, folder):
    before = rcParams["font.size"]
    rcParams["font.size"] = 3.0
    try:
        figure = elimination(flow)
        again = {suffix: rendered(figure, suffix) for suffix in VECTOR}
        assert rendered(figure, "png") == rendered(elimination(flow), "png")
        assert rcParams["font.size"] == 3.0
    finally:
        rcParams["font.size"] = before
    for suffix, content in again.items():
        assert content == (folder / f"elimination.{suffix}").read_bytes(), suffix


def test_captions_hold_the_facts(folder):
    caption = (folder / "elimination.txt").read_text("utf-8")
    facts = ("n: 3 prompts, 12 recorded tokens", "interval: 95%", "null: 3 random initialisations", "1 shuffle",
             "belief: lens", "sink: excluded", "seeds: run 0; random initialisations 0, 1, 2", "sha256", "rgprobe: 0.1.0",
             "elimination, assumption: made up")  # fmt: skip
    flat = " ".join(caption.split())
    assert [
        fact for fact in facts if fact.replace("12 recorded", "11 to 12 recorded") not in flat and fact not in flat
    ] == []
    assert "\x1b" not in caption
    shown = " ".join((folder / "consensus-tree.txt").read_text("utf-8").split())
    assert "n: 1 of 3 prompts" in shown
    assert "nothing is tested" in shown


def test_what_was_not_measured_is_skipped_and_named(tmp_path):
    done = export(synthetic_flow(blocks=2, heads=1, prompts=2), tmp_path, formats=["svg"])
    skipped = {each.name: each for each in done.skipped}
    assert set(skipped) == {"correlation-length", "operator-gains", "lyapunov-spectrum", "energy-landscape"}
    assert skipped["lyapunov-spectrum"].remedy == "rgprobe run SOURCE --diagnostics lyapunov"
    assert not list(tmp_path.glob("lyapunov*"))


@pytest.mark.parametrize("formats", [["gif"], [], ["pdf", "../x"]])
def test_unknown_formats_are_refused_before_anything_is_made(formats, flow, tmp_path):
    with pytest.raises(OptionError, match="pdf"):
        export(flow, tmp_path / "new", formats=formats)
    assert not (tmp_path / "new").exists()


def test_a_prompt_that_does_not_exist_is_refused(flow, tmp_path):
    with pytest.raises(OptionError, match="prompt"):
        export(flow, tmp_path, prompt=7)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_a_fault_of_the_environment(flow, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(EnvironmentFault, match="directory"):
        export(flow, tmp_path / "file" / "figures")


def test_files_are_whole_or_absent(tmp_path, monkeypatch):
    earlier = tmp_path / "attention-ladder.pdf"
    earlier.write_bytes(b"earlier")
    monkeypatch.setattr(
        "pathlib.Path.replace", lambda self, target: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(EnvironmentFault, match="No space left"):
        export(made_up_result(), tmp_path)
    assert earlier.read_bytes() == b"earlier"
    assert [file.name for file in tmp_path.iterdir()] == ["attention-ladder.pdf"]


def test_the_command_writes_figures_and_says_what_it_skipped(tmp_path, capsys):
    flow = synthetic_flow(blocks=2, heads=1, prompts=2)
    flow.save(tmp_path / "flow.nc")
    out = tmp_path / "figures"
    assert main(["figures", str(tmp_path / "flow.nc"), "--out", str(out), "--format", "svg"]) == 0
    told = capsys.readouterr().out
    assert "temperature-map: svg, txt" in told
    assert "Skipped lyapunov-spectrum: lyapunov not measured in this result; rgprobe run SOURCE" in told
    assert (out / "flow-summary.svg").exists()
    assert not [file for file in out.iterdir() if file.name.startswith(".rgprobe-unfinished")]


def test_the_command_tells_results_apart(tmp_path, capsys):
    ladder = tmp_path / "ladder.json"
    ladder.write_text(made_up_result().to_json())
    assert main(["figures", str(ladder), "--out", str(tmp_path / "a"), "--format", "pdf"]) == 0
    assert (tmp_path / "a" / "attention-ladder.pdf").exists()
    rows = [
        {"model": "m", "layer": layer, "share": 2, "relative": {"tree": [0.1, 0.2], "random": [0.5, 0.9]}}
        for layer in (1, 2)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    assert main(["figures", str(tmp_path / "rows.json"), "--out", str(tmp_path / "b"), "--format", "svg"]) == 0
    assert (tmp_path / "b" / "faithfulness.svg").exists()
    small = {"blocks": 2, "heads": 1}
    comparison = rg.compare({"a": synthetic_flow(**small), "b": synthetic_flow(seed=1, **small)})
    comparison.save(tmp_path / "comparison.nc")
    assert main(["figures", str(tmp_path / "comparison.nc"), "--out", str(tmp_path / "c"), "--format", "svg"]) == 0
    words = (tmp_path / "c" / "families-compared.txt").read_text("utf-8")
    assert "3 prompts, the same for both" in words
    capsys.readouterr()


@pytest.mark.parametrize(
    ("content", "word"), [("{", "JSON"), ('{"schema": "other"}', "another JSON file"), ("[1]", "another JSON file")]
)
def test_another_file_is_refused(content, word, tmp_path, capsys):
    (tmp_path / "x.json").write_text(content)
    assert main(["figures", str(tmp_path / "x.json"), "--out", str(tmp_path / "out")]) == 2
    assert word in capsys.readouterr().err
    assert main(["figures", str(tmp_path / "absent.nc"), "--out", str(tmp_path / "out")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_an_unknown_format_is_refused_by_the_command(tmp_path, capsys):
    flow = tmp_path / "ladder.json"
    flow.write_text(made_up_result().to_json())
    assert main(["figures", str(flow), "--out", str(tmp_path / "out"), "--format", "gif"]) == 2
    assert "pdf, svg, png" in capsys.readouterr().err


def test_code_points_are_never_cut():
    assert paper_text("你好世界你好世界", longest=16) == "U+4F60 U+597D…"
    assert paper_text("\x00a") == "U+0000 a"
    assert paper_text("") == "∅"
