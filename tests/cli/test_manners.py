"""Manners of the command line: help without asking, completion, errors that teach, JSON that programs can read."""

import json
import os
import subprocess
import sys

import pytest

from rgprobe.cli.application import SHORT

TEXT = "Now is the winter of our discontent made glorious summer"


def test_without_a_command_there_is_help(rgprobe):
    bare, asked = rgprobe(), rgprobe("--help")
    assert bare == asked
    assert bare.code == 0
    for name, words in SHORT.items():
        assert f"  {name} " in bare.out
        assert words in bare.out  # not cut off


@pytest.mark.parametrize("command", sorted(SHORT))
def test_every_command_can_be_quiet_and_can_show_where_it_failed(rgprobe, command):
    shown = rgprobe(command, "--help").out
    assert "Raises" not in shown  # which is for those who call it from Python
    assert "--debug" in shown
    assert "--quiet" in shown or command == "info"  # which has nothing to be quiet about


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runn"], "Did you mean 'run'?"),
        (["run", "--diagnostics", "temprature"], "did you mean temperature?"),
        (["run", "--prompts", "pasages"], "did you mean passages?"),
        (["validate", "--only", "platau"], "did you mean plateau?"),
        (["bench", "atention"], "did you mean attention?"),
        (["info", "standrd-small"], "did you mean standard-small?"),
        (["tree", "standard-small", TEXT, "--json", "--format", "newick"], "--json: expected one format"),
    ],
)
def test_a_slip_of_the_pen_is_named(rgprobe, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    outcome = rgprobe(*arguments)
    assert outcome.code == 2
    assert words in outcome.err


def test_json_where_programs_read(rgprobe, checkpoint):
    tree = rgprobe("tree", checkpoint, TEXT, "--json", "--quiet", "--device", "cpu")
    assert json.loads(tree.out) == json.loads(rgprobe("tree", checkpoint, TEXT, "--format", "json").out)
    (row, *_) = json.loads(rgprobe("validate", "--only", "free_energy", "--json", "--quiet").out)
    assert row["verdict"] == "pass"
    assert abs(row["measured"] - row["expected"]) <= row["tolerance"]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("rgprobe ", "validate"), ("rgprobe run ", "gauge-small"), ("rgprobe run --prompts held", "held_out")],
)
def test_a_shell_completes_commands_checkpoints_and_prompt_sets(typed, offered):
    asked = {
        "_RGPROBE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split(" ")) - 1),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }  # fmt: skip
    code = "from rgprobe.cli import main; import sys; status = main([]); assert 'torch' not in sys.modules; sys.exit(status)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    assert offered in done.stdout.split()
