"""Arrays of single prompts are put in place as they come, and none is held twice."""

import weakref

import numpy as np
import pytest

from rgprobe.gathering import gathered
from rgprobe.probe.prompt_trace import PromptTrace
from rgprobe.probe.ragged import Stack, stack_ragged


@pytest.mark.parametrize("shapes", [[(2, 3)], [(2, 3), (2, 3)], [(1, 4), (3, 2), (2, 5), (3, 5)], [(0, 2), (2, 1)]])
def test_a_stack_is_what_padding_gives(shapes):
    arrays = [np.random.default_rng(i).standard_normal(shape) for i, shape in enumerate(shapes)]
    largest = np.max(shapes, axis=0)
    padded = [
        np.pad(a, [(0, n - have) for n, have in zip(largest, a.shape, strict=True)], constant_values=np.nan)
        for a in arrays
    ]
    np.testing.assert_array_equal(stack_ragged(arrays, np.nan), np.stack(padded))


def test_what_has_not_come_is_not_shown():
    stack = Stack(3, 0)
    with pytest.raises(LookupError):
        _ = stack.array
    stack.add(np.ones(2))
    assert stack.array.shape == (1, 2)


def test_each_prompt_is_let_go_before_the_next_is_asked_for():
    before = []

    def parts():
        for prompt in range(4):
            assert all(reference() is None for reference in before), "an earlier prompt is still held"
            states = np.full((2, 3 + prompt % 2, 5), float(prompt))
            before.append(weakref.ref(states))
            yield PromptTrace(states=states)
            del states

    fields, ways = gathered(parts(), 4, sink="exclude")
    assert fields["states"].sizes == {"prompt": 4, "state": 2, "position": 4, "width": 5}
    np.testing.assert_array_equal(fields["states"][:, 0, 0, 0], range(4))
    assert fields["states"].isnull().sum() == 2 * 2 * 5
    assert ways == ["scores"] * 4
    assert len(fields["attention"]) == 0
