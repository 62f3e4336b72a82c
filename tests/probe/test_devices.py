"""What is left on the device while a prompt streams through, and that CUDA gives the numbers of the CPU where there is one."""

import numpy as np
import pytest
import tiny_models
import torch
from gauge_models import tiny_gauge
from tiny_models import random_prompts
from torch.utils._python_dispatch import TorchDispatchMode

import rgprobe as rg
from rgprobe.probe.attention import WAYS, AttentionCollector
from rgprobe.probe.couplings import CouplingCollector
from rgprobe.probe.lens import reduce_lens
from rgprobe.probe.model import Probe
from rgprobe.probe.scores import CoupledScores
from rgprobe.probe.sketches import SketchCollector
from rgprobe.probe.states import StateCollector
from rgprobe.probe.tile_moments import Room
from rgprobe.probe.units import UnitCollector

PROMPTS = random_prompts(3, 31)
READS = {
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::is_nonzero",
    "aten::equal",
    "aten::unique_dim",
    "aten::_unique2",
}
MODELS = {"standard": lambda layers: tiny_models.llama(num_hidden_layers=layers),
          "gauge": lambda layers: tiny_gauge(n_layers=layers).float()}  # fmt: skip


class Reads(TorchDispatchMode):
    """Counts the operations for which a host waits until its device has a number."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function._schema.name in READS
        return function(*args, **(kwargs or {}))


def collectors(probe, positions, way=WAYS[0]):
    attention = AttentionCollector(probe, positions, sink="exclude", way=way)
    others = [
        StateCollector(probe, positions),
        SketchCollector(probe, sink="exclude"),
        UnitCollector(probe),
        CouplingCollector(probe),
    ]
    return attention, [hook for each in (attention, *others) for hook in each.hooks()]


@pytest.mark.parametrize("family", MODELS)
def test_no_block_makes_the_host_wait(family):
    """As many reads of a device's numbers for six blocks as for two: those of the pass itself, none per block."""
    counts = []
    for layers in (2, 6):
        probe = rg.load(MODELS[family](layers))
        attention, hooks = collectors(probe, torch.arange(0, 31, 5))
        with Reads() as reads:
            attention.stream(PROMPTS[0], hooks)
        assert len(attention.statistics) == layers
        counts.append(reads.count)
    assert counts[0] == counts[1]


@pytest.mark.parametrize("family", MODELS)
def test_tiles_are_planned_without_asking_the_device(family, monkeypatch):
    """Scores handed over as if on a device that has no numbers: any question about them raises."""
    seen = []

    def meet(collector, meeting):
        here = meeting.scores
        away = {
            name: None if (value := getattr(here, name)) is None else value.to("meta")
            for name in ("queries", "keys", "level")
        }
        there = CoupledScores(visible=here.visible, scale=here.scale, cap=here.cap, **away)
        seen.append(
            {*(each.purity.device.type for each in there.moments(causal=True)), there.rows(torch.arange(3)).device.type}
        )

    monkeypatch.setattr(AttentionCollector, "_meet", meet)
    probe = rg.load(MODELS[family](2))
    attention, hooks = collectors(probe, torch.arange(0, 31, 5), WAYS[1])
    attention.stream(PROMPTS[0], hooks)
    assert seen == [{"meta"}, {"meta"}]


def test_tiles_are_made_where_the_scores_of_the_block_are():
    """A model may be spread over devices, and its blocks share the room."""
    room = Room()
    places = ["cpu", "meta", "cpu"]
    for device in places:
        made = room.tiles((2, 3, 5), torch.zeros((), dtype=torch.float64, device=device))
        assert {(tile.device.type, tile.dtype, tuple(tile.shape)) for tile in made} == {
            (device, torch.float64, (2, 3, 5))
        }
    assert room.tiles((1, 1), torch.zeros(()))[0].dtype == torch.float32


class Elsewhere(Probe):
    """A readout on a device of which nothing can be asked."""

    def __init__(self, device, vocabulary):
        self.weights = torch.empty(8, vocabulary, device=device)

    def readout(self, states):
        return states.to(self.weights.device) @ self.weights


@pytest.mark.parametrize("vocabulary", [13, 40])
def test_the_lens_asks_its_device_nothing_until_all_states_are_read(vocabulary):
    states, answers = torch.empty(5, 4, 8, device="meta"), torch.zeros(4, 1, dtype=torch.long)
    with pytest.raises(
        NotImplementedError, match="meta"
    ):  # the result itself is brought to the host, and nothing before it
        reduce_lens(Elsewhere("meta", vocabulary), states, answers, basis=16)
    raised = []
    before = torch.Tensor.cpu
    try:
        torch.Tensor.cpu = lambda tensor: (
            raised.append(tuple(tensor.shape)) or torch.zeros(tensor.shape, dtype=tensor.dtype)
        )
        reduce_lens(Elsewhere("meta", vocabulary), states, answers, basis=16)
    finally:
        torch.Tensor.cpu = before
    assert [shape[0] for shape in raised] == [8, 5, 5]


def test_the_way_without_questions_gives_the_numbers_of_the_other(monkeypatch):
    """Termwise divergences and underflowed rests: on a CPU where they are needed, elsewhere always."""
    probe = rg.load(tiny_models.llama(vocab_size=300))
    states = torch.randn(5, 6, tiny_models.WIDTH)
    states[3] = states[2] + 1e-6 * torch.randn(6, tiny_models.WIDTH)
    answers = torch.zeros(6, 1, dtype=torch.long)
    for basis in (16, 300):
        asked = reduce_lens(probe, states, answers, basis=basis)
        with monkeypatch.context() as patch:
            patch.setattr("rgprobe.probe.lens._waits", lambda tensor: True)
            unasked = reduce_lens(probe, states, answers, basis=basis)
        torch.testing.assert_close(unasked.quantities, asked.quantities, rtol=1e-12, atol=1e-12, equal_nan=True)
        torch.testing.assert_close(unasked.log_probabilities, asked.log_probabilities, rtol=1e-9, atol=1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("source", ["standard-small", "gauge-small"])
def test_default_diagnostics_are_the_same_on_cuda(source):
    flows = {}
    for device in ("cpu", "cuda"):
        probe = rg.load(source, device=device)
        assert probe.device.type == device
        prompts = random_prompts(3, 61, vocabulary=probe.vocabulary)
        flows[device] = rg.run(probe, prompts, nulls=0, positions=12)
    for name in flows["cpu"].diagnostics:
        one, other = (flows[device].to_xarray()[name]["per_prompt"] for device in ("cpu", "cuda"))
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("family", MODELS)
def test_both_ways_of_attention_are_the_same_on_cuda(family):
    model = MODELS[family](3)
    kept = {}
    for device in ("cpu", "cuda"):
        probe = rg.load(model.to(device))
        for way in WAYS:
            attention, hooks = collectors(probe, torch.arange(0, 31, 5), way)
            attention.stream(PROMPTS[0], hooks)
            kept[device, way] = torch.stack([block.means.cpu() for block in attention.statistics])
    for other in kept.values():
        torch.testing.assert_close(other, kept["cpu", WAYS[0]], rtol=1e-4, atol=1e-4, equal_nan=True)
