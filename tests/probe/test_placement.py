"""Checkpoints that are spread over memory and disk, or read in part: the same numbers, in less memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, random_prompts

import rgprobe as rg
from rgprobe.errors import CheckpointError, OptionError

IDS = random_prompts(1, 40)[0]
# what fits: the embedding, and of some families nothing else
ROOM = {"llama": 30_000, "gpt2": 60_000, "neox": 30_000, "gemma2": 30_000, "bert": 30_000}


@pytest.fixture(params=FAMILIES)
def saved(request, tmp_path):
    FAMILIES[request.param]().save_pretrained(tmp_path)
    return tmp_path, ROOM[request.param]


def spread(path, room):
    return rg.load(path, device_map="auto", max_memory={"cpu": room}, offload_folder=path / "offloaded")


def test_weights_left_on_disk_give_the_same_trace(saved):
    path, room = saved
    whole, probe = rg.load(path), spread(path, room)
    assert any(parameter.is_meta for parameter in probe.bridge.original_model.parameters())
    assert (probe.n_parameters, probe.device.type) == (whole.n_parameters, "cpu")
    one, other = (rg.trace(each, [IDS], positions=6) for each in (whole, probe))
    np.testing.assert_array_equal(other.states, one.states)
    for quantity, values in one.lens.items():
        np.testing.assert_array_equal(other.lens[quantity], values)
    with pytest.raises(OptionError, match="nulls"), probe.randomised(0):
        pass


def test_the_first_blocks_alone_have_the_states_of_the_whole(saved):
    path, _ = saved
    whole, part = rg.load(path), rg.load(path, layers=2)
    assert part.n_blocks == 2
    assert part.n_parameters < whole.n_parameters
    assert part.name == f"{whole.name}-first-2"
    one, other = (rg.trace(each, [IDS], positions=6) for each in (whole, part))
    np.testing.assert_array_equal(other.states, one.states[:, :3])
    assert other.provenance["config"]["num_hidden_layers"] == 2
    with part.randomised(0) as null:
        assert null.n_blocks == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": 9}, "at most 3"),
        ({"layers": 0}, ">= 1"),
        ({"max_memory": {"cpu": 1}}, "device_map"),
        ({"device": "cpu", "device_map": "auto"}, "device"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, options, words):
    tiny_models.llama().save_pretrained(tmp_path)
    with pytest.raises(OptionError, match=words):
        rg.load(tmp_path, **options)


@pytest.mark.parametrize("source", ["gauge-small", "in hand"])
def test_only_checkpoints_of_transformers_are_spread(source):
    with pytest.raises(OptionError, match="device_map"):
        rg.load(tiny_models.gpt2() if source == "in hand" else source, device_map="auto")


def test_a_nan_among_weights_on_disk_is_found(tmp_path):
    tiny_models.llama().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.up_proj"):
        spread(tmp_path, 30_000)


MEASURED = """
import json, resource, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import rgprobe as rg
from rgprobe.probe.fused_pass import stream_fused
rg.trace("standard-small", [list(range(40))], positions=4)  # what any run takes
def peak():
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[1]) / 1024
before, path, room = peak(), sys.argv[1], int(sys.argv[2])
options = {"device_map": "auto", "max_memory": {"cpu": room}, "offload_folder": path + "/offloaded"} if room else {}
probe = rg.load(path, dtype="bfloat16", **options)
trace = rg.trace(probe, [list(range(10, 50))], positions=4)
print(json.dumps({"added": peak() - before, "entropy": float(trace.lens["entropy"].mean()),
                  "dtype": str(trace.attention["participation"].dtype), "weights": trace.provenance["dtype"]}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_a_model_larger_than_its_memory_is_measured_within_it(tmp_path):
    """192 MB of weights in bfloat16, of which 24 MB may stay: the peak is that, and a block or two."""
    size = {"hidden_size": 512, "intermediate_size": 6144, "num_hidden_layers": 9, "num_attention_heads": 8}
    model = tiny_models.llama(num_key_value_heads=8, **size).bfloat16()
    bytes_of_weights = 2 * sum(parameter.numel() for parameter in model.parameters())
    model.save_pretrained(tmp_path, max_shard_size="20MB")
    del model
    found = {}
    for room in (0, 24_000_000):
        command = [sys.executable, "-c", MEASURED, str(tmp_path), str(room)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(rg.__file__).parents[1])
        found[room] = json.loads(done.stdout.splitlines()[-1])
    whole, spread_out = found[0], found[24_000_000]
    assert spread_out["entropy"] == whole["entropy"]
    assert (spread_out["dtype"], spread_out["weights"]) == ("float64", "bfloat16")
    assert whole["added"] > bytes_of_weights / 2**20
    assert spread_out["added"] < 0.7 * bytes_of_weights / 2**20
