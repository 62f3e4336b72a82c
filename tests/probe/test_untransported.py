"""Divergences in the common frame are the transported ones, by explicit transport; what is left out without it."""

import numpy as np
import pytest
import tiny_models
import torch
from gauge_models import activations, tiny_gauge
from gaussian_cases import random_beliefs
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.gaussian import frames, kl, pushforward
from rgprobe.gaussian.reference import textbook_kl, transported_kl_loop
from rgprobe.probe.untransported import TOKENS, local_jeffreys, untransported

(IDS,) = random_prompts(1, 9)


def encoded(probe, ids=IDS):
    return probe.encode([ids])[0]


@pytest.mark.parametrize("group", ["so", "gl"])
def test_the_common_frame_is_explicit_transport_for_random_frames(group):
    """KL(q_i || Omega_ij q_j), Omega_ij = U_i U_j^-1, of local beliefs, pair by pair."""
    generator = torch.Generator().manual_seed(0)
    heads = random_beliefs(0, 7, 2, k=5)
    phi = 0.7 * torch.randn(7, 5, 5, generator=generator, dtype=torch.float64)
    u = frames(phi - phi.mT if group == "so" else phi, group)
    by_hand = sum(transported_kl_loop(pushforward(heads[:, head], u), u) for head in range(2))
    torch.testing.assert_close(local_jeffreys(heads), by_hand + by_hand.mT, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("covariance", ["diagonal", "isotropic", "full"])
def test_native_beliefs_of_a_model_are_in_its_common_frame(covariance):
    """The same, with the frames and local beliefs that the model's own hooks report."""
    model = tiny_gauge(covariance=covariance)
    belief = rg.trace(model, [IDS], belief="native", positions=range(9), sink="include").beliefs(0, 1)
    u = activations(model, IDS)["blocks.1.hook_frames"]
    matrix = local_jeffreys(belief)
    for i, j in ((1, 4), (8, 2)):
        omega, total = u[i] @ u[j].mT, 0.0
        for head in range(2):
            own = [pushforward(belief[k, head], u[k]) for k in (i, j)]
            total += kl(own[0], pushforward(own[1], omega)) + kl(own[1], pushforward(own[0], omega.mT))
        torch.testing.assert_close(matrix[i, j], total, rtol=1e-9, atol=1e-10)


def test_means_are_those_of_local_and_of_common_beliefs():
    model = tiny_gauge()
    probe = rg.load(model)
    found = untransported(probe, encoded(probe), torch.arange(1, 6), "exclude")
    u = activations(model, IDS)["blocks.0.hook_frames"][1:6]
    belief = rg.trace(model, [IDS], belief="native", positions=range(1, 6)).beliefs(0, 0)
    total = 0.0
    for i in range(5):
        for j in range(5):
            for head in range(2):
                if i != j:
                    a, b = (pushforward(belief[k, head], u[k]) for k in (i, j))
                    total += 2 * textbook_kl(a.mean, a.covariance, b.mean, b.covariance)
    assert float(found["untransported"][0]) == pytest.approx(float(total) / 20, rel=1e-8)
    assert float(found["transported"][0]) == pytest.approx(float(local_jeffreys(belief).sum()) / 20, rel=1e-10)
    assert abs(np.log(float(found["untransported"][0] / found["transported"][0]))) > 0.01


def test_without_frames_nothing_is_to_transport():
    probe = rg.load(tiny_gauge(frames="none"))
    found = untransported(probe, encoded(probe), torch.arange(1, 9), "exclude")
    np.testing.assert_allclose(found["untransported"], found["transported"], rtol=1e-9)


def test_long_prompts_are_thinned_and_short_ones_are_not():
    probe = rg.load(tiny_gauge())
    (ids,) = random_prompts(1, 20)
    thinned = torch.linspace(0, 18, TOKENS).round().long() + 1
    one = untransported(probe, encoded(probe, ids), torch.arange(1, 20), "exclude")
    other = untransported(probe, encoded(probe, ids), thinned, "exclude")
    np.testing.assert_array_equal(one["untransported"], other["untransported"])


@pytest.mark.parametrize(
    ("model", "recorded"),
    [
        (tiny_models.llama, torch.arange(1, 9)),
        (lambda: tiny_gauge(attention="uniform"), torch.arange(1, 9)),
        (tiny_gauge, torch.tensor([3])),
    ],
)
def test_where_there_is_no_pair_of_native_beliefs_there_is_no_number(model, recorded):
    probe = rg.load(model())
    found = untransported(probe, encoded(probe), recorded, "exclude")
    assert found.sizes == {"block": probe.n_blocks}
    assert all(np.isnan(found[name]).all() for name in ("transported", "untransported"))


def test_the_diagnostic_contrasts_them():
    flow = rg.run(
        tiny_gauge(), random_prompts(2, 9), belief="native", diagnostics="transport_contrast", nulls=1, shuffles=0
    )
    node = flow.to_xarray()["transport_contrast"].to_dataset()
    value = {str(q): node["per_prompt"].sel(quantity=q).values for q in node["quantity"].values}
    np.testing.assert_allclose(value["log_ratio"], np.log(value["untransported"] / value["transported"]), rtol=1e-12)
    assert node["value"].dims == ("quantity", "block")
