"""The same threads give the same bytes; other numbers of threads the same numbers to 1e-10, and the same merges."""

import numpy as np
import pytest
import torch

import rgprobe as rg

TEXTS = ["Now is the winter of our discontent", "made glorious summer"]
OPTIONS = {"nulls": 1, "diagnostics": "temperature,plateau,elimination,condensation"}


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_same_threads_same_bytes(sources, full, tmp_path, tally):
    contents = set()
    for number in range(10 if full else 2):
        rg.run(rg.load(sources["gauge"], device="cpu"), TEXTS, **OPTIONS).save(tmp_path / f"{number}.nc")
        contents.add((tmp_path / f"{number}.nc").read_bytes())
    tally("runs with the same threads", runs=10 if full else 2, different=len(contents) - 1)
    assert len(contents) == 1


def test_other_threads_same_numbers(sources, full, threads, tally):
    flows = []
    for count in (1, 2, 4) if full else (1, 2):
        threads(count)
        flows.append(rg.run(rg.load(sources["standard"], device="cpu", dtype="float64"), TEXTS, **OPTIONS))
    worst = 0.0
    for other in flows[1:]:
        for name in flows[0].diagnostics:
            a, b = (flow.to_xarray()[name]["per_prompt"].values for flow in (flows[0], other))
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
            worst = max(worst, float(np.nanmax(np.abs(a - b), initial=0.0)))
        parents = [flow.to_xarray()["condensation"]["parents"].values for flow in (flows[0], other)]
        np.testing.assert_array_equal(*parents)
    tally("threads", compared=len(flows), largest_difference=worst)
