"""Native beliefs against the model's parameters, its own attention scores, and a change of frame."""

import math

import pytest
import tiny_models
import torch
from gauge_models import activations, tiny_gauge
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.errors import OptionError
from rgprobe.gaussian import pairwise_kl
from rgprobe.gaussian.structures import Diagonal, Triangular
from rgprobe.models.gauge.beliefs import TokenGeometry
from rgprobe.models.gauge.frames import Frames

(IDS,) = random_prompts(1, 13)
EVERY = range(13)
COVARIANCES = ("diagonal", "isotropic", "full")


def native(model, positions=EVERY, ids=IDS):
    return rg.trace(model, [ids], belief="native", positions=positions, sink="include")


def frames_by_hand(model, ids):
    """U_i = exp(phi(token_i)) R(i), entry by entry."""
    k = model.cfg.d_head
    rows, columns = torch.tril_indices(k, k, -1)
    frames = []
    for position, token in enumerate(ids):
        phi = torch.zeros(k, k, dtype=torch.float64)
        phi[rows, columns] = model.tokens.phi(model.tokens.code(token))
        turn = torch.zeros(k, k, dtype=torch.float64)
        for plane in range(k // 2):
            angle = position * 10_000.0 ** (-2 * plane / k)
            first, second = plane, plane + k // 2
            turn[first, first] = turn[second, second] = math.cos(angle)
            turn[second, first], turn[first, second] = math.sin(angle), -math.sin(angle)
        frames.append(torch.linalg.matrix_exp(phi - phi.T) @ turn)
    return torch.stack(frames)


@torch.no_grad()
def beliefs_by_hand(model, ids, block):
    """Means and covariances in the common frame, (token, head, ...), from the parameters and the state alone."""
    cfg, part = model.cfg, model.blocks[block]
    resid = activations(model, ids)[f"blocks.{block}.hook_resid_pre"]
    state = resid / (resid.square().mean(-1, keepdim=True) + 1e-6).sqrt()  # the norm's own scale is 1 here
    heads = (cfg.n_heads, -1)
    local = (state @ part.beliefs.global_frame.weight.T).unflatten(-1, heads)
    code = model.tokens.code(ids) @ model.tokens.precision.weight.T + model.tokens.precision.bias
    log_precision = (code + state @ part.beliefs.precision.weight.T).unflatten(-1, heads).clamp(-4, 4)
    variance = log_precision.neg().exp().expand_as(local)
    back = frames_by_hand(model, ids).mT.unsqueeze(1)
    mean = (back @ local.unsqueeze(-1)).squeeze(-1)
    covariance = torch.diag_embed(variance)
    return mean, back @ covariance @ back.mT if cfg.covariance == "full" else covariance


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_beliefs_are_those_of_the_parameters(covariance):
    model = tiny_gauge(covariance=covariance)
    positions = [1, 4, 9]
    trace = native(model, positions)
    assert (trace.depth_dim, trace.n_depths, trace.estimator.gaussian) == ("block", 2, True)
    for block in range(2):
        belief = trace.beliefs(0, block)
        assert tuple(belief.batch_shape) == (3, 2)
        assert isinstance(belief.structure, Triangular if covariance == "full" else Diagonal)
        mean, spread = beliefs_by_hand(model, IDS, block)
        torch.testing.assert_close(belief.mean, mean[positions], rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(belief.covariance, spread[positions], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_attention_scores_are_log_prior_minus_native_divergence_over_temperature(covariance):
    model = tiny_gauge(covariance=covariance)
    trace, seen = native(model), activations(model, IDS)
    earlier = torch.ones(13, 13, dtype=torch.bool).tril(-1)
    for block, part in enumerate(model.blocks):
        beliefs = trace.beliefs(0, block)
        prior = part.attn.prior(part.ln1(seen[f"blocks.{block}.hook_resid_pre"])).detach()
        for head, kappa in enumerate(part.attn.log_temperature.detach().exp()):
            tau = kappa * math.sqrt(model.cfg.d_head)
            expected = prior[:, head] - pairwise_kl(beliefs[:, head]) / tau
            gap = seen[f"blocks.{block}.attn.hook_attn_scores"][head] - expected
            for row in range(1, 13):  # scores are defined up to a constant per row
                within = gap[row][earlier[row]]
                torch.testing.assert_close(within, within[:1].expand_as(within), rtol=0, atol=1e-9)


@pytest.mark.parametrize("covariance", ["isotropic", "full"])
def test_a_common_rotation_of_all_frames_changes_no_divergence(covariance, monkeypatch):
    """A covariance that is diagonal in the common frame by definition is no such belief: it turns with the frame or not."""
    model = tiny_gauge(covariance=covariance)
    before = native(model)
    h = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]

    class Turned(Frames):
        """U_i h: the common frame is another one."""

        def __init__(self, frames):
            object.__setattr__(self, "frames", frames)

        def to_common(self, local):
            return self.frames.to_common(local) @ h

        def to_local(self, common):
            return self.frames.to_local(common @ h.T)

        def dense(self, like):
            return self.frames.dense(like) @ h

    plain = model.tokens.forward

    def turned(ids, like):
        geometry = plain(ids, like)
        return TokenGeometry(Turned(geometry.frames), geometry.log_precision)

    monkeypatch.setattr(model.tokens, "forward", turned)
    after = native(model)
    for block in range(2):
        one, other = before.beliefs(0, block), after.beliefs(0, block)
        assert (one.mean - other.mean).abs().max() > 0.1
        for head in range(2):
            torch.testing.assert_close(pairwise_kl(one[:, head]), pairwise_kl(other[:, head]), rtol=1e-9, atol=1e-10)


def test_models_without_beliefs_of_their_own_are_refused():
    with pytest.raises(
        OptionError, match=r"native beliefs exist in the gauge family only; choose lens or thermal"
    ) as why:
        native(tiny_models.llama())
    assert why.value.exit_code == 2
    uniform = tiny_gauge(attention="uniform")
    with pytest.raises(OptionError, match="whose attention is uniform: its tokens have no precision"):
        native(uniform)
    with pytest.raises(OptionError, match="gauge family only"):  # also where no belief is looked at
        rg.trace(tiny_models.llama(), [IDS], belief="native", collect=["attention"])
    with pytest.raises(OptionError, match=r"lens \| thermal \| native"):
        rg.trace(uniform, [IDS], belief="natural")


def test_the_null_has_the_native_beliefs_of_its_own_weights():
    probe = rg.load(tiny_gauge())
    with probe.randomised(7) as null:
        drawn = rg.trace(null, [IDS], belief="native", positions=3).beliefs(0, 0)
    expected = rg.trace(tiny_gauge(7), [IDS], belief="native", positions=3).beliefs(0, 0)  # temperatures enter later
    assert torch.equal(drawn.mean, expected.mean)
    assert torch.equal(drawn.covariance, expected.covariance)


def test_provenance_says_what_was_taken_and_nothing_else_is_collected():
    trace = native(tiny_gauge())
    assert trace.provenance["belief"] == "native"
    assert "common frame" in trace.provenance["assumption"]
    assert trace.log_probabilities == ()
    assert rg.trace(tiny_gauge(), [IDS], belief="native", collect=["attention"]).gaussians == ()
