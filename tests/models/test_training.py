import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from rgprobe.errors import BadInput, CheckpointError, DeviceError, NumericalRefusal, OptionError
from rgprobe.models.families import FAMILIES, Family
from rgprobe.models.optimization import build_optimizer, draw_batch
from rgprobe.models.options import TrainingOptions
from rgprobe.models.resuming import STATE_FILE
from rgprobe.models.standard import build_standard
from rgprobe.models.tokenizer import BOS_ID
from rgprobe.models.training import checkpoint_steps, train

WRITTEN = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "curve.csv", "training.json"}


class Interruption(Exception):
    """Stands for a kill: it leaves the loop at once, from within a step."""


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def interrupt_at(step):
    def callback(progress):
        if progress.step == step:
            raise Interruption

    return callback


def without_command(files):
    record = json.loads(files["training.json"])
    del record["command"]  # it names --out
    return {**files, "training.json": record}


def test_short_run_learns(tiny_options):
    result = train(tiny_options(steps=40, validate_every=10))
    assert result.steps.tolist() == [10, 20, 30, 40]
    assert result.validation[-1] < result.validation[0] - 0.5
    assert result.validation[-1] < math.log(300) - 1
    assert set(result.test) == {"walks/test"}


def test_equal_runs_write_equal_files_and_the_seed_matters(tiny_options):
    first, second, other = (
        train(tiny_options(name, seed=seed)).directory for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    )
    assert set(contents(first)) == WRITTEN
    assert without_command(contents(first)) == without_command(contents(second))
    assert contents(first)["model.safetensors"] != contents(other)["model.safetensors"]


@pytest.mark.parametrize("step", [3, 7, 11])  # before the first save, between two, after the last
def test_resumed_run_equals_an_uninterrupted_one(tiny_options, step):
    whole = train(tiny_options("whole")).directory
    with pytest.raises(Interruption):
        train(tiny_options("cut"), on_progress=interrupt_at(step))
    cut = train(tiny_options("cut", resume=True)).directory
    assert without_command(contents(cut)) == without_command(contents(whole))


def test_resuming_redoes_less_than_one_unit(tiny_options):
    with pytest.raises(Interruption):
        train(tiny_options(), on_progress=interrupt_at(8))
    steps = []
    train(tiny_options(resume=True), on_progress=lambda progress: steps.append(progress.step))
    assert steps == list(range(6, 13))


def test_resuming_with_other_options_is_refused(tiny_options):
    with pytest.raises(Interruption):
        train(tiny_options(), on_progress=interrupt_at(8))
    before = contents(tiny_options().out)
    with pytest.raises(OptionError, match="--resume: expected the options"):
        train(tiny_options(resume=True, learning_rate=1e-3))
    assert contents(tiny_options().out) == before


def test_damaged_state_is_named(tiny_options):
    with pytest.raises(Interruption):
        train(tiny_options(), on_progress=interrupt_at(8))
    path = tiny_options().out / STATE_FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=STATE_FILE):
        train(tiny_options(resume=True))


def test_finished_run_is_not_overwritten(tiny_options):
    directory = train(tiny_options()).directory
    before = contents(directory)
    for resume in (False, True):
        with pytest.raises(OptionError, match="--out: expected a directory without a finished run"):
            train(tiny_options(resume=resume))
    assert contents(directory) == before


def test_interrupted_run_is_not_overwritten_without_asking(tiny_options):
    with pytest.raises(Interruption):
        train(tiny_options(), on_progress=interrupt_at(8))
    before = contents(tiny_options().out)
    with pytest.raises(OptionError, match="pass --resume to continue"):
        train(tiny_options())
    assert contents(tiny_options().out) == before


def test_checkpoints_are_log_spaced_and_load(tiny_options):
    directory = train(tiny_options(checkpoints=4, steps=9)).directory
    kept = sorted(path.name for path in (directory / "checkpoints").iterdir())
    assert kept == ["step-000000", "step-000001", "step-000003", "step-000009"]
    last = AutoModelForCausalLM.from_pretrained(directory / "checkpoints" / kept[-1]).state_dict()
    final = AutoModelForCausalLM.from_pretrained(directory).state_dict()
    assert all(torch.equal(last[name], final[name]) for name in final)


@pytest.mark.parametrize(("count", "steps", "kept"), [(0, 9, []), (1, 9, [9]), (2, 9, [0, 9]), (9, 3, [0, 1, 2, 3])])
def test_checkpoint_steps_at_the_edges(count, steps, kept):
    assert checkpoint_steps(count, steps) == kept


def test_character_level_reports_equal_losses_per_token_and_character(tiny_options):
    (loss,) = train(tiny_options(level="character")).test.values()
    assert loss.tokens == loss.characters


def test_saved_model_computes_what_was_trained(tiny_options):
    result = train(tiny_options())
    model = AutoModelForCausalLM.from_pretrained(result.directory)
    tokenizer = AutoTokenizer.from_pretrained(result.directory)
    record = json.loads((result.directory / "training.json").read_text())
    assert sum(parameter.numel() for parameter in model.parameters()) == result.n_parameters == record["n_parameters"]
    assert len(tokenizer) == model.config.vocab_size
    assert record["options"]["seed"] == 0


def test_loop_knows_a_family_only_by_its_logits(tiny_options, monkeypatch):
    """A bigram table trains through the same loop: nothing in it asks for a transformer."""

    class Bigram(nn.Module):
        def __init__(self, vocabulary):
            super().__init__()
            self.table = nn.Embedding(vocabulary, vocabulary)
            nn.init.zeros_(self.table.weight)

        def forward(self, ids):
            return self.table(ids)

    def save(model, directory):
        (directory / "model.safetensors").write_bytes(b"saved by the family")

    bigram = Family("bigram", lambda *, vocabulary, **sizes: Bigram(vocabulary), save)
    monkeypatch.setitem(FAMILIES, "bigram", bigram)
    result = train(tiny_options(family="bigram", steps=40, learning_rate=0.1))
    assert result.validation[-1] < result.validation[0] < math.log(300)
    assert (result.directory / "model.safetensors").read_bytes() == b"saved by the family"


def test_callers_random_state_is_left_alone(tiny_options):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(tiny_options(steps=2))
    assert torch.equal(torch.rand(3), expected)


def test_batches_are_windows_of_the_stream_shifted_by_one(tiny_options):
    options = tiny_options()
    inputs, targets = draw_batch(np.arange(100, 200), step=5, options=options)
    assert inputs.shape == targets.shape == (4, 16)
    assert (inputs[:, 0] == BOS_ID).all()
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert (targets.diff(dim=1) == 1).all()
    _, shortest = draw_batch(np.arange(16), step=0, options=options)
    assert (shortest[:, -1] == 15).all()


def test_weight_decay_spares_norms_and_embeddings(tiny_options):
    model = build_standard(vocabulary=300, context=16, layers=1, width=16, heads=2)
    decayed, free = (group["params"] for group in build_optimizer(model, tiny_options()).param_groups)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(p)].split(".")[-2] for p in free} == {
        "embed_tokens", "input_layernorm", "post_attention_layernorm", "norm",
    }  # fmt: skip
    assert len(decayed) + len(free) == len(names)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "--steps: expected a whole number >= 1, received 0"),
        ({"learning_rate": float("nan")}, "--learning-rate: expected a positive number"),
        ({"level": "word"}, "--level: expected token or character, received word"),
        ({"width": 18, "heads": 4}, "--width: expected a multiple of 2 x heads = 8"),
        ({"family": "gauge-kl"}, "--family: expected gauge . standard, received 'gauge-kl'; did you mean gauge?"),
    ],
)
def test_bad_options_name_the_flag(tiny_options, changes, message):
    with pytest.raises(OptionError, match=message):
        train(tiny_options(**changes))


def test_absent_device_and_short_text_are_refused(tiny_options):
    with pytest.raises(DeviceError, match=r"--device: expected cpu.*, received tpu"):
        train(tiny_options(device="tpu"))
    with pytest.raises(BadInput, match="at least --context = 100000 training tokens"):
        train(tiny_options(context=100_000))


def test_diverging_run_is_stopped_and_says_so(tiny_options):
    with pytest.raises(NumericalRefusal, match=r"loss at step \d+: expected a finite number.*lower --learning-rate"):
        train(tiny_options(learning_rate=1e30, clip=1e30, warmup=0))


def test_command_repeats_the_run(tiny_options):
    words = tiny_options(checkpoints=3, seed=5).command().split()
    assert words[:4] == ["rgprobe", "train", "--family", "standard"]
    assert {"--seed", "5", "--checkpoints", "3"} <= set(words)
    assert "--out 'my runs/a'" in TrainingOptions(out=Path("my runs/a")).command()
    assert "--resume" not in TrainingOptions(out=tiny_options().out, resume=True).command()
