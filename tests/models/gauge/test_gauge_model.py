"""The gauge transformer against the textbook form of its attention, its hooks, and every switch."""

from itertools import pairwise

import pytest
import torch
from transformer_lens import ActivationCache
from transformer_lens.model_protocol import TransformerLensModel

from rgprobe.errors import OptionError, PromptError
from rgprobe.gaussian import Gaussian, pairwise_kl, pushforward
from rgprobe.models import GaugeConfig, GaugeTransformer, kl_attention
from rgprobe.models.standard import build_standard

SIZES = {"n_layers": 2, "n_heads": 2, "d_model": 12, "d_vocab": 23, "n_ctx": 19, "d_mlp": 20, "d_code": 5}
SWITCHES = [
    {},
    {"attention": "uniform"},
    {"attention": "dot"},
    {"attention": "dot", "frames": "rotary", "log_prior": False, "include_self": True},
    {"include_self": True},
    {"successor_values": False},
    {"include_self": True, "update": "vfe"},
    {"log_prior": False},
    {"global_frame": False},
    {"frames": "rotary"},
    {"frames": "none"},
    {"frames": "none", "attention": "uniform"},
    {"covariance": "isotropic"},
    {"covariance": "full"},
    {"state_dependent_precision": False},
    {"values": "means"},
    {"values": "means", "attention": "uniform"},
    {"update": "vfe"},
    {"update": "vfe", "covariance": "isotropic", "log_prior": False},
    {"decode": "kl"},
    {"decode": "kl", "attention": "uniform", "frames": "none"},
]


def name_of(switches):
    return ",".join(f"{key}={value}" for key, value in switches.items()) or "default"


def gauge(seed=0, **switches):
    """Float64, with weights large enough that attention is far from uniform."""
    config = GaugeConfig(**{**SIZES, "initializer_range": 0.4, **switches})
    model = GaugeTransformer(config).double().eval()
    model.reset_parameters(seed)
    with torch.no_grad():
        for block in model.blocks:
            if block.attn.log_temperature is not None:
                block.attn.log_temperature.copy_(torch.tensor([-0.3, 0.4]))
    return model


def some_ids(n=13, seed=3, rows=2):
    return torch.randint(0, SIZES["d_vocab"], (rows, n), generator=torch.Generator().manual_seed(seed))


def cached(model, ids):
    with torch.no_grad():
        logits, cache = model.run_with_cache(ids)
    return logits, ActivationCache(cache, model)


@pytest.mark.parametrize("switches", SWITCHES, ids=name_of)
def test_every_switch_trains_every_parameter_and_stays_causal(switches):
    model, ids = gauge(**switches), some_ids()
    loss = model(ids, return_type="loss")
    loss.backward()
    assert loss.isfinite()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    with torch.no_grad():
        whole, prefix = model(ids), model(ids[:, :6])
    torch.testing.assert_close(whole[:, :6], prefix, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("switches", SWITCHES, ids=name_of)
def test_hooks_change_nothing_unless_they_say_so(switches):
    model, ids = gauge(**switches), some_ids()
    with torch.no_grad():
        plain = model(ids)
    logits, cache = cached(model, ids)
    torch.testing.assert_close(logits, plain, rtol=1e-10, atol=1e-10)
    pattern = cache["blocks.1.attn.hook_pattern"]
    assert pattern.shape == (2, 2, 13, 13)
    assert pattern.triu(1).abs().max() == 0
    assert bool((pattern.diagonal(dim1=-2, dim2=-1)[..., 1:] > 0).all()) == model.cfg.include_self
    torch.testing.assert_close(cache["blocks.1.attn.hook_attn_scores"].softmax(-1), pattern)
    torch.testing.assert_close(cache["blocks.0.hook_resid_post"], cache["blocks.1.hook_resid_pre"])


@pytest.mark.parametrize("covariance", ["diagonal", "isotropic", "full"])
@pytest.mark.parametrize("log_prior", [True, False])
def test_scores_are_log_prior_minus_divergence_over_temperature(covariance, log_prior):
    model, ids = gauge(covariance=covariance, log_prior=log_prior), some_ids()
    _, cache = cached(model, ids)
    for block in range(2):
        mean, root = cache[f"blocks.{block}.hook_belief_mean"], cache[f"blocks.{block}.hook_belief_scale_tril"]
        divergence = pairwise_kl(Gaussian(mean.transpose(1, 2), root.transpose(1, 2)))
        attention = model.blocks[block].attn
        expected = -divergence * attention.inverse_temperature()
        if log_prior:
            state = model.blocks[block].ln1(cache[f"blocks.{block}.hook_resid_pre"])
            expected = expected + attention.prior(state).transpose(1, 2).unsqueeze(-2)
        seen = torch.ones(13, 13, dtype=torch.bool).tril(-1)
        scores = cache[f"blocks.{block}.attn.hook_attn_scores"]
        torch.testing.assert_close(scores[..., seen], expected[..., seen], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_attention_is_kl_attention_between_transported_beliefs(covariance, include_self):
    """The model works in the common frame; `kl_attention` is given local beliefs and the frames."""
    model, ids = gauge(covariance=covariance, include_self=include_self, values="means"), some_ids()
    _, cache = cached(model, ids)
    frames = cache["blocks.1.hook_frames"].unsqueeze(1)
    mean, root = cache["blocks.1.hook_belief_mean"].transpose(1, 2), cache["blocks.1.hook_belief_scale_tril"]
    local = pushforward(Gaussian(mean, root.transpose(1, 2)), frames)
    attention = model.blocks[1].attn
    state = model.blocks[1].ln1(cache["blocks.1.hook_resid_pre"])
    out, pattern = kl_attention(
        local,
        local.mean,
        frames=frames,
        kappa=attention.log_temperature.detach().exp(),
        log_prior=attention.prior(state).detach().transpose(1, 2),
        include_self=include_self,
        return_pattern=True,
    )
    if not include_self:  # the first token sees nothing else
        pattern[..., 0, :], out[..., 0, :] = torch.eye(13)[0], local.mean[..., 0, :]
    torch.testing.assert_close(pattern, cache["blocks.1.attn.hook_pattern"], rtol=1e-9, atol=1e-10)
    moved = model.blocks[1].output(out.transpose(1, 2).flatten(2))
    expected = cache["blocks.1.hook_resid_pre"] + moved
    torch.testing.assert_close(expected, cache["blocks.1.hook_resid_mid"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("frames", ["so", "rotary", "none"])
def test_frames_are_rotations_that_depend_on_relative_position(frames):
    model, ids = gauge(frames=frames), some_ids(rows=1)
    repeated = torch.cat([ids[:, :4], ids[:, :4]], 1)  # the same tokens, four places on
    u = cached(model, repeated)[1]["blocks.0.hook_frames"][0]
    torch.testing.assert_close(u @ u.mT, torch.eye(6).double().expand_as(u))
    transport = u[:4, None] @ u[None, :4].mT
    torch.testing.assert_close(transport, u[4:, None] @ u[None, 4:].mT)
    assert (u[0] - u[1]).abs().max() > 0.1 or frames == "none"


def test_a_patched_pattern_or_score_reaches_the_logits():
    model, ids = gauge(successor_values=False), some_ids()
    uniform = torch.ones(13, 13).double().tril()
    uniform = (uniform / uniform.sum(-1, keepdim=True)).expand(2, 2, 13, 13)
    hooks = [(f"blocks.{block}.attn.hook_pattern", lambda pattern, hook: uniform) for block in range(2)]
    with torch.no_grad():
        patched, plain = model.run_with_hooks(ids, fwd_hooks=hooks), model(ids)
        twin = gauge(attention="uniform", include_self=True)
        assert not twin.load_state_dict(model.state_dict(), strict=False).missing_keys
        torch.testing.assert_close(patched, twin(ids))
        assert (patched - plain).abs().max() > 1e-3
        zeroed = [("blocks.0.attn.hook_v", lambda values, hook: values * 0)]
        assert (model.run_with_hooks(ids, fwd_hooks=zeroed) - plain).abs().max() > 1e-3


def test_with_dot_products_rotary_frames_and_no_prior_it_is_the_standard_model():
    """The twin that is given the prior differs from the standard model by the prior alone."""
    torch.manual_seed(0)
    standard = build_standard(vocabulary=23, context=19, layers=2, width=12, heads=2).double()
    size = {"d_mlp": 48, "d_vocab": 23}
    model = gauge(attention="dot", frames="rotary", log_prior=False, include_self=True, **size)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in standard.parameters())
    names = {"embed": "embed_tokens", "ln_final": "norm", "blocks": "layers", "ln1": "input_layernorm",
             "ln2": "post_attention_layernorm", "attn": "self_attn", "query": "q_proj", "key": "k_proj", "value": "v_proj",
             "output": "self_attn.o_proj", "gate": "gate_proj", "up": "up_proj", "down": "down_proj"}  # fmt: skip
    theirs = dict(standard.decoder.model.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(theirs[".".join(names.get(part, part) for part in name.split("."))])
            if name.endswith(("query.weight", "key.weight")):  # they turn the other way: mirror every plane
                parameter.view(2, 2, 3, 12)[:, 1] *= -1
        ids = some_ids()
        torch.testing.assert_close(model(ids), standard(ids), rtol=1e-7, atol=1e-7)  # their angles are float32


@pytest.mark.parametrize("attention", ["uniform", "kl", "dot"])
def test_what_is_heard_of_a_token_is_mixed_with_its_successor(attention):
    model, ids = gauge(attention=attention, frames="none"), some_ids()
    attn = model.blocks[0].attn
    with torch.no_grad():
        attn.successor.copy_(torch.linspace(-0.2, 1.3, 12).view(2, 6))
    _, cache = cached(model, ids)
    state = model.blocks[0].ln1(cache["blocks.0.hook_resid_pre"])
    own = attn.value(state).unflatten(-1, (2, 6))
    heard = torch.empty_like(own)
    for i in range(13):
        heard[:, i] = own[:, 0] if i == 0 else 0.0
        for j in range(i):
            weight = cache["blocks.0.attn.hook_pattern"][:, :, i, j, None]
            heard[:, i] += weight * ((1 - attn.successor) * own[:, j] + attn.successor * own[:, j + 1])
    expected = cache["blocks.0.hook_resid_pre"] + model.blocks[0].output(heard.flatten(2))
    torch.testing.assert_close(cache["blocks.0.hook_resid_mid"], expected)


@pytest.mark.parametrize("switches", [{}, {"covariance": "full"}, {"update": "vfe"}, {"decode": "kl"}], ids=name_of)
@pytest.mark.parametrize("lowered", ["autocast", "weights"])
def test_under_low_precision_beliefs_and_scores_stay_float32(switches, lowered):
    exact, ids = gauge(**switches), some_ids()
    model = gauge(**switches).to(torch.bfloat16 if lowered == "weights" else torch.float32)
    with torch.autocast("cpu", torch.bfloat16, enabled=lowered == "autocast"):
        logits, cache = cached(model, ids)
    names = ("hook_belief_mean", "hook_belief_scale_tril", "hook_frames", "attn.hook_attn_scores", "attn.hook_pattern")
    assert {cache[f"blocks.0.{name}"].dtype for name in names} == {torch.float32}
    pattern = cached(exact, ids)[1]["blocks.0.attn.hook_pattern"]
    assert (cache["blocks.0.attn.hook_pattern"] - pattern).abs().max() < 0.05
    assert logits.isfinite().all()


def test_uniform_attention_is_the_running_mean():
    model, ids = gauge(attention="uniform", include_self=True), some_ids()
    pattern = cached(model, ids)[1]["blocks.0.attn.hook_pattern"]
    expected = torch.ones(13, 13).double().tril() / torch.arange(1, 14).double()[:, None]
    torch.testing.assert_close(pattern, expected.expand_as(pattern))


def test_kl_readout_is_minus_the_divergence_to_vocabulary_priors():
    model = gauge(decode="kl")
    state = torch.randn(3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model.unembed(state)
        precision = model.unembed._log_precision().exp()
        priors = Gaussian.from_diagonal(model.embed.weight, 1 / precision)
        divergence = pairwise_kl(Gaussian.from_diagonal(state, torch.ones_like(state)), priors)
    torch.testing.assert_close(logits.log_softmax(-1), (-divergence).log_softmax(-1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("covariance", ["diagonal", "isotropic"])
def test_free_energy_never_rises(covariance):
    """One hundred random cases, five steps each."""
    falls = []
    for seed in range(25):
        generator = torch.Generator().manual_seed(seed)
        alpha = float(torch.rand((), generator=generator) * 3 + 0.01)
        model = gauge(seed, update="vfe", inner_steps=5, alpha=alpha, covariance=covariance, n_layers=1)
        energy = cached(model, some_ids(n=9, seed=seed))[1]["blocks.0.descent.hook_free_energy"]
        assert energy.shape == (2, 2, 9, 6)
        rises = [float((after - before).max()) for before, after in pairwise(energy.unbind(-1))]
        assert max(rises) <= 1e-11, (seed, rises)
        falls.append(float((energy[..., 0] - energy[..., -1]).max()))
    assert min(falls) > 1e-3


def test_parameters_match_the_standard_model_within_two_per_cent():
    from rgprobe.models.families import get_family

    size = {"vocabulary": 2048, "context": 256, "layers": 6, "width": 128, "heads": 8}
    gauge_model, standard = get_family("gauge").build(**size), build_standard(**size)
    counts = [sum(p.numel() for p in model.parameters()) for model in (gauge_model, standard)]
    assert counts[1] == 1_836_672
    assert abs(counts[0] / counts[1] - 1) < 1e-3


def test_reset_draws_in_place_by_seed_and_leaves_the_generator_alone():
    model = gauge(seed=1)
    places = {name: p.data_ptr() for name, p in model.named_parameters()}
    first = {name: p.detach().clone() for name, p in model.named_parameters()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model.reset_parameters(2)
    assert torch.equal(torch.rand(3), expected)
    fixed = {"ln1.weight", "ln2.weight", "ln_final.weight", "bias", "log_temperature", "successor"}
    for name, parameter in model.named_parameters():
        drawn = not any(name.endswith(end) for end in fixed)
        assert torch.equal(parameter, first[name]) != drawn or name.endswith(("log_temperature", "successor")), name
    model.reset_parameters(1)
    assert places == {name: p.data_ptr() for name, p in model.named_parameters()}
    assert torch.equal(model.embed.weight, first["embed.weight"])
    assert model.unembed.weight is model.embed.weight


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_model_can_be_drawn_afresh(dtype):
    model = GaugeTransformer(GaugeConfig(**SIZES)).to(dtype)
    model.reset_parameters(4)
    rotation = model.blocks[0].beliefs.global_frame.weight.detach().float()
    assert (rotation @ rotation.mT - torch.eye(12)).abs().max() < 8 * torch.finfo(dtype).eps
    assert model(some_ids()).isfinite().all()


def test_it_is_a_transformer_lens_model():
    model, ids = gauge(), some_ids()
    assert isinstance(model, TransformerLensModel)
    with torch.no_grad():
        state = model(ids, stop_at_layer=2)
        torch.testing.assert_close(model.unembed(model.ln_final(state)), model(ids))
        torch.testing.assert_close(model(ids, stop_at_layer=0), model.embed(ids))
        assert model(ids, return_type=None) is None
    model.tokenizer = lambda text: {"input_ids": [ord(c) - ord("a") for c in text]}
    assert model.to_tokens(["abc", "cab"]).tolist() == [[0, 1, 2], [2, 0, 1]]


def test_bad_input_is_named():
    model = gauge()
    with pytest.raises(PromptError, match=r"prompt: expected at most 19 tokens, received 20"):
        model(some_ids(n=20))
    with pytest.raises(PromptError, match=r"token ids in 0..22, received id 23"):
        model(torch.tensor([[1, 23]]))
    with pytest.raises(PromptError, match=r"received id -1"):
        model(torch.tensor([[-1, 2]]))
    with pytest.raises(OptionError, match="return_type"):
        model(some_ids(), return_type="both")
    with pytest.raises(PromptError, match="without a tokenizer"):
        model.to_tokens("abc")
    model.tokenizer = lambda text: {"input_ids": [0] * len(text)}
    with pytest.raises(PromptError, match="received 2 and 3"):
        model.to_tokens(["ab", "abc"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": "cosine"}, r"attention: expected kl \| dot \| uniform, received 'cosine'"),
        ({"frames": "gl"}, "frames: expected so"),
        ({"covariance": "low-rank"}, "covariance: expected"),
        ({"update": "gd"}, "update: expected"),
        ({"decode": "mlp"}, "decode: expected"),
        ({"n_layers": 0}, "n_layers: expected a whole number >= 1, received 0"),
        ({"n_heads": True}, "n_heads: expected a whole number >= 1"),
        ({"d_model": 15}, "d_model: expected a multiple of 2 x heads = 4"),
        ({"alpha": 0.0}, "alpha: expected a positive number"),
        ({"alpha": float("nan")}, "alpha: expected a positive number"),
        ({"update": "vfe", "attention": "uniform"}, "update: expected mlp"),
        ({"update": "vfe", "covariance": "full"}, "update: expected mlp"),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(OptionError, match=message):
        GaugeConfig.from_dict({**SIZES, **changes})


def test_unknown_and_missing_fields_are_refused():
    with pytest.raises(OptionError, match="n_kv_heads: expected a field of GaugeConfig"):
        GaugeConfig.from_dict({**SIZES, "n_kv_heads": 2})
    with pytest.raises(OptionError, match="d_vocab: expected a positive integer, received nothing"):
        GaugeConfig.from_dict({name: size for name, size in SIZES.items() if name != "d_vocab"})
    assert GaugeConfig.from_dict(GaugeConfig(**SIZES).to_dict()) == GaugeConfig(**SIZES)
