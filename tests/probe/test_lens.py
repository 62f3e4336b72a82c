"""Lens reductions against the full vocabulary in float64, from the hidden states that transformers itself returns."""

import math

import pytest
import tiny_models
import torch
from tiny_models import FAMILIES, random_prompts

import rgprobe as rg
from rgprobe.probe.states import GEOMETRY, geometry_without_and_with_first, state_geometry

IDS = random_prompts(1, 23)[0]
POSITIONS = [1, 5, 6, 21, 22]
CHOSEN = ["gpt2", "llama", "gemma2", "bert"]


def final_logits(model, hidden):
    """Every state through the model's own final norm and head, with that state's own scale."""
    name = type(model).__name__
    if name == "BertForMaskedLM":
        return model.cls(hidden)
    norm = model.transformer.ln_f if name == "GPT2LMHeadModel" else model.model.norm
    logits = model.lm_head(norm(hidden))
    cap = getattr(model.config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def hidden_states(model):
    """The residual states: transformers returns the last one normed, so it is caught before the norm."""
    caught = []
    inner = getattr(model, "transformer", getattr(model, "model", None))
    layers = model.bert.encoder.layer if inner is None else getattr(inner, "h", getattr(inner, "layers", None))
    handle = layers[-1].register_forward_hook(lambda module, args, out: caught.append(out))
    with torch.no_grad():
        states = model(IDS[None], output_hidden_states=True).hidden_states
    handle.remove()
    last = caught[0][0] if isinstance(caught[0], tuple) else caught[0]
    return torch.stack([*states[:-1], last.reshape(states[0].shape)])[:, 0]


@pytest.mark.parametrize("family", CHOSEN)
def test_every_quantity_equals_the_full_vocabulary_computation(family):
    model = FAMILIES[family]()
    trace = rg.trace(model, [IDS], positions=POSITIONS)
    with torch.no_grad():
        logits = final_logits(model, hidden_states(model)[:, POSITIONS]).double()
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    found = {name: torch.from_numpy(trace.lens[name].values[0]) for name in trace.lens}

    def close(name, expected, **tolerance):
        tolerance = {"rtol": 1e-5, "atol": 2e-5, **tolerance}
        torch.testing.assert_close(found[name], expected, equal_nan=True, msg=name, **tolerance)

    close("entropy", -(p * log_p).sum(-1))
    close("purity", (p * p).sum(-1))
    close("logit_deviation", logits.std(-1, correction=0))
    close("kl_to_output", (p[-1] * (log_p[-1] - log_p)).sum(-1))
    step = (p[:-1] * (log_p[:-1] - log_p[1:])).sum(-1)
    close("kl_to_next", torch.cat([step, torch.full_like(step[:1], math.nan)]))
    assert (found["kl_to_output"][-1] == 0).all()
    assert (found["kl_to_output"] >= 0).all()
    nothing = torch.full((len(log_p), len(POSITIONS)), math.nan, dtype=torch.float64)
    if family != "bert":  # a causal model is followed on its own next token, where there is one
        nothing[:, :4] = log_p[:, range(4), IDS[[2, 6, 7, 22]]]
    close("answer_log_probability", nothing)
    rank = 1.0 + (log_p > nothing[..., None]).sum(-1).double()
    close("answer_rank", rank.masked_fill(nothing.isnan(), math.nan), atol=0, rtol=0)


def test_given_answers_are_followed_at_the_last_token():
    model = tiny_models.llama(vocab_size=300)
    from tiny_tokenizer import tokenizer

    probe = rg.load(model, tokenizer=tokenizer())
    trace = rg.trace(probe, ["to be or", "not"], positions=4, answers=["n", ["x", "y"]])
    last = [row.max() for row in trace.positions]
    ids = [prompt.ids for prompt in probe.encode(["to be or", "not"])]
    letters = [tokenizer()(text, add_special_tokens=False)["input_ids"][0] for text in ("n", "x", "y")]
    for prompt, follow in ((0, letters[:1]), (1, letters[1:])):
        log_p = probe.logits(ids[prompt])[-1].double().log_softmax(-1)
        at = int((trace.recorded(prompt) == last[prompt]).nonzero()[0][0])
        found = trace.lens.isel(prompt=prompt, state=-1)
        assert found["answer_log_probability"].values[at] == pytest.approx(float(log_p[follow[0]]), abs=1e-5)
        of_class = float(log_p[follow].logsumexp(0)) if len(follow) > 1 else math.nan
        assert found["class_log_probability"].values[at] == pytest.approx(of_class, abs=1e-5, nan_ok=True)
        assert found["answer_rank"].notnull().sum() == 1


@pytest.mark.parametrize("basis", [1, 7, tiny_models.VOCABULARY - 1, tiny_models.VOCABULARY, 1024])
def test_beliefs_in_the_reduced_basis_keep_the_top_classes_and_one_rest(basis):
    trace = rg.trace(tiny_models.llama(), [IDS], positions=POSITIONS, basis=basis)
    full = rg.trace(tiny_models.llama(), [IDS], positions=POSITIONS)
    for state, (classes, beliefs) in enumerate(zip(trace.classes[0], trace.log_probabilities[0], strict=True)):
        p = torch.from_numpy(beliefs).exp()
        torch.testing.assert_close(p.sum(-1), torch.ones(len(POSITIONS), dtype=torch.float64), rtol=1e-10, atol=0)
        everything = torch.from_numpy(full.log_probabilities[0][state]).exp()
        kept = classes[classes >= 0]
        if basis >= tiny_models.VOCABULARY:
            assert len(kept) == tiny_models.VOCABULARY
            continue
        assert len(kept) == basis
        assert set(kept.tolist()) == set(everything.mean(0).topk(basis).indices.tolist())
        torch.testing.assert_close(p[:, :basis], everything[:, kept], rtol=1e-10, atol=1e-14)


def test_the_final_norm_uses_each_states_own_scale():
    """Dividing all layers by the last one's scale manufactures a falling entropy."""
    model = tiny_models.llama()
    probe = rg.load(model)
    states = hidden_states(model)
    torch.testing.assert_close(probe.readout(states[0]), probe.readout(100 * states[0]), rtol=1e-4, atol=1e-4)


def test_equiangular_tokens_have_their_cosine():
    for gamma in (0.0, 0.3, 0.9):
        gram = gamma * torch.ones(9, 9, dtype=torch.float64) + (1 - gamma) * torch.eye(9, dtype=torch.float64)
        states = torch.linalg.cholesky(gram) @ torch.linalg.qr(torch.randn(14, 14, dtype=torch.float64))[0][:9]
        found = dict(zip(GEOMETRY, state_geometry(3.0 * states).tolist(), strict=True))
        assert found["cosine"] == pytest.approx(gamma, abs=1e-6)
        # the mean token has squared norm (1 + (n-1) gamma) / n: what is left is (1 - gamma)(n - 1) / n
        assert found["dong_residual"] == pytest.approx(math.sqrt((1 - gamma) * 8 / 9), abs=1e-6)
        assert found["participation_ratio"] == pytest.approx(8.0, rel=1e-6)
        assert found["norm"] == pytest.approx(3.0, rel=1e-6)


@pytest.mark.parametrize(("tokens", "width"), [(40, 120), (300, 24)])
def test_isotropic_tokens_have_the_participation_ratio_of_their_sample_size(tokens, width):
    generator = torch.Generator().manual_seed(0)
    ratios = [
        float(state_geometry(torch.randn(tokens, width, generator=generator, dtype=torch.float64))[2])
        for _ in range(50)
    ]
    assert sum(ratios) / 50 == pytest.approx(width / (1 + width / (tokens - 1)), rel=0.01)


def textbook_geometry(x):
    """From the definitions, float64."""
    n = len(x)
    cosines = torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=-1)
    covariance = torch.cov(x.T, correction=0)
    eigenvalues = torch.linalg.eigvalsh(covariance)
    power = x.square().sum()
    return torch.stack(
        [
            (cosines.sum() - n) / (n * (n - 1)),
            (x - x.mean(0)).norm() / power.sqrt(),
            eigenvalues.sum() ** 2 / eigenvalues.square().sum(),
            (power / n).sqrt(),
        ]
    )


@pytest.mark.parametrize(("tokens", "width"), [(4, 7), (63, 129), (131, 17), (300, 257)])
@pytest.mark.parametrize("sink", [1.0, 130.0])
def test_geometry_with_and_without_a_far_first_token_is_that_of_the_definitions(tokens, width, sink):
    states = torch.randn(tokens, width, generator=torch.Generator().manual_seed(tokens), dtype=torch.float64) + 0.3
    states[0] *= sink
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 2e-5)):
        without, with_first = geometry_without_and_with_first(states.to(dtype))
        for found, expected in (
            (without, states[1:]),
            (with_first, states),
            (state_geometry(states.to(dtype)), states),
        ):
            torch.testing.assert_close(found.double(), textbook_geometry(expected), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("tokens", [1, 2, 3])
def test_geometry_of_too_few_tokens_is_undefined(tokens):
    without, with_first = geometry_without_and_with_first(torch.randn(tokens, 5))
    assert without.isnan().all()
    assert bool(with_first.isnan().all()) == (tokens < 3)


def test_dong_residual_of_equal_and_of_opposite_tokens():
    equal = torch.ones(5, 4, dtype=torch.float64)
    assert float(state_geometry(equal)[1]) == 0
    opposite = torch.cat([equal[:2], -equal[:2]])
    assert float(state_geometry(opposite)[1]) == 1
    assert state_geometry(equal[:2]).isnan().all()


@pytest.mark.parametrize("family", CHOSEN)
def test_recorded_states_and_geometry_are_those_of_the_model(family):
    model = FAMILIES[family]()
    trace = rg.trace(model, [IDS], positions=POSITIONS)
    states = hidden_states(model)
    torch.testing.assert_close(torch.from_numpy(trace.states.values[0]), states[:, POSITIONS], atol=1e-5, rtol=1e-4)
    for state, tokens in enumerate(states):
        for sink, rows in (("included", tokens), ("excluded", tokens[1:])):
            expected = state_geometry(rows.double())
            for name, value in zip(GEOMETRY, expected.tolist(), strict=True):
                found = float(trace.geometry[name].sel(sink=sink)[0, state])
                assert found == pytest.approx(value, rel=1e-4, abs=1e-5), (name, sink)


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox"])
@pytest.mark.parametrize("sink", ["include", "exclude"])
def test_thermal_beliefs_are_mean_and_covariance_of_values_under_the_row(family, sink):
    model = FAMILIES[family]()
    probe = rg.load(model)
    values = []
    hooks = [(f"blocks.{block}.attn.hook_v", lambda v, hook: values.append(v[0].double())) for block in range(3)]
    probe.stream(IDS, hooks)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = model(IDS[None], output_attentions=True).attentions
    trace = rg.trace(probe, [IDS], positions=POSITIONS, belief="thermal", sink=sink)
    for block in range(3):
        v = values[block].repeat_interleave(tiny_models.HEADS // values[block].shape[1], 1)
        weights = attentions[block][0].double()
        belief = trace.beliefs(0, block)
        assert belief.batch_shape == (len(POSITIONS), tiny_models.HEADS)
        for head in range(tiny_models.HEADS):
            for index, position in enumerate(POSITIONS):
                row = weights[head, position].clone()
                if sink == "exclude":
                    row[0] = 0
                    row /= row.sum()
                mean = row @ v[:, head]
                spread = v[:, head] - mean
                ridge = 1e-3 * v[:, head].var(0, correction=0).mean()
                covariance = spread.T @ (row[:, None] * spread) + ridge * torch.eye(v.shape[-1])
                torch.testing.assert_close(belief.mean[index, head], mean, rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(belief.covariance[index, head], covariance, rtol=1e-4, atol=1e-5)
