"""Every rung computes what it claims: exact ones equal the textbook loop, the others tend to it in their own limit."""

from dataclasses import replace

import pytest
import torch

from rgprobe.models.bench import rung as rung_module
from rgprobe.models.bench.problem import draw_problem
from rgprobe.models.bench.result import SAME_DIM, SAME_WIDTH
from rgprobe.models.bench.rungs import LADDER, rung
from rgprobe.models.bench.truncation import truncate

BAR = 1e-10
EXACT = [r.name for r in LADDER if r.claim.exact and r.name != "loop"]
FROM_PHI = [name for name in EXACT if name not in ("frames-given", "parts")]


def problem(n, k, **options):
    return draw_problem(n, k, dtype=torch.float64, **options)


def every_row(problem):
    return list(range(problem.n_tokens))


def weights(name, problem):
    return rung(name).weights(problem, every_row(problem))


def distance(got, expected):
    return (got - expected).abs().max().item()


@pytest.fixture(params=[None, 40])
def chunk(request, monkeypatch):
    """All rows in one chunk, or a few at a time."""
    if request.param:
        monkeypatch.setattr(rung_module, "CHUNK", request.param)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (13, 3), (21, 2)])
@pytest.mark.parametrize("name", EXACT)
def test_exact_rungs_equal_the_loop(name, size):
    given = problem(*size)
    assert distance(weights(name, given), weights("loop", given)) < BAR
    expected = rung("loop").forward(given)
    assert distance(rung(name).forward(given), expected) < BAR * expected.abs().max().item()


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("name", FROM_PHI)
def test_gradients_of_exact_rungs_equal_those_of_the_loop(name):
    given = problem(11, 3)
    for place, (got, expected) in enumerate(zip(rung(name).both(given), rung("loop").both(given), strict=True)):
        if place == 1:  # a covariance moves among symmetric matrices only
            got, expected = got + got.mT, expected + expected.mT
        assert distance(got, expected) < BAR * max(1.0, expected.abs().max().item())


@pytest.mark.parametrize("name", [r.name for r in LADDER])
def test_gradients_are_those_of_the_forward(name):
    given = problem(9, 2, window=4)
    method = rung(name)
    step = 1e-6
    gradient = method.both(given)[-1]  # to the values, on which every output depends linearly
    change = torch.linspace(-1.0, 1.0, gradient.numel(), dtype=torch.float64).reshape(gradient.shape)
    moved = replace(given, values=given.values + step * change[:, : given.dim])
    rise = ((method.forward(moved) - method.forward(given))[:, : given.dim] * given.upstream).sum() / step
    slope = (gradient[:, : given.dim] * change[:, : given.dim]).sum()
    assert abs(rise - slope) < 1e-6 * max(1.0, abs(slope))


@pytest.mark.parametrize("name", [r.name for r in LADDER if r.claim.exact is not None])
def test_some_rows_are_those_of_all(name):
    given = problem(10, 2, window=3)
    whole = weights(name, given)
    assert torch.equal(whole.triu(1), torch.zeros_like(whole))
    assert distance(whole.sum(-1), torch.ones(10)) < 1e-12
    assert distance(rung(name).weights(given, [0, 4, 9]), whole[[0, 4, 9]]) < 1e-12


def test_first_order_transport_errs_to_second_order_in_phi():
    given = problem(12, 3)
    errors = []
    for scale in (1e-2, 5e-3, 2.5e-3):
        near = replace(given, phi=scale * given.phi)
        errors.append(distance(weights("first-order", near), weights("loop", near)))
    assert errors[0] < 0.01
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.1)


def test_first_order_transport_is_finite_in_float32_where_it_is_singular():
    far = draw_problem(128, 16)
    assert weights("first-order", far).isfinite().all()
    assert all(gradient.isfinite().all() for gradient in rung("first-order").both(far))


def test_diagonal_projection_is_exact_for_diagonal_frames_and_covariances():
    given = problem(12, 3)
    commuting = replace(
        given,
        phi=torch.diag_embed(given.phi.diagonal(dim1=-2, dim2=-1)),
        covariance=torch.diag_embed(given.covariance.diagonal(dim1=-2, dim2=-1)),
    )
    assert distance(weights("diagonal", commuting), weights("loop", commuting)) < BAR
    assert distance(weights("diagonal", given), weights("loop", given)) > 0.01


def test_diagonal_projection_is_the_diagonal_of_the_transported_covariance():
    given = problem(6, 3)
    i, j = 4, 2
    omega = given.frames[i] @ torch.linalg.inv(given.frames[j])
    there = (omega @ given.covariance[j] @ omega.T).diagonal()
    here, step = given.covariance[i].diagonal(), omega @ given.mean[j] - given.mean[i]
    divergence = 0.5 * (here / there - 1 + step.square() / there + (there / here).log()).sum()
    own = weights("diagonal", given)[i]
    assert (own[j] / own[i]).log().item() == pytest.approx(-divergence.item() / given.tau, rel=1e-9)


def test_diagonal_projection_depends_on_the_gauge_and_the_exact_form_does_not():
    given = problem(8, 3)
    phi = problem(1, 3, seed=5).phi[0]
    turn = torch.linalg.matrix_exp(phi - phi.T)
    turned = replace(
        given,
        mean=given.mean @ turn.T,
        values=given.values @ turn.T,
        covariance=turn @ given.covariance @ turn.T,
        phi=_logarithm(turn @ given.frames),
    )
    assert distance(weights("cached", turned), weights("cached", given)) < BAR
    assert distance(rung("cached").forward(turned), rung("cached").forward(given) @ turn.T) < 1e-8
    assert distance(weights("diagonal", turned), weights("diagonal", given)) > 0.01


def _logarithm(matrices):
    """Principal logarithm, by eigenvalues."""
    values, vectors = torch.linalg.eig(matrices)
    found = vectors @ torch.diag_embed(values.log()) @ torch.linalg.inv(vectors)
    assert found.imag.abs().max() < 1e-9
    return found.real


def test_low_rank_at_full_rank_is_exact_and_nears_it():
    full = problem(9, 4)
    errors = [distance(weights("low-rank", replace(full, rank=rank)), weights("loop", full)) for rank in (1, 3, 4)]
    assert errors[0] > 0.01 > errors[1] > 1e-5
    assert errors[2] < BAR


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_truncation_recovers_what_has_that_rank(rank):
    g = torch.Generator().manual_seed(rank)
    factor = torch.randn(3, 9, rank, generator=g, dtype=torch.float64)
    covariance = factor @ factor.mT + torch.diag_embed(0.5 + torch.rand(3, 9, generator=g, dtype=torch.float64))
    loading, diagonal = truncate(covariance, rank)
    again = loading @ loading.mT + torch.diag_embed(diagonal)
    assert loading.shape == (3, 9, rank)
    assert distance(again.diagonal(dim1=-2, dim2=-1), covariance.diagonal(dim1=-2, dim2=-1)) < 1e-9
    alone = torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1))
    assert (again - covariance).norm() < 0.15 * (alone - covariance).norm()


def test_windows_agree_with_each_other_and_reach_everything():
    wide = problem(14, 3, window=14)
    assert distance(weights("window", wide), weights("loop", wide)) < BAR
    assert distance(weights("window-pairs", wide), weights("loop", wide)) < BAR
    narrow = replace(wide, window=5)
    assert distance(weights("window-pairs", narrow), weights("window", narrow)) < BAR
    assert distance(rung("window-pairs").forward(narrow), rung("window").forward(narrow)) < 1e-8
    assert distance(weights("window", narrow), weights("loop", narrow)) > 0.01


@pytest.mark.parametrize("name", [SAME_WIDTH, SAME_DIM])
def test_dot_products_are_attention_of_the_stated_width(name):
    given = problem(7, 3)
    width = given.width if name == SAME_WIDTH else 3
    queries, keys, _ = rung(name).inputs(given)
    assert queries.shape == keys.shape == (7, width)
    scores = (queries @ keys.T / width**0.5).masked_fill(torch.ones(7, 7).triu(1) > 0, -torch.inf)
    out = rung(name).forward(given)
    assert out.shape == (7, width)
    assert distance(out[:, :3], torch.softmax(scores, -1) @ given.values) < 1e-12
    assert weights_of_none(name, given) is None


def weights_of_none(name, given):
    return rung(name).weights(given, [0])


def test_frames_have_the_stated_condition():
    given = problem(64, 6)
    condition = torch.linalg.cond(given.frames)
    assert 10 < condition.max() <= 100
    assert torch.equal(given.frames, problem(64, 6).frames)
    assert not torch.equal(given.frames, problem(64, 6, seed=1).frames)


@pytest.mark.parametrize("name", [r.name for r in LADDER])
def test_inputs_are_made_once(name):
    given = problem(5, 3)
    first, second = rung(name).inputs(given), rung(name).inputs(given)
    assert all(a is b for a, b in zip(first, second, strict=True))
