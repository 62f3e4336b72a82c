"""A trace that is shown at the end of a notebook's cell is one line, whatever it holds."""

import numpy as np
import torch

from rgprobe.planted_trace import planted_trace


def test_a_trace_is_shown_in_one_line():
    beliefs = [np.log(np.full((4, 9, 3), 1 / 3))] * 2
    shown = repr(planted_trace(log_probabilities=beliefs, states=np.zeros((2, 4, 9, 5))))
    assert shown.startswith("BeliefTrace(")
    assert shown.endswith("beliefs=lens, prompts=2, tokens=18, recorded=18, states=4)")
    assert len(shown) < 120


def test_a_trace_without_beliefs_is_shown_too():
    shown = repr(planted_trace(scores=[torch.zeros(1, 2, 9, 9)], causal=False))
    assert "tokens=9" in shown
    assert "states=" not in shown
