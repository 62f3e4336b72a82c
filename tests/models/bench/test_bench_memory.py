"""Peak memory: known allocations, and the rungs from a process of their own."""

import pytest
import torch

from rgprobe.errors import EnvironmentFault
from rgprobe.models.bench import memory
from rgprobe.models.bench.memory import measure_apart, peak_bytes
from rgprobe.models.bench.options import LadderOptions

N = 1000


def test_what_is_alive_at_once_counts():
    def two_then_one():
        first, second = torch.zeros(N), torch.zeros(2 * N)
        total = first.sum() + second.sum()
        del first, second
        return torch.zeros(N), total

    peak = peak_bytes(two_then_one)
    assert 4 * 3 * N <= peak < 4 * 3 * N + 200


def test_inputs_do_not_count_and_outputs_do():
    given = torch.zeros(N)
    assert peak_bytes(lambda: given.exp()) == 4 * N
    assert peak_bytes(lambda: given.exp_()) == 0


def test_methods_are_measured_in_another_process():
    requests = [("dot-product-dim", 32, 4, "forward"), ("pairs", 8, 4, "forward"), ("pairs", 8, 4, "both")]
    told = []
    found = measure_apart(requests, LadderOptions(), on_done=told.append)
    assert list(found) == told == requests
    assert found[requests[0]] >= 32 * 4 * 4
    assert found[requests[1]] >= 3 * 8 * 8 * 4 * 4 * 4  # exponentials both ways, and their product
    assert found[requests[2]] > found[requests[1]]


def test_a_process_that_dies_is_reported(monkeypatch):
    monkeypatch.setattr(memory, "__name__", "rgprobe.models.bench.absent")
    with pytest.raises(EnvironmentFault, match="a process that measures it"):
        measure_apart([("pairs", 8, 4, "forward")], LadderOptions())
