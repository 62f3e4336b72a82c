"""Threads that load and measure at the same time get what they would get alone."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch

import rgprobe as rg
from rgprobe.models.building import seeded

THREADS = 3


def together(task):
    """Results of as many threads as start at once."""
    start = Barrier(THREADS)

    def begin(_):
        start.wait()
        return task()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


def test_draws_under_one_seed_are_those_of_one_thread():
    def draw():
        with seeded(3):
            return torch.cat([torch.randn(20) for _ in range(200)])

    alone = draw()
    assert all(torch.equal(drawn, alone) for drawn in together(draw))


@pytest.mark.parametrize("name", ["standard-small", "gauge-small"])
def test_threads_load_and_run_with_nulls_as_one_would(name):
    text = "To be or not to be that is the question"

    def measure():
        flow = rg.run(rg.load(name, device="cpu"), text, nulls=1, diagnostics=["temperature"])
        return flow.to_xarray()["temperature"]["null_per_prompt"].values

    alone = measure()
    for found in together(measure):
        np.testing.assert_array_equal(found, alone)
