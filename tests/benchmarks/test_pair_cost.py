"""Both families side by side: what is measured, its table, its record, and the clock of a GPU."""

import json
import time

import pytest
import torch
from benchmark_results import pair

from rgprobe.benchmarks.pair_cost import PairOptions, PairResult, measure_pair, pair_table
from rgprobe.benchmarks.pair_memory import allocated_peaks
from rgprobe.benchmarks.pair_ways import WAYS, Work, pair_calls
from rgprobe.data import load_prompts
from rgprobe.errors import BadInput, DeviceError, EnvironmentFault
from rgprobe.models.bench import timing
from rgprobe.probe.loading import load


@pytest.fixture(scope="module")
def measured():
    told = []
    result = measure_pair(PairOptions(1, 9, "cpu", 1), on_progress=lambda *step: told.append(step))
    return result, told


def test_every_way_of_both_models_is_timed(measured):
    result, told = measured
    sources = ["standard-small", "gauge-small"]
    assert [(t.source, t.way) for t in result.timings] == [(source, way) for source in sources for way in WAYS]
    assert all(0 < t.least <= t.median and t.peak > 0 for t in result.timings)
    assert (told[0], told[-1]) == ((0, 5, "loss of standard-small"), (5, 5, "done"))
    assert result.options["device"] == "cpu"


def test_losses_and_sizes_are_those_of_the_models(measured):
    result, _ = measured
    for model in result.models:
        probe = load(model.source, device="cpu")
        assert model.parameters == probe.n_parameters
        assert model.losses[3] == probe.loss(load_prompts("held_out")[3])


def test_a_step_trains_a_model_of_the_same_size():
    """Its optimizer holds as many numbers as the checkpoint has parameters."""
    for source in ("standard-small", "gauge-small"):
        step = pair_calls(source, Work(1, 8, "cpu", 0))["step float32"]
        model, before = step.args[0], step()
        assert sum(p.numel() for p in model.parameters()) == load(source, device="cpu").n_parameters
        assert step() < before  # the same batch again


def test_the_table():
    rows = {row[0]: row[1:] for row in pair_table(pair()).rows}
    assert rows["parameters"] == ("1,000", "1,100", "x 1.100")
    assert rows["loss, nats per token (6 held-out passages)"] == ("4.000", "3.900", "-0.100 (-0.100 to -0.100)")
    # 8 x 256 tokens in one second and in two, a run in four and in sixteen
    assert rows["training, float32, tokens/s"] == ("2,048", "1,024", "x 0.50")
    assert rows["run over plain forward pass, time"] == ("4.00", "8.00", "x 2.00")
    assert rows["training, bfloat16, MiB beyond the model"] == ("1", "3", "x 3.00")


def test_a_record_survives_its_file():
    result = pair()
    assert PairResult.from_json(result.to_json()).models == result.models
    assert PairResult.from_json(result.to_json()).timings == result.timings
    with pytest.raises(BadInput, match="pair cost"):
        PairResult.from_json(json.dumps({"schema": "other"}))


def test_a_gpu_is_waited_for_before_its_clock_is_read(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    clock = timing.clock_of("cuda:1")
    assert clock() <= clock()
    assert waited == ["cuda:1", "cuda:1"]
    assert timing.clock_of("cpu") is time.process_time


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_does_not_exist_is_refused_before_measuring():
    with pytest.raises(DeviceError, match="expected a CUDA device"):
        measure_pair(PairOptions.quick(device="cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_pair_on_a_gpu():
    result = measure_pair(PairOptions.quick(device="cuda"))
    assert all(t.least > 0 and t.peak > 0 for t in result.timings)


def test_a_process_that_dies_says_why():
    with pytest.raises(EnvironmentFault, match="memory of nobody"):
        allocated_peaks("nobody", Work(1, 8, "cpu", 0))
