"""Models in hand: left as they were, read as they compute."""

import copy

import pytest
import tiny_models
import torch
from tiny_models import FAMILIES, random_prompts
from tiny_tokenizer import tokenizer
from transformer_lens.model_bridge import TransformerBridge

import rgprobe as rg
from rgprobe.errors import NumericalRefusal, OptionError, PromptError
from rgprobe.probe.attention import AttentionCollector, attention_moments

IDS = random_prompts(1, 40)[0]


def hooks_left(bridge):
    return [name for name, point in bridge.hook_dict.items() if point.fwd_hooks or point.bwd_hooks]


def bare(bridge):
    return bridge.original_model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_passed_in_is_not_changed(family):
    model = FAMILIES[family]().train()
    next(model.parameters()).requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = [p.requires_grad for p in model.parameters()]
    modules = [type(module) for module in model.modules()]
    implementation, config = model.config._attn_implementation, copy.deepcopy(model.config.to_dict())
    rg.run(model, [IDS, IDS[:20]], nulls=1, shuffles=0, positions=4, diagnostics="temperature,elimination")
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert [type(module) for module in model.modules()] == modules
    assert model.training
    assert model.config._attn_implementation == implementation
    assert model.config.to_dict() == config


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_readout_and_causality_are_the_models_own(family):
    model = FAMILIES[family]()
    probe = rg.load(model)
    with torch.no_grad():
        expected = model(IDS[None], output_hidden_states=True)
    torch.testing.assert_close(probe.logits(IDS), expected.logits[0], atol=2e-5, rtol=1e-5)
    states = []
    probe.stream(IDS, [(probe.state_hook(probe.n_blocks), lambda tensor, hook: states.append(tensor[0]))])
    torch.testing.assert_close(probe.readout(states[0]), expected.logits[0], atol=2e-5, rtol=1e-5)
    assert probe.causal == (family != "bert")
    assert (probe.n_blocks, probe.n_heads, probe.width) == (tiny_models.LAYERS, tiny_models.HEADS, tiny_models.WIDTH)
    assert probe.n_parameters == rg.load(probe.bridge).n_parameters == sum(p.numel() for p in model.parameters())
    assert (probe.context, probe.vocabulary) == (tiny_models.CONTEXT, tiny_models.VOCABULARY)


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_statistics_from_hooks_are_those_of_the_models_own_weights(family):
    model = FAMILIES[family]()
    probe = rg.load(model)
    collector = AttentionCollector(probe, torch.arange(40), sink="include")
    rows = []
    collector.moment_listeners.append(lambda excluded, included: rows.append((excluded, included)))
    probe.stream(IDS, collector.hooks())
    model.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = model(IDS[None], output_attentions=True).attentions
    assert len(rows) == len(attentions) == tiny_models.LAYERS
    for block, pattern in enumerate(attentions):
        alpha = pattern[0].double()
        logs = alpha.log().masked_fill(alpha == 0, torch.finfo(torch.float64).min)
        for found, expected in zip(
            rows[block],
            attention_moments(logs, causal=probe.causal),
            strict=True,
        ):
            for name in ("keys", "gibbs_variance", "uniform_variance", "purity", "distance", "log_distance"):
                torch.testing.assert_close(
                    getattr(found, name), getattr(expected, name), rtol=2e-4, atol=2e-5, equal_nan=True, msg=name
                )
            # scores are known up to a constant per row: only the entropy is observable
            torch.testing.assert_close(
                found.log_partition - found.gibbs_mean,
                expected.log_partition - expected.gibbs_mean,
                rtol=2e-4, atol=2e-5, equal_nan=True,
            )  # fmt: skip
        torch.testing.assert_close(collector.graph[block].double(), alpha.mean(0), rtol=1e-4, atol=1e-6)


def test_what_the_score_hook_carries_is_found_out():
    gives = {family: rg.load(FAMILIES[family]()).hook_gives_scores for family in FAMILIES}
    assert all(gives[family] for family in ("gpt2", "llama", "neox", "gemma2"))


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_half_precision_models_give_finite_double_statistics(family):
    probe = rg.load(FAMILIES[family]().to(torch.bfloat16))
    exact = rg.load(FAMILIES[family]().to(torch.bfloat16).float())
    low, high = (rg.trace(p, [IDS], positions=8) for p in (probe, exact))
    for name in ("heat_capacity", "participation", "entropy"):
        assert low.attention[name].dtype == "float64"
        assert low.attention[name].notnull().all()
    assert low.lens.to_array().dtype == "float64"
    one, other = (1 / each.attention["participation_by_token"] for each in (low, high))
    assert float(abs(one - other).mean()) < 0.02
    with probe.randomised(0) as null:
        assert rg.trace(null, [IDS], positions=8).lens["entropy"].notnull().all()


def test_a_bridge_in_hand_stays_usable_with_its_own_hooks_and_no_others():
    bridge = rg.load(tiny_models.llama()).bridge
    seen = []
    bridge.blocks[0].hook_resid_post.add_hook(lambda tensor, hook: seen.append(tensor.shape))
    before = bridge(IDS[None], return_type="logits").detach().clone()
    held = hooks_left(bridge)
    rg.run(bridge, [IDS, IDS[:10]], nulls=1, positions=4, diagnostics="temperature,elimination")
    assert hooks_left(bridge) == held
    seen.clear()
    assert torch.equal(bridge(IDS[None], return_type="logits"), before)
    assert len(seen) == 1


def test_a_bridge_in_training_mode_is_measured_without_dropout_and_left_training():
    model = tiny_models.gpt2(resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    bridge = rg.load(model).bridge
    expected = rg.load(bridge).logits(IDS).clone()
    bare(bridge).train()
    bridge.train()
    modes = {name: module.training for name, module in bridge.named_modules()}
    probe = rg.load(bridge)
    assert torch.equal(probe.logits(IDS), expected)
    first, second = (rg.trace(probe, [IDS], positions=4).states for _ in range(2))
    assert first.equals(second)
    assert {name: module.training for name, module in bridge.named_modules()} == modes


def test_models_of_transformer_lens_itself_are_measured():
    size = {"n_layers": 2, "d_model": 24, "n_ctx": 64, "d_head": 6, "n_heads": 4, "d_mlp": 48, "d_vocab": 61}
    bridge = TransformerBridge.boot_native({**size, "act_fn": "gelu", "normalization_type": "LN", "seed": 1})
    flow = rg.run(bridge, [IDS, IDS[:20]], nulls=2, positions=8, diagnostics="elimination")
    elimination = flow.to_xarray()["elimination"].to_dataset()
    assert float(elimination["value"].sel(quantity="kl_to_output")[-1]) == 0.0
    spread = elimination["null_high"].sel(quantity="entropy", null_model="random_init")
    assert float((spread - elimination["null"].sel(quantity="entropy", null_model="random_init")).min()) > 0


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_left_padded_batch_with_its_mask_equals_its_unpadded_rows(family):
    probe = rg.load(FAMILIES[family](), tokenizer=tokenizer())
    rows = random_prompts(3, 20)
    rows[1], rows[2] = rows[1][:13], rows[2][:1]
    pad = probe.tokenizer.pad_token_id
    batch = torch.full((3, 20), pad)
    for line, row in zip(batch, rows, strict=True):
        line[20 - len(row) :] = row
    mask = (batch != pad).long()
    alone = rg.trace(probe, rows, positions=5)
    padded = rg.trace(probe, {"input_ids": batch, "attention_mask": mask}, positions=5)
    for name in alone.lens:
        torch.testing.assert_close(
            torch.from_numpy(padded.lens[name].values), torch.from_numpy(alone.lens[name].values),
            atol=1e-5, rtol=0, equal_nan=True,
        )  # fmt: skip
    assert padded.token_mask.sum(1).tolist() == [20, 13, 1]
    with pytest.raises(PromptError, match="attention_mask"):
        rg.trace(probe, batch)


def direct_loss(model, ids):
    with torch.no_grad():
        log_p = model(ids[None]).logits[0].double().log_softmax(-1)
    return -log_p[:-1].gather(-1, ids[1:, None]).sum().item()


def test_loss_per_token_and_per_character_is_the_direct_one():
    model = tiny_models.gpt2(vocab_size=300)
    probe = rg.load(model, tokenizer=tokenizer())
    text = "To be, or not to be: é!"
    ids = torch.tensor(tokenizer()(text)["input_ids"])
    total = direct_loss(model, ids)
    assert probe.loss(text) == pytest.approx(total / (len(ids) - 1), rel=1e-6)
    characters = len(tokenizer().decode(ids[1:].tolist()))
    assert probe.loss(text, per="character") == pytest.approx(total / characters, rel=1e-6)
    assert characters < len(ids)  # the accent takes two bytes
    assert probe.loss(ids.tolist()) == pytest.approx(probe.loss(text), rel=1e-12)


@pytest.mark.parametrize(("length", "context"), [(5, 8), (8, 8), (9, 8), (12, 8), (13, 8), (40, 8), (31, 7)])
def test_a_long_text_is_scored_once_in_windows_that_overlap_by_half(length, context):
    model = tiny_models.gpt2(n_positions=context)
    ids = random_prompts(1, length, seed=3)[0]
    total, half = 0.0, context // 2
    with torch.no_grad():
        for target in range(1, length):
            # the first window that reaches the target, windows starting at multiples of half a context
            start = half * max(0, -(-(target - context + 1) // half))
            log_p = model(ids[None, start:target]).logits[0, -1].double().log_softmax(-1)
            total -= log_p[ids[target]].item()
    assert rg.load(model).loss(ids.tolist()) == pytest.approx(total / (length - 1), rel=1e-6)


def test_loss_is_refused_where_it_has_no_meaning():
    with pytest.raises(OptionError, match="bidirectional"):
        rg.load(tiny_models.bert()).loss([4, 5, 6])
    probe = rg.load(tiny_models.gpt2())
    for per in ("word", "character"):  # no tokenizer: no characters
        with pytest.raises(OptionError, match="per"):
            probe.loss([4, 5, 6], per=per)
    assert probe.loss([4]) != probe.loss([4])  # NaN: nothing is predicted


def test_a_head_of_unknown_form_is_refused_only_when_it_is_needed():
    probe = rg.load(tiny_models.gpt2())
    probe.__dict__["_readout"] = None
    with pytest.raises(NumericalRefusal, match="readout"):
        probe.readout(torch.zeros(1, tiny_models.WIDTH))
    flow = rg.run(probe, [IDS], nulls=0, diagnostics="temperature,collapse")
    assert flow.diagnostics == ("temperature", "collapse")
