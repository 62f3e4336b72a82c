"""Attention statistics from queries and keys, tile by tile: those of scores that are there as a whole."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from gauge_models import tiny_gauge
from tiny_models import FAMILIES, random_prompts
from transformer_lens.model_bridge import TransformerBridge

import rgprobe as rg
from rgprobe.errors import NumericalRefusal
from rgprobe.probe import attention, fused_pass, scores
from rgprobe.probe.attention import LARGEST_WHOLE, WAYS, AttentionCollector, way_of
from rgprobe.probe.fused_pass import stream_fused
from rgprobe.probe.prompt_trace import COLLECTIONS
from rgprobe.probe.reductions import REDUCTIONS
from rgprobe.probe.scores import CoupledScores, Visible, WholeScores

IDS = random_prompts(1, 61)[0]
RULES = {
    "causal": lambda row, key: key <= row,
    "window": lambda row, key: (key <= row) & (key > row - 7),
    "both ways": lambda row, key: (key >= 0) & (row >= 0),
    "strictly earlier": lambda row, key: (key < row) | ((row == 0) & (key == 0)),
    "chunks": lambda row, key: (key <= row) & (key // 9 == row // 9),
}


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(scores, "TILE", {"cpu": (7, 4 * 7 * 11), "cuda": (7, 4 * 7 * 11)})
    monkeypatch.setattr(scores, "ROWS_PER_BLOCK", 13)


@pytest.fixture
def always_tiled(monkeypatch, small_tiles):
    monkeypatch.setattr(attention, "LARGEST_WHOLE", 0)


def drawn(size, *, cap=None, level=False, key_heads=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(size)
    queries, keys = (torch.randn(heads, size, 5, generator=generator, dtype=dtype) for heads in (4, key_heads))
    own = torch.randn(4, size, 1, generator=generator, dtype=dtype) if level else None
    return {"queries": 3 * queries, "keys": keys, "scale": 0.4, "cap": cap, "level": own}


def spelled_out(rule, *, queries, keys, scale, cap, level):
    """(4, N, N), hidden keys at the lowest number."""
    product = scale * queries @ keys.repeat_interleave(4 // len(keys), 0).mT
    product = product if cap is None else cap * torch.tanh(product / cap)
    product = product if level is None else product - level
    place = torch.arange(product.shape[-1])
    seen = rule(place[:, None], place[None])
    return product.masked_fill(~seen, torch.finfo(product.dtype).min), seen


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("size", "options"), [(1, {}), (2, {}), (31, {"cap": 1.5}), (61, {"level": True, "key_heads": 4})]
)
def test_tiles_give_the_moments_rows_and_averages_of_whole_scores(small_tiles, rule, size, options):
    parts = drawn(size, **options)
    whole, seen = spelled_out(RULES[rule], **parts)
    coupled = CoupledScores(visible=Visible(RULES[rule], size), **parts)
    for found, expected in zip(coupled.moments(causal=True), WholeScores(whole).moments(causal=False), strict=True):
        for name, value in found.as_dict().items():
            torch.testing.assert_close(value, getattr(expected, name), rtol=1e-10, atol=1e-10, equal_nan=True, msg=name)
    index = torch.arange(size)[:: max(size // 5, 1)]
    torch.testing.assert_close(coupled.rows(index), WholeScores(whole).rows(index), rtol=1e-12, atol=1e-12)
    values = torch.randn(len(parts["keys"]), size, 3, dtype=torch.float64)
    expected = whole.masked_fill(~seen, -torch.inf).softmax(-1) @ values.repeat_interleave(4 // len(values), 0)
    torch.testing.assert_close(coupled.averages(values), expected, rtol=1e-10, atol=1e-10)


def test_a_rule_is_recognised_by_what_it_allows():
    kinds = {name: Visible(rule, 40).kind for name, rule in RULES.items()}
    assert kinds == {
        "causal": "causal",
        "window": "other",
        "both ways": "full",
        "strictly earlier": "other",
        "chunks": "other",
    }


def moments_of(probe, ids, way):
    collector = AttentionCollector(probe, torch.arange(len(ids))[::9], sink="exclude", way=way)
    states, rows = [], []
    collector.moment_listeners.append(lambda *both: rows.append(both))
    hooks = [
        (probe.state_hook(state), lambda tensor, hook: states.append(tensor[0].clone()))
        for state in range(probe.n_blocks + 1)
    ]
    collector.stream(ids, [*hooks, *collector.hooks()])
    return rows, collector.graph, states


GAUGES = {
    "diagonal": {},
    "full": {"covariance": "full"},
    "dot": {"attention": "dot"},
    "uniform": {"attention": "uniform"},
    "blind": {"include_self": False},
    "vfe": {"update": "vfe"},
}


@pytest.mark.parametrize("name", [*FAMILIES, *GAUGES])
def test_both_ways_agree_on_every_model(small_tiles, name):
    model = FAMILIES[name]() if name in FAMILIES else tiny_gauge(**GAUGES[name])
    probe = rg.load(model)
    ids = IDS if name in FAMILIES else IDS[:31]
    (whole, graph, states), (coupled, drawn_again, again) = (moments_of(probe, ids, way) for way in WAYS)
    double = name in GAUGES
    for one, other in zip(states, again, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9 if double else 1e-4, atol=1e-9 if double else 1e-5)
    bound = {"rtol": 1e-6, "atol": 1e-6} if double else {"rtol": 2e-4, "atol": 2e-5}
    for blocks in zip(whole, coupled, strict=True):
        for one, other in zip(*blocks, strict=True):
            for field in ("keys", "gibbs_variance", "uniform_variance", "purity", "distance", "log_distance"):
                torch.testing.assert_close(
                    getattr(other, field), getattr(one, field), equal_nan=True, msg=field, **bound
                )
            if probe.hook_gives_scores:
                torch.testing.assert_close(other.log_partition, one.log_partition, equal_nan=True, **bound)
    for one, other in zip(graph, drawn_again, strict=True):
        torch.testing.assert_close(other.double(), one.double(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
def test_the_same_pass_spelled_out_agrees_to_a_millionth(small_tiles, name):
    """Queries and keys of the pass itself, in float64, against all of their products at once."""
    probe = rg.load(FAMILIES[name]().double())
    seen = []
    stream_fused(probe, IDS, [], seen.append)
    assert [meeting.block for meeting in seen] == list(range(probe.n_blocks))
    for meeting in seen:
        kept = meeting.scores
        whole, _ = spelled_out(
            kept.visible.rule, queries=kept.queries, keys=kept.keys, scale=kept.scale, cap=kept.cap, level=kept.level
        )
        for found, expected in zip(kept.moments(causal=True), WholeScores(whole).moments(causal=False), strict=True):
            for field, value in found.as_dict().items():
                torch.testing.assert_close(value, getattr(expected, field), rtol=1e-6, atol=1e-6, equal_nan=True)


def test_half_precision_queries_give_statistics_of_single_precision(small_tiles):
    parts = drawn(40, dtype=torch.bfloat16)
    wide = {name: value.float() if isinstance(value, torch.Tensor) else value for name, value in parts.items()}
    visible = Visible(RULES["causal"], 40)
    low, high = (CoupledScores(visible=visible, **each).moments(causal=True)[1] for each in (parts, wide))
    torch.testing.assert_close(low.gibbs_variance, high.gibbs_variance, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "belief"), [("llama", "lens"), ("gemma2", "lens"), ("gpt2", "thermal"), ("gauge", "thermal")]
)
def test_traces_of_both_ways_agree_in_everything_they_hold(monkeypatch, name, belief):
    model = tiny_gauge().float() if name == "gauge" else FAMILIES[name]()
    probe, prompt = rg.load(model), [IDS[:31]]
    collect = [*COLLECTIONS, *REDUCTIONS]
    whole = rg.trace(probe, prompt, belief=belief, positions=8, collect=collect)
    monkeypatch.setattr(attention, "LARGEST_WHOLE", 0)
    tiled = rg.trace(probe, prompt, belief=belief, positions=8, collect=collect)
    assert (whole.provenance["attention_from"], tiled.provenance["attention_from"]) == ([WAYS[0]], [WAYS[1]])
    same = {"rtol": 2e-3, "atol": 2e-4, "equal_nan": True}
    for one, other in ((whole.states, tiled.states), (whole.graph, tiled.graph), (whole.sketches, tiled.sketches)):
        np.testing.assert_allclose(other, one, **same)
    for reduction, found in whole.reductions.items():
        for variable, values in found.items():
            if values.dtype.kind == "f":
                again = tiled.reductions[reduction][variable]
                np.testing.assert_allclose(again, values, err_msg=f"{reduction} {variable}", **same)
            elif name != "gemma2":  # there queries and keys meet where the whole way cannot see them
                assert values.equals(tiled.reductions[reduction][variable])
    for one, other in zip(whole.gaussians, tiled.gaussians, strict=True):
        for before, after in zip(one, other, strict=True):
            torch.testing.assert_close(after.covariance, before.covariance, rtol=2e-3, atol=2e-4)


def test_a_model_in_hand_is_as_before(always_tiled):
    model = tiny_models.gemma2()
    bridge = rg.load(model).bridge
    config = bridge.original_model.config
    before = (config._attn_implementation, config.use_cache, bridge(IDS[None], return_type="logits").clone())
    rg.trace(bridge, [IDS], positions=4)
    assert (config._attn_implementation, config.use_cache) == before[:2]
    assert all("forward" not in vars(block.attn) for block in bridge.blocks)
    assert torch.equal(bridge(IDS[None], return_type="logits"), before[2])
    gauge = tiny_gauge()
    rg.trace(gauge, [IDS[:31]], positions=4)
    assert all("average" not in vars(block.attn) for block in gauge.blocks)


def test_null_models_and_thermal_beliefs_take_the_same_way(always_tiled):
    flow = rg.run(
        tiny_models.llama(), [IDS, IDS[:30]], nulls=1, positions=6, belief="thermal", diagnostics="temperature"
    )
    assert flow.to_xarray()["temperature"]["null"].notnull().any()
    assert flow.provenance["attention_from"] == [WAYS[1]] * 2


def test_what_cannot_be_taken_over_is_measured_whole_or_refused(monkeypatch):
    size = {"n_layers": 2, "d_model": 24, "n_ctx": 64, "d_head": 6, "n_heads": 4, "d_mlp": 48, "d_vocab": 61}
    probe = rg.load(TransformerBridge.boot_native({**size, "act_fn": "gelu", "normalization_type": "LN", "seed": 1}))
    monkeypatch.setattr(attention, "LARGEST_WHOLE", 0)
    with pytest.raises(NumericalRefusal, match="not that of transformers"):
        stream_fused(probe, IDS, [])
    assert way_of(probe, 40) == WAYS[0]
    with pytest.raises(NumericalRefusal, match="shorter prompts"):
        way_of(probe, 20_000)
    with pytest.raises(NumericalRefusal, match="hook_pattern"):
        stream_fused(probe, IDS, [("blocks.0.attn.hook_pattern", lambda tensor, hook: None)])


def test_queries_and_keys_that_do_not_give_the_hooked_scores_are_not_used(monkeypatch):
    probe = rg.load(tiny_models.llama())
    monkeypatch.setattr(attention, "LARGEST_WHOLE", 0)
    twice = lambda *args, **parts: CoupledScores(*args, **{**parts, "scale": 2 * parts["scale"]})  # noqa: E731
    monkeypatch.setattr(fused_pass, "CoupledScores", twice)
    assert way_of(probe, 40) == WAYS[0]


def test_short_prompts_stay_with_their_hooks():
    probe = rg.load(tiny_models.llama())
    longest = math.isqrt(LARGEST_WHOLE // (4 * tiny_models.HEADS))
    assert way_of(probe, longest) == WAYS[0]
    assert way_of(probe, longest + 1) == WAYS[1]


MEASURED = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import transformers
import rgprobe as rg
from rgprobe.models import GaugeConfig, GaugeTransformer
if sys.argv[1] == "gauge":
    model = GaugeTransformer(GaugeConfig(n_layers=1, n_heads=8, d_model=64, d_vocab=61, n_ctx=3000, d_mlp=64, d_code=8))
else:
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        num_hidden_layers=1, num_attention_heads=8, num_key_value_heads=4, hidden_size=64, intermediate_size=64,
        vocab_size=61, max_position_embeddings=3000))
def peak():
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[1]) * 1024
probe = rg.load(model)
ids = torch.randint(61, (3000,), generator=torch.Generator().manual_seed(0))
rg.run(probe, [ids[:500]], nulls=0)
before = peak()
flow = rg.run(probe, [ids], nulls=0)
print(json.dumps({"added": peak() - before, "way": flow.provenance["attention_from"]}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("family", ["standard", "gauge"])
def test_a_long_prompt_takes_less_memory_than_one_matrix_of_its_scores(family):
    """Scores as a whole would take 288 MB, several times over."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, family],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(rg.__file__).parents[1],
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["way"] == [WAYS[1]]
    assert found["added"] < 4 * 8 * 3000**2 / 2
