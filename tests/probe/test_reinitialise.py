"""The random-initialisation null: the architecture's own draw, nothing of the model left, the model back bit for bit."""

import pytest
import tiny_models
import torch
from tiny_models import FAMILIES, random_prompts

import rgprobe as rg

IDS = random_prompts(1, 20)[0]


def digest(probe):
    return {name: tensor.clone() for name, tensor in probe.bridge.original_model.state_dict().items()}


def assert_same_bits(before, after):
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("family", FAMILIES)
def test_draws_are_deterministic_distinct_and_undone(family):
    probe = rg.load(FAMILIES[family]())
    before, own = digest(probe), probe.logits(IDS).clone()
    drawn = []
    for seed in (0, 1, 0):
        with probe.randomised(seed) as null:
            drawn.append(null.logits(IDS).clone())
            assert null.n_parameters == probe.n_parameters
        assert_same_bits(before, digest(probe))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.allclose(drawn[0], drawn[1], atol=1e-3)
    assert not torch.allclose(drawn[0], own, atol=1e-3)
    assert torch.equal(probe.logits(IDS), own)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_has_the_statistics_of_a_fresh_model(family):
    changes = {"gpt2": {"n_embd": 64, "vocab_size": 301}}.get(family, {"hidden_size": 64, "intermediate_size": 128})
    if family != "gpt2":
        changes["vocab_size"] = 301
    model = FAMILIES[family](**changes)
    probe = rg.load(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        fresh = type(model)(model.config).state_dict()
    with probe.randomised(3) as null:
        # bridges rename and sometimes split what they wrap: compare what both still call by the same name
        made = {
            name.replace("._original_component", ""): tensor.clone()
            for name, tensor in null.bridge.original_model.state_dict().items()
        }
    shared = sorted(fresh.keys() & made.keys())
    assert len(shared) >= 0.6 * len(fresh)
    for name in shared:
        expected, got = fresh[name].float(), made[name].float()
        if float(expected.std()) == 0:
            assert torch.equal(got, expected), name  # norms are one, biases zero
        else:
            samples = min(expected.numel(), 4000)
            tolerance = 0.05 if expected.numel() >= 4000 else 4 / samples**0.5
            assert abs(float(got.std() / expected.std()) - 1) < tolerance, name


def test_residual_branches_of_gpt2_are_scaled_down_with_depth():
    """A draw that forgets it differs from a freshly made model at every layer, and every model "beats" such a null."""
    probe = rg.load(tiny_models.gpt2(n_embd=64))
    with probe.randomised(0) as null:
        block = null.bridge.original_model.transformer.h[1]
        weights = {name: p for name, p in block.named_parameters() if p.ndim == 2}
        out = next(p for name, p in weights.items() if "mlp" in name and "c_proj" in name)
        into = next(p for name, p in weights.items() if "mlp" in name and "c_fc" in name)
        ratio = (out.std() / into.std()).item()
    assert ratio == pytest.approx((2 * tiny_models.LAYERS) ** -0.5, rel=0.05)


def test_a_failure_inside_the_block_leaves_the_model_as_it_was():
    probe = rg.load(tiny_models.llama())
    before = digest(probe)
    with pytest.raises(ZeroDivisionError), probe.randomised(0):
        _ = 1 / 0
    assert_same_bits(before, digest(probe))


def test_blocks_may_be_nested():
    probe = rg.load(tiny_models.gpt2())
    before = digest(probe)
    with probe.randomised(0) as outer:
        first = outer.logits(IDS).clone()
        with outer.randomised(1) as inner:
            assert not torch.allclose(inner.logits(IDS), first, atol=1e-3)
        with pytest.raises(ZeroDivisionError), outer.randomised(1):
            _ = 1 / 0
        assert torch.equal(outer.logits(IDS), first)
    assert_same_bits(before, digest(probe))


def test_global_random_state_is_untouched():
    probe = rg.load(tiny_models.gpt2())
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with probe.randomised(0):
        assert torch.equal(torch.rand(3), expected)


def test_tied_embeddings_stay_tied():
    model = tiny_models.llama(tie_word_embeddings=True)
    probe = rg.load(model)
    before, ids = digest(probe), IDS
    with probe.randomised(0) as null:
        embedding = null.bridge.original_model.get_input_embeddings().weight
        head = null.bridge.original_model.get_output_embeddings().weight
        assert torch.equal(embedding, head)
        assert null.logits(ids).isfinite().all()
    assert_same_bits(before, digest(probe))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_directory_is_restored_from_its_files(tmp_path, dtype):
    tiny_models.gpt2().save_pretrained(tmp_path)
    probe = rg.load(tmp_path, dtype=dtype, device="cpu")
    before = digest(probe)
    with probe.randomised(0) as null:
        assert null.bridge is probe.bridge  # no second copy of the weights
    assert_same_bits(before, digest(probe))


def test_a_model_passed_in_as_a_bridge_is_never_written_to():
    bridge = rg.load(tiny_models.gpt2()).bridge
    probe = rg.load(bridge)
    before = digest(probe)
    with probe.randomised(0) as null:
        assert null.bridge is not bridge
        assert_same_bits(before, digest(probe))


def test_a_weight_that_the_initialiser_passes_over_makes_a_fresh_model_instead(monkeypatch):
    model = tiny_models.llama()
    probe = rg.load(model)
    before = digest(probe)
    base = next(kind for kind in type(model).__mro__ if kind.__name__ == "LlamaPreTrainedModel")
    original = base._init_weights

    def without_norms(self, module):
        if "RMSNorm" not in type(module).__name__:
            original(self, module)

    monkeypatch.setattr(base, "_init_weights", without_norms)
    with probe.randomised(0) as null:
        assert null.bridge is not probe.bridge
        assert null.logits(IDS).isfinite().all()
    assert_same_bits(before, digest(probe))


def test_models_of_transformer_lens_itself_are_drawn_by_their_own_initialiser():
    from transformer_lens.model_bridge import TransformerBridge

    size = {"n_layers": 2, "d_model": 24, "n_ctx": 32, "d_head": 6, "n_heads": 4, "d_mlp": 48, "d_vocab": 61}
    probe = rg.load(TransformerBridge.boot_native({**size, "act_fn": "gelu", "normalization_type": "LN", "seed": 1}))
    before = digest(probe)
    with probe.randomised(0) as one, probe.randomised(0) as same, probe.randomised(1) as other:
        assert torch.equal(one.logits(IDS), same.logits(IDS))
        assert not torch.allclose(one.logits(IDS), other.logits(IDS))
        assert not torch.allclose(one.logits(IDS), probe.logits(IDS))
    assert_same_bits(before, digest(probe))
