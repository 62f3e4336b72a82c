"""Prompts of every kind, from the command line and from files."""

import json

import numpy as np
import pytest

import rgprobe as rg
from rgprobe.cli.prompt_file import read_labelled_prompts, read_prompts
from rgprobe.errors import PromptError
from rgprobe.rg_flow import open_flow

HOSTILE = (
    "a lone \ud800 surrogate", "a NUL \x00 and an escape \x1b[31m", "right \u202eto left", "$$ x_1 $$",
    "<script>alert(1)</script>", "=1+1", "@cmd", "[bold red]markup[/bold red]",
)  # fmt: skip


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_paragraphs_are_prompts(tmp_path):
    file = written(tmp_path / "p.txt", "\ufeff\n  one\r\nstill one\r\n \t\r\n\r\n two \n\n\n")
    assert read_prompts(str(file)) == ["one\nstill one", "two"]


def test_json_lines_may_name_the_group_of_a_prompt(tmp_path):
    lines = ['{"text": "one", "group": "a"}', '"two"', '{"text": "three", "group": ""}']
    file = written(tmp_path / "p.jsonl", "\n".join(lines))
    assert read_labelled_prompts(str(file)) == [("one", "a"), ("two", ""), ("three", "")]


def test_groups_reach_the_result(run_tiny, tmp_path):
    file = written(tmp_path / "p.jsonl", '{"text": "one two three", "group": "a"}')
    assert run_tiny("--prompts", file, "--text", "seven eight", diagnostics="plateau").code == 0
    assert open_flow(tmp_path / "out" / "tiny.nc").groups == ("a", "")


def test_json_lines_are_prompts(tmp_path):
    lines = ['"one\\n\\ntwo"', '{"text": " kept \u2028 as it is ", "id": 7}', "", '"\\ud800"']
    file = written(tmp_path / "p.jsonl", "\n".join(lines))
    assert read_prompts(str(file)) == ["one\n\ntwo", " kept \u2028 as it is ", "\ud800"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.txt", "", "empty file"),
        ("p.txt", " \n\n \t\n", "empty file"),
        ("p.txt", b"fine\nnot \xff fine", "line 2: expected UTF-8 text, received byte 0xff"),
        ("p.jsonl", "\n", "empty file"),
        ("p.jsonl", '"fine"\n{"text": 3}', "line 2"),
        ("p.jsonl", '{"prompt": "x"}', 'expected a JSON string, or an object with a "text" string'),
        ("p.jsonl", '"fine"\n"torn', "line 2"),
        ("p.jsonl", '""', "an empty text"),
        ("p.jsonl", '{"text": "fine", "group": 3}', "a group that is 3"),
        ("p.jsonl", "[" * 100_000, "line 1"),
    ],
)
def test_unusable_prompt_file_is_named_with_its_line(rgprobe, tmp_path, name, content, words):
    file = written(tmp_path / name, content)
    outcome = rgprobe("run", "standard-small", "--prompts", file, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert str(file) in outcome.err
    assert words in outcome.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["absent.txt", ".", "nul\x00"])
def test_prompt_file_that_cannot_be_read(name):
    with pytest.raises(PromptError, match="expected a text file, or a set among families, held_out, passages"):
        read_prompts(name)


def test_file_and_texts_add_up(run_tiny, tmp_path):
    file = written(tmp_path / "p.txt", "one two three\n\nfour five six")
    assert run_tiny("--prompts", file, "--text", "seven eight", "--text", "nine ten", diagnostics="plateau").code == 0
    assert open_flow(tmp_path / "out" / "tiny.nc").prompts == (
        "one two three",
        "four five six",
        "seven eight",
        "nine ten",
    )


def test_empty_text_is_refused(run_tiny):
    outcome = run_tiny("--text", "fine", "--text", "")
    assert outcome.code == 2
    assert "prompt 1: expected some text" in outcome.err


@pytest.mark.parametrize(
    ("text", "tokens", "diagnostics"), [("a", 1, "all"), ("a b", 2, "temperature,plateau,condensation,consensus")]
)
def test_shortest_prompts_run_and_what_is_undefined_is_null(run_tiny, tmp_path, text, tokens, diagnostics):
    outcome = run_tiny("--text", text, "--bos", "never", "--json", nulls=1, diagnostics=diagnostics, draw=tokens == 1)
    assert outcome.code == 0
    assert len(open_flow(tmp_path / "out" / "tiny.nc").tokens[0]) == tokens
    (result,) = json.loads(outcome.out, parse_constant=_forbidden)["results"]
    undefined = {row["diagnostic"] for row in result["summary"] if row["trend"] is None}
    assert undefined
    assert all(result["undefined_when"][diagnostic] for diagnostic in undefined)
    trees = json.loads((tmp_path / "out" / "tiny.trees.json").read_text(), parse_constant=_forbidden)["trees"]
    assert len(trees) == 3
    assert all(tree["loss"] is None and tree["merge_costs"] == [] for tree in trees)


def test_long_prompt_is_refused_or_cut_when_asked(run_tiny, tmp_path):
    text = "word " * 60
    outcome = run_tiny("--text", text)
    assert outcome.code == 2
    assert "prompt 0: expected at most 48 tokens" in outcome.err
    assert "--truncate" in outcome.err
    outcome = run_tiny("--text", text, "--truncate")
    assert outcome.code == 0
    assert "1 prompt was cut to the context length" in outcome.out
    flow = open_flow(tmp_path / "out" / "tiny.nc")
    assert len(flow.tokens[0]) == 48
    assert flow.provenance["truncated_tokens"][0] > 0


def test_one_prompt_against_one_seed_claims_no_interval(run_tiny):
    shown = run_tiny("--text", "one two three", nulls=1, diagnostics="plateau").out
    assert "has no interval" in shown
    assert "Descriptive only" in shown


def test_padded_batch_needs_its_mask(checkpoint):
    """The command line takes texts only; this is the same row of bad input for those who pass token ids."""
    model = rg.load(checkpoint, device="cpu")
    padded = model.tokenizer(["to be or", "not to be, that is the question"], padding=True, return_tensors="pt")
    with pytest.raises(PromptError, match="expected an attention_mask") as refusal:
        rg.trace(model, padded["input_ids"])
    assert refusal.value.exit_code == 2
    masked = rg.trace(model, padded, collect=["states"])
    alone = rg.trace(model, ["to be or", "not to be, that is the question"], collect=["states"])
    np.testing.assert_allclose(masked.states.values, alone.states.values, atol=1e-5)


def test_hostile_text_is_literal_everywhere(run_tiny, rgprobe, checkpoint, tmp_path):
    lines = tmp_path / "p.jsonl"
    lines.write_text("\n".join(json.dumps(text) for text in HOSTILE))
    outcome = run_tiny("--prompts", lines, diagnostics="condensation,consensus", draw=True)
    assert outcome.code == 0
    trees = json.loads((tmp_path / "out" / "tiny.trees.json").read_text("ascii"))
    assert trees["prompts"] == list(HOSTILE)
    flow = open_flow(tmp_path / "out" / "tiny.nc")
    assert flow.prompts == HOSTILE
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "<script>alert" not in page
    for text in HOSTILE:
        drawn = rgprobe("tree", checkpoint, text)
        assert drawn.code == 0
        assert drawn.out.replace("\n", "").isprintable()


def _forbidden(name):
    raise AssertionError(f"{name} is not JSON")
