"""Interaction between tokens: against a loop of plain passes, and where it must vanish."""

import pytest
import tiny_models
import torch
from gauge_models import tiny_gauge

import rgprobe as rg
from rgprobe.errors import PromptError
from rgprobe.probe.interaction import Contexts, gradient_interaction, interaction

N = 5


def model_of(family):
    return rg.load(tiny_gauge() if family == "gauge" else tiny_models.FAMILIES[family]())


def contexts_of(rows, *, seed=0, shift=0, scored=None):
    generator = torch.Generator().manual_seed(seed)
    places = torch.arange(1, N + 1)
    exchanged = rows.clone()
    exchanged[:, 1:] = torch.randint(4, 61, exchanged[:, 1:].shape, generator=generator)
    some = torch.ones(len(rows), N, dtype=torch.bool) if scored is None else scored
    return Contexts(rows, exchanged, places[:, None], places - shift, some)


def random_rows(count, seed=1):
    return torch.stack(tiny_models.random_prompts(count, N + 1, seed=seed))


@pytest.mark.parametrize("family", ["gpt2", "bert", "gauge"])
def test_against_plain_passes(family):
    """At the input end an exchange is another prompt; deeper, a hook that overwrites one state."""
    probe = model_of(family)
    contexts = contexts_of(random_rows(3))
    found = interaction(probe, contexts)

    def log_p(ids, hooks=()):
        states = []
        last = (probe.state_hook(probe.n_blocks), lambda tensor, hook: states.append(tensor[0]))
        probe.stream(ids, [*hooks, last])
        return probe.readout(states[0]).double().log_softmax(-1)

    def overwriting(i, swapped):
        """Where all that a token is stands in its state, undoing elsewhere and overwriting here are the same."""
        seen = []
        probe.stream(swapped, [(probe.state_hook(state), lambda t, hook: seen.append(t[0].clone()))])

        def put(tensor, hook):
            patched = tensor.clone()
            patched[0, i + 1] = seen[0][i + 1]
            return patched

        return put

    for state in range(probe.n_blocks):
        expected = torch.zeros(N, N, dtype=torch.float64)
        for row, other in zip(contexts.rows, contexts.exchanged, strict=True):
            plain = log_p(row)
            for i in range(N):
                swapped, seen = row.clone(), []
                swapped[i + 1] = other[i + 1]
                probe.stream(row, [(probe.state_hook(state), lambda t, hook, seen=seen: seen.append(t[0].clone()))])

                def undo(tensor, hook, i=i, seen=seen):
                    restored = seen[0].clone()
                    restored[i + 1] = tensor[0, i + 1]
                    return restored[None]

                changed = log_p(swapped, [(probe.state_hook(state), undo)])
                if state == 0:
                    torch.testing.assert_close(changed, log_p(swapped))
                if state > 0 and family != "gauge":
                    torch.testing.assert_close(
                        changed, log_p(row, [(probe.state_hook(state), overwriting(i, swapped))])
                    )
                expected[i] += (plain.exp() * (plain - changed)).sum(-1)[1:] / 3
        torch.testing.assert_close(found[state], expected * (1 - torch.eye(N)), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "gauge"])
@pytest.mark.parametrize("measure", [interaction, gradient_interaction])
def test_nothing_acts_on_the_past_under_a_causal_mask(family, measure):
    found = measure(model_of(family), contexts_of(random_rows(2)))
    assert found.shape[1:] == (N, N)
    # the kernel of the gauge family rounds a row by what stands behind it: a square of the last digit
    assert (found.tril() <= (1e-26 if family == "gauge" else 0.0)).all()
    assert (found[:, torch.ones(N, N).triu(1) > 0] > 0).all()


@pytest.mark.parametrize("measure", [interaction, gradient_interaction])
def test_a_masked_model_acts_both_ways_and_only_scored_pairs_are_known(measure):
    scored = torch.tensor([[True, False, False, False, True]] * 2)
    found = measure(model_of("bert"), contexts_of(random_rows(2), scored=scored))
    off = ~torch.eye(N, dtype=torch.bool)
    assert (found[:, :, [0, 4]][:, off[:, [0, 4]]] > 0).all()
    assert found[:, :, 1:4][:, off[:, 1:4]].isnan().all()


def test_tokens_that_are_not_exchanged_are_unknown():
    contexts = contexts_of(random_rows(2))
    contexts.exchanged[:, 3] = contexts.rows[:, 3]
    found = interaction(model_of("gpt2"), contexts, states=[1])
    assert found.shape == (1, N, N)
    assert found[0, 2, [0, 1, 3, 4]].isnan().all()
    assert not found[0, [0, 1, 3, 4]].isnan().any()


def test_copies_without_position_are_interchangeable():
    """Two equal tokens of a model that knows no order act alike on all others, and others on them."""
    bert = tiny_models.bert()
    bert.bert.embeddings.position_embeddings.weight.data.zero_()
    row = torch.tensor([[7, 11, 30, 11, 42, 19]])
    contexts = contexts_of(row)
    contexts.exchanged[0, 3] = contexts.exchanged[0, 1]  # tokens 0 and 2, at places 1 and 3
    swap = torch.tensor([2, 1, 0, 3, 4])
    for found in (interaction(rg.load(bert), contexts),):
        torch.testing.assert_close(found, found[:, swap][:, :, swap], atol=1e-7, rtol=1e-4)


def test_all_copies_of_a_token_are_exchanged():
    probe = model_of("gauge")
    once = torch.tensor([[5, 9, 20]])
    rows = torch.cat([torch.tensor([[0]]), once, once], 1)
    tokens = torch.tensor([[1, 4], [2, 5], [3, 6]])
    scored = torch.ones(1, 3, dtype=torch.bool)
    found = interaction(probe, Contexts(rows, rows + 1, tokens, tokens[:, 1], scored), states=[0])[0]
    changed = rows.clone()
    changed[0, [1, 4]] += 1
    plain, other = (probe.logits(each[0]).double().log_softmax(-1)[[5, 6]] for each in (rows, changed))
    torch.testing.assert_close(found[0, 1:], (plain.exp() * (plain - other)).sum(-1), atol=1e-6, rtol=1e-4)
    assert (found[1:, 0] > 0).all()  # the second copy has read all of the first


def test_contexts_are_checked():
    rows = random_rows(2)
    good = contexts_of(rows)
    with pytest.raises(PromptError, match="exchanged"):
        Contexts(rows, rows[:, :3], good.tokens, good.readers, good.scored)
    with pytest.raises(PromptError, match="scored"):
        Contexts(rows, rows, good.tokens, good.readers, good.scored[:, :2])
    with pytest.raises(PromptError, match="readers: expected indices from 0 to 5"):
        Contexts(rows, rows, good.tokens, good.readers + 1, good.scored)
