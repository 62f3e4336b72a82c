"""The commands as a person would use them."""

import json
import os
import shutil

import pytest

from rgprobe.cli.application import SHORT
from rgprobe.condensation import CondensationTree
from rgprobe.rg_flow import open_flow

TEXT = "Now is the winter of our discontent made glorious summer"


def test_help_explains_every_command(rgprobe):
    outcome = rgprobe("--help")
    assert outcome.code == 0
    assert len(SHORT) == 11
    for command in SHORT:
        assert f"\n  {command} " in outcome.out
    shown = rgprobe("run", "--help").out
    for option in ("prompts", "text", "belief", "nulls", "diagnostics", "positions", "sink", "bos", "truncate", "seed"):
        assert f"--{option}" in shown
    for option in ("device", "dtype", "allow-pickle", "out", "json", "quiet", "debug"):
        assert f"--{option}" in shown


@pytest.mark.parametrize("chosen", [None, "active"])
def test_waiting_threads_leave_the_core_unless_somebody_wants_otherwise(rgprobe, monkeypatch, chosen):
    monkeypatch.setenv("OMP_WAIT_POLICY", chosen or "")  # taken back afterwards, whatever the command sets
    if not chosen:
        del os.environ["OMP_WAIT_POLICY"]
    assert rgprobe("--version").code == 0
    assert os.environ["OMP_WAIT_POLICY"] == (chosen or "passive")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense"], "No such option: --nonsense"),
        (["walk"], "No such command 'walk'"),
        (["run", "--nulls", "-1"], "--nulls"),
        (["run", "--nulls", "some"], "--nulls"),
        (["run", "--belief", "faith"], "--belief"),
        (["run", "--sink", "drain"], "--sink"),
        (["run", "--seed", "-3"], "--seed"),
        (["run", "--positions", "0"], "--positions: expected a count of at least 1"),
        (["run", "--positions", "-1,3"], "--positions"),
        (["run", "--diagnostics", "vibes"], "diagnostics: expected default, all, or names among"),
        (["tree", "standard-small"], "Missing argument 'TEXT'"),
        (["report"], "Missing argument"),
        (["report", "absent.nc"], "absent.nc: expected a result file"),
        (["info", __file__], "test_commands.py: expected a checkpoint directory with a config.json, received a file"),
        (["info", "absent.nc"], "absent.nc: expected a result file"),
    ],
)
def test_unusable_arguments_get_one_line(rgprobe, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    outcome = rgprobe(*arguments)
    assert outcome.code == 2
    assert words in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_where(run_tiny, monkeypatch, capsys, tmp_path):
    from rgprobe.cli import main

    code = main(["run", "no/such", "--text", "x", "--out", str(tmp_path / "out"), "--debug", "--device", "abacus"])
    err = capsys.readouterr().err
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("rgprobe: abacus: expected auto, cpu or cuda")


def test_without_source_every_shipped_checkpoint_is_run_against_five_seeds(rgprobe, checkpoint, tmp_path, monkeypatch):
    other = shutil.copytree(checkpoint, tmp_path / "other")
    monkeypatch.setattr("rgprobe.cli.run_command.shipped_names", lambda: (str(checkpoint), str(other)))
    texts = [word for text in ("one two", "three four") for word in ("--text", text)]
    outcome = rgprobe("run", *texts, "--out", tmp_path / "out", "--diagnostics", "plateau", "--json")
    assert outcome.code == 0
    results = json.loads(outcome.out)["results"]
    assert [result["name"] for result in results] == ["tiny", "other"]
    assert [result["random_inits"] for result in results] == [5, 5]
    assert (tmp_path / "out" / "report.html").stat().st_size > 0


def test_verdicts_are_printed_when_they_are_allowed(run_tiny):
    texts = [word for number in range(20) for word in ("--text", f"Now is {number}")]
    outcome = run_tiny(*texts, nulls=5, diagnostics="plateau")
    assert outcome.code == 0
    assert "trends over depth beat random initialisation" in outcome.out
    assert "false-discovery rate" in outcome.out
    assert "Descriptive only" not in outcome.out


def test_options_reach_the_result(run_tiny, tmp_path):
    options = ["--positions", "1,3", "--sink", "include", "--belief", "thermal", "--bos", "never", "--dtype", "float64"]
    assert run_tiny("--text", TEXT, *options, "--seed", 7, diagnostics="condensation").code == 0
    flow = open_flow(tmp_path / "out" / "tiny.nc")
    recorded = flow.provenance["options"]
    assert (recorded["positions"], recorded["sink"], recorded["belief"], recorded["bos"]) == (
        [1, 3],
        "include",
        "thermal",
        "never",
    )
    assert (flow.provenance["seed"], flow.provenance["dtype"]) == (7, "float64")
    assert flow.diagnostics == ("condensation",)


def test_tree_is_drawn_with_its_cut(rgprobe, checkpoint):
    outcome = rgprobe("tree", checkpoint, "to be or not to be", "--clusters", 2, "--layer", 1)
    assert outcome.code == 0
    assert "state 1 of 2: 6 of 7 tokens" in outcome.out
    drawn = outcome.out.split("\n\n")[1].splitlines()
    assert len(drawn) == 6
    assert {line.split()[0] for line in drawn} == {"1", "2"}
    assert "Cut into 2 meta-tokens" in outcome.out


def test_tree_for_other_programs(rgprobe, checkpoint):
    arguments = ("tree", checkpoint, TEXT, "--belief", "thermal", "--layer", 0, "--format")
    tree = CondensationTree.from_json(rgprobe(*arguments, "json").out)
    assert tree.labels is not None
    assert rgprobe(*arguments, "newick").out == tree.to_newick() + "\n"


@pytest.mark.parametrize(("option", "value", "words"), [("--layer", 3, "from 0 to 2"), ("--clusters", 99, "from 1 to")])
def test_tree_outside_its_range(rgprobe, checkpoint, option, value, words):
    outcome = rgprobe("tree", checkpoint, "to be or not", option, value)
    assert outcome.code == 2
    assert words in outcome.err


def test_native_beliefs_of_a_gauge_checkpoint(rgprobe, run_tiny, gauge_checkpoint, tmp_path):
    outcome = rgprobe("tree", gauge_checkpoint, "to be or not to be", "--belief", "native", "--layer", 1)
    assert outcome.code == 0
    assert "tiny-gauge, native beliefs, block 1 of 1: 6 of 7 tokens" in outcome.out
    one = rgprobe("tree", gauge_checkpoint, "to be or not to be", "--belief", "native", "--head", 1)
    assert "native beliefs of head 1, block 1 of 1" in one.out
    assert run_tiny("--text", TEXT, "--belief", "native", source=gauge_checkpoint, nulls=1).code == 0
    flow = open_flow(tmp_path / "out" / "tiny-gauge.nc")
    assert flow.provenance["belief"] == "native"
    assert flow.to_xarray()["condensation"].attrs["depth"] == "block"


@pytest.mark.parametrize("command", ["run", "tree"])
def test_native_beliefs_of_a_standard_checkpoint_are_refused(rgprobe, run_tiny, checkpoint, tmp_path, command):
    if command == "run":
        outcome = run_tiny("--text", TEXT, "--belief", "native")
        assert not list(tmp_path.glob("out/*.nc"))
    else:
        outcome = rgprobe("tree", checkpoint, TEXT, "--belief", "native")
    assert outcome.code == 2
    assert "native beliefs exist in the gauge family only" in outcome.err


def test_tree_of_one_token(rgprobe, checkpoint):
    outcome = rgprobe("tree", checkpoint, "a", "--bos", "never")
    assert outcome.code == 0
    assert "nothing to merge" in outcome.out


def test_report_of_saved_results(rgprobe, finished, tmp_path):
    flow, page = finished / "tiny.nc", tmp_path / "again.html"
    assert rgprobe("report", flow, "--out", page).code == 0
    assert page.read_bytes() == (finished / "report.html").read_bytes()
    assert rgprobe("report", flow, "--out", tmp_path / "absent" / "page.html").code == 3


def test_report_of_two_results(rgprobe, run_tiny, tmp_path, monkeypatch):
    assert run_tiny("--text", TEXT, diagnostics="plateau").code == 0
    flow = tmp_path / "out" / "tiny.nc"
    monkeypatch.undo()
    assert rgprobe("report", flow, flow, "--out", tmp_path / "both.html").code == 0
    assert "tiny (2)" in (tmp_path / "both.html").read_text("utf-8")


def test_info_of_a_checkpoint_and_of_a_result(rgprobe, finished, checkpoint):
    facts = json.loads(rgprobe("info", checkpoint, "--json").out)
    assert (facts["family"], facts["layers"], facts["heads"], facts["width"]) == ("standard", 2, 2, 16)
    assert (facts["vocabulary"], facts["context"], facts["architecture"]) == (2048, 48, "LlamaForCausalLM")
    assert set(facts["sha256"]) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    shown = rgprobe("info", finished / "tiny.nc").out
    for digest in facts["sha256"].values():
        assert digest in shown
    assert "random inits" in shown


def test_file_that_is_no_result(rgprobe, tmp_path):
    (tmp_path / "torn.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 40)
    for command in ("info", "report"):
        outcome = rgprobe(command, tmp_path / "torn.nc")
        assert outcome.code == 2
        assert "torn.nc" in outcome.err
