"""Whatever is wrong with a checkpoint: exit status 2, one line that names the culprit, nothing left behind."""

import errno
import json
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from rgprobe.errors import OptionError
from rgprobe.probe.loading import load

TEXT = ("--text", "Now is the winter")


def refused(outcome, *words, code=2):
    assert outcome.code == code, outcome
    assert outcome.out == ""
    for word in words:
        assert word in outcome.err, outcome.err


@pytest.fixture
def edit_tensors(checkpoint):
    def edit(change):
        path = checkpoint / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata={"format": "pt"})

    return edit


@pytest.fixture
def edit_config(checkpoint):
    def edit(**changes):
        path = checkpoint / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


def test_no_directory_is_left_by_a_refused_checkpoint(run_tiny, tmp_path):
    refused(run_tiny(*TEXT, source=tmp_path / "nowhere"), "nowhere", "no such directory")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kept", [0, 5, 300, -1])
def test_truncated_weights(run_tiny, checkpoint, kept):
    path = checkpoint / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:kept])
    refused(run_tiny(*TEXT), "model.safetensors")


def test_header_that_claims_more_than_there_is(run_tiny, checkpoint):
    path = checkpoint / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**60) + path.read_bytes()[8:])
    refused(run_tiny(*TEXT), "model.safetensors")


def test_missing_tensor(run_tiny, edit_tensors):
    edit_tensors(lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    refused(run_tiny(*TEXT), "missing", "model.layers.1.mlp.up_proj.weight")


def test_extra_tensor(run_tiny, edit_tensors):
    edit_tensors(lambda tensors: tensors.update(stowaway=torch.zeros(3)))
    refused(run_tiny(*TEXT), "unexpected", "stowaway")


def test_misshapen_tensor(run_tiny, edit_tensors):
    edit_tensors(lambda tensors: tensors.update({"model.norm.weight": torch.ones(17)}))
    refused(run_tiny(*TEXT), "model.norm.weight of shape [17], not [16]", "mismatched")


def test_weights_that_are_not_finite_are_named_and_counted(run_tiny, edit_tensors):
    def spoil(tensors):
        tensors["model.layers.0.self_attn.q_proj.weight"][0, :3] = torch.tensor([torch.nan, torch.inf, -torch.inf])

    edit_tensors(spoil)
    refused(run_tiny(*TEXT), "model.layers.0.self_attn.q_proj.weight", "3 NaN or infinite")


def test_pickle_is_refused_unless_asked_for(run_tiny, checkpoint):
    tensors = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    torch.save(tensors, checkpoint / "pytorch_model.bin")
    torch.save({"step": 3}, checkpoint / "optimizer.pt")
    refused(run_tiny(*TEXT), "pytorch_model.bin", "pickle", "or pass allow_pickle=True")
    assert run_tiny(*TEXT, "--allow-pickle").code == 0


@pytest.mark.parametrize("names", [["model.pt"], ["model.pt", "optimizer.pt"]])
def test_a_pickle_of_another_name_gets_a_remedy_that_works(run_tiny, checkpoint, names):
    tensors = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    for name in names:
        torch.save(tensors, checkpoint / name)
    for asked in ((), ("--allow-pickle",)):
        refused(run_tiny(*TEXT, *asked), ", ".join(names), "or name them pytorch_model.bin and pass allow_pickle=True")
    (checkpoint / "model.pt").rename(checkpoint / "pytorch_model.bin")
    assert run_tiny(*TEXT, "--allow-pickle").code == 0


def test_gauge_checkpoints_are_never_pickles(run_tiny, gauge_checkpoint, tmp_path):
    copied = shutil.copytree(gauge_checkpoint, tmp_path / "gauge")
    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    for asked in ((), ("--allow-pickle",)):
        outcome = run_tiny(*TEXT, *asked, source=copied)
        refused(
            outcome, "pytorch_model.bin", "save it with GaugeTransformer.save_pretrained", "never read from pickles"
        )
        assert "allow_pickle" not in outcome.err


def test_pickle_that_runs_code_is_never_read(run_tiny, checkpoint, tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (checkpoint / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Payload()}, checkpoint / "pytorch_model.bin")
    outcome = run_tiny(*TEXT, "--allow-pickle")
    refused(
        outcome, "tiny", "a pickle of more than tensors, which would use", "io.open"
    )  # _io.open from Python 3.13 on
    assert "weights_only" not in outcome.err  # torch advises to read it without its guard
    assert not (tmp_path / "ran").exists()


def test_dtype_that_is_no_precision_is_no_fault_of_the_checkpoint(checkpoint, unchecked_types):
    for dtype in (torch.int8, torch.bool, torch.complex64, "int8", 32):
        with pytest.raises(OptionError, match=r"^dtype: expected float32 \| float64"):
            load(checkpoint, dtype=dtype)


@pytest.mark.parametrize("key", ["auto_map", "trust_remote_code"])
def test_remote_code_is_never_followed(run_tiny, edit_config, key):
    edit_config(**{key: {"AutoModelForCausalLM": "evil.Model"}})
    refused(run_tiny(*TEXT), "config.json", key)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model_type": 3}', "\udcff"])
def test_unreadable_config(run_tiny, checkpoint, content):
    (checkpoint / "config.json").write_text(content, errors="surrogateescape")
    refused(run_tiny(*TEXT), "config.json")


def test_config_without_weights(run_tiny, checkpoint):
    (checkpoint / "model.safetensors").unlink()
    refused(run_tiny(*TEXT), "model.safetensors", "no weight file")


@pytest.mark.parametrize("changes", [{"model_type": "no_such"}, {"num_attention_heads": 3}, {"hidden_size": "wide"}])
def test_config_that_no_model_fits(run_tiny, edit_config, changes):
    edit_config(**changes)
    refused(run_tiny(*TEXT), "tiny")


def test_torn_tokenizer(run_tiny, checkpoint):
    path = checkpoint / "tokenizer.json"
    path.write_text(path.read_text()[:1000])
    refused(run_tiny(*TEXT), "tiny", "tokenizer")


def test_text_for_a_model_without_tokenizer(run_tiny, checkpoint):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (checkpoint / name).unlink()
    refused(run_tiny(*TEXT), "tokenizer")


def test_vocabulary_smaller_than_a_token_id(run_tiny, edit_config, edit_tensors):
    edit_config(vocab_size=300)
    name = "model.embed_tokens.weight"
    edit_tensors(lambda tensors: tensors.update({name: tensors[name][:300].clone()}))
    refused(run_tiny(*TEXT), "prompt 0", "vocabulary size 300", "id ")


@pytest.fixture
def hub_that_raises(monkeypatch):
    import huggingface_hub

    def install(error):
        def download(*args, **kwargs):
            raise error

        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)

    return install


def test_hub_id_that_cannot_be_reached(run_tiny, hub_that_raises):
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError

    unreachable = OSError("Network is unreachable\nwith a second line \x1b[31m")
    for error in (unreachable, LocalEntryNotFoundError("not in the cache"), HTTPError("a proxy says no")):
        hub_that_raises(error)
        refused(run_tiny(*TEXT, source="some-org/some-model"), "some-org/some-model", "offline, pass a directory")


def test_memory_or_disk_that_runs_out_while_downloading_is_no_fault_of_the_hub_id(run_tiny, hub_that_raises):
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        hub_that_raises(error)
        refused(run_tiny(*TEXT, source="some-org/some-model"), "out of memory", code=3)
    hub_that_raises(OSError(errno.ENOSPC, "No space left on device", "blobs/a"))
    refused(run_tiny(*TEXT, source="some-org/some-model"), "some-org/some-model", "No space left", "HF_HOME", code=3)


def test_device_that_is_not_there(run_tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    refused(run_tiny(*TEXT, "--device", "cuda"), "cuda", "none on this machine")
    refused(run_tiny(*TEXT, "--device", "mps"), "mps", "none on this machine")
    for name in ("abacus", "cpuu", "cuda:x", "meta"):
        refused(run_tiny(*TEXT, "--device", name), name, "expected auto, cpu or cuda")


def test_device_index_that_is_not_there(run_tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    refused(run_tiny(*TEXT, "--device", "cuda:2"), "cuda:2", "an index below 2")


def test_memory_that_runs_out_is_the_environment(run_tiny, monkeypatch):
    import rgprobe.flow

    def exhausted(*args, **kwargs):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(rgprobe.flow, "trace", exhausted)
    refused(run_tiny(*TEXT), "out of memory", code=3)


@pytest.mark.parametrize("reader", ["AutoTokenizer", "LlamaForCausalLM"])
def test_memory_that_runs_out_while_reading_is_no_fault_of_the_checkpoint(rgprobe, checkpoint, monkeypatch, reader):
    import transformers

    def exhausted(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(getattr(transformers, reader), "from_pretrained", exhausted)
    refused(rgprobe("info", checkpoint), "out of memory", code=3)


def test_memory_that_runs_out_while_reading_is_no_fault_of_a_result(rgprobe, finished, monkeypatch):
    import xarray

    def exhausted(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(xarray, "open_datatree", exhausted)
    refused(rgprobe("report", finished / "tiny.nc", "--out", finished / "r.html"), "out of memory", code=3)
