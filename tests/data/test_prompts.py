import json
from importlib.resources import files

import pytest
from tokenizers import Tokenizer

from rgprobe.data import load_prompts, prompt_set_names
from rgprobe.errors import OptionError
from rgprobe.models.shipped import shipped_path


def records(name):
    return json.loads((files("rgprobe.data") / f"{name}.json").read_text("utf-8"))["prompts"]


def test_every_set_has_a_licence_and_a_description():
    for name in prompt_set_names():
        content = json.loads((files("rgprobe.data") / f"{name}.json").read_text("utf-8"))
        assert content["licence"]
        assert content["description"]


def test_held_out_passages_have_the_stated_length_and_place():
    tokenizer = Tokenizer.from_file(str(shipped_path("standard-small") / "tokenizer.json"))
    prompts = records("held_out")
    assert [prompt["play"] for prompt in prompts] == ["Hamlet"] * 12 + ["The Tempest"] * 12
    for prompt in prompts:
        assert len(tokenizer.encode(prompt["text"]).ids) == prompt["tokens"]
        assert 90 <= prompt["tokens"] <= 128
        assert prompt["act"] in {"I", "II", "III", "IV", "V"}
        assert prompt["text"].splitlines()[0].endswith(":")


def test_modern_passages_have_the_stated_length():
    prompts = records("passages")
    assert len({prompt["subject"] for prompt in prompts}) == 24
    for prompt in prompts:
        assert 70 <= len(prompt["text"].split()) <= 90
        assert prompt["text"] == prompt["text"].strip()


@pytest.mark.parametrize("name", ["held_out", "passages"])
def test_prompts_do_not_overlap(name):
    texts = load_prompts(name)
    sentences = [line for text in texts for line in text.splitlines() if len(line) > 30]
    assert len(texts) == 24
    assert len(set(sentences)) == len(sentences)


def test_unknown_set_lists_what_exists():
    with pytest.raises(OptionError, match=r"prompts: expected .*held_out \| passages \| .*, received 'sonnets'"):
        load_prompts("sonnets")
