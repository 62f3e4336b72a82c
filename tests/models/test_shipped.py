import json
import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from rgprobe.errors import CheckpointError, OptionError
from rgprobe.models import GaugeTransformer, shipped
from rgprobe.models.corpus import Document
from rgprobe.models.evaluation import document_loss
from rgprobe.models.shipped import shipped_names, shipped_path, verify_shipped
from rgprobe.models.tokenizer import BOS_ID, PAD_ID, train_tokenizer

PAIR = ("standard-small", "gauge-small")
DIRECTORY = shipped_path("standard-small")


class Logits(nn.Module):
    """A `transformers` model as the loop sees models: ids in, logits out."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, ids):
        return self.decoder(input_ids=ids, use_cache=False).logits


def record_of(name):
    return json.loads((shipped_path(name) / "training.json").read_text())


def model_of(name):
    directory = shipped_path(name)
    if name == "gauge-small":
        return GaugeTransformer.from_pretrained(directory)
    return Logits(AutoModelForCausalLM.from_pretrained(directory))


def test_every_shipped_file_is_in_the_manifest():
    for name in shipped_names():
        verify_shipped(name)
        manifest = json.loads((shipped_path(name).parent / "manifest.json").read_text())
        assert {path.name for path in shipped_path(name).iterdir()} == set(manifest[name])


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_one_flipped_bit_is_caught(tmp_path, monkeypatch, file):
    root = tmp_path / "shipped"
    shutil.copytree(DIRECTORY.parent, root)
    monkeypatch.setattr(shipped, "_ROOT", root)
    verify_shipped("standard-small")
    content = bytearray((root / "standard-small" / file).read_bytes())
    content[len(content) // 2] ^= 1
    (root / "standard-small" / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=file):
        verify_shipped("standard-small")
    (root / "standard-small" / file).unlink()
    with pytest.raises(CheckpointError, match="no such file"):
        verify_shipped("standard-small")


def test_unknown_name_lists_what_exists():
    with pytest.raises(OptionError, match=r"expected .*standard-small.*, received 'standard-large'"):
        shipped_path("standard-large")


@pytest.mark.parametrize("name", PAIR)
def test_checkpoint_is_small_and_float32(name):
    model = model_of(name)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert n_parameters == record_of(name)["n_parameters"]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert (shipped_path(name) / "model.safetensors").stat().st_size < 8_000_000


def test_the_pair_is_matched():
    """Same tokenizer, same options, same tokens seen, equally many parameters."""
    standard, gauge = (record_of(name) for name in PAIR)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert len({(shipped_path(name) / file).read_bytes() for name in PAIR}) == 1
    assert abs(gauge["n_parameters"] / standard["n_parameters"] - 1) < 0.001
    assert {**gauge["options"], "family": "standard"} == standard["options"]
    assert gauge["corpus"] == standard["corpus"]
    assert gauge["options"]["settings"] == []
    assert gauge["test_all"]["nats_per_token"] < standard["test_all"]["nats_per_token"]


def test_tokenizer_opens_texts_and_pads_with_a_token_of_its_own():
    tokenizer = AutoTokenizer.from_pretrained(DIRECTORY)
    batch = tokenizer(["To be", "To be, or not to be"], padding=True, padding_side="left")
    assert [ids[-1] == PAD_ID for ids in batch["input_ids"]] == [False, False]
    assert batch["input_ids"][0][:-3] == [PAD_ID] * (len(batch["input_ids"][1]) - 3)
    assert batch["input_ids"][1][0] == BOS_ID


@pytest.mark.parametrize("name", PAIR)
def test_recorded_test_loss_is_reached(name):
    text = Path(__file__).with_name("hamlet_opening.txt").read_text("utf-8")
    recorded = record_of(name)["test_slice"]
    assert recorded["opening_of"] == "hamlet"
    assert len(text) == recorded["characters"]
    tokenizer = Tokenizer.from_file(str(shipped_path(name) / "tokenizer.json"))
    loss = document_loss(model_of(name), tokenizer, Document("hamlet", text), context=256)
    assert loss.nats_per_token == pytest.approx(recorded["nats_per_token"], abs=1e-3)
    assert loss.tokens == recorded["tokens"]


@pytest.mark.parametrize("name", PAIR)
def test_trained_model_beats_a_fresh_one_by_far(name):
    assert record_of(name)["test_all"]["nats_per_token"] < 4  # ln 2048 = 7.62 is knowing nothing


def test_shipped_tokenizer_is_what_training_writes():
    tokenizer = Tokenizer.from_file(str(DIRECTORY / "tokenizer.json"))
    fresh = train_tokenizer(["To be, or not to be"], vocabulary=260)
    for text in ("[Exit]\n\nHAMLET:\nO, vengeance!", "naïve 漢字 🙂"):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids) == text
    assert (tokenizer.get_vocab_size(), tokenizer.token_to_id("<|endoftext|>")) == (2048, BOS_ID)
    assert str(tokenizer.pre_tokenizer) == str(fresh.pre_tokenizer)
