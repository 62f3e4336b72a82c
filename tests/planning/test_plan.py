"""Plans: amounts are those of the definitions, prices are recovered, and a plan adds up what a run is made of."""

import itertools
import json

import numpy as np
import pytest
import torch

import rgprobe as rg
from rgprobe.errors import OptionError
from rgprobe.planning import Rates
from rgprobe.planning.prices import fitted
from rgprobe.planning.rehearsal import Rehearsal, Sample
from rgprobe.planning.work import Job, forward_flops
from rgprobe.probe.loading import load
from rgprobe.probe.outline import outline_of


@pytest.fixture(scope="module")
def outline():
    return outline_of("standard-small")


def test_flops_of_a_plain_pass_are_those_that_torch_counts(outline):
    from torch.utils.flop_counter import FlopCounterMode

    probe = load("standard-small", device="cpu")
    for tokens in (9, 64):
        with FlopCounterMode(display=False) as counter:
            probe.logits(next(iter(probe.encode([list(range(tokens))], bos="never"))).ids)
        assert forward_flops(outline, tokens) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_prices_that_made_the_times_are_found_again():
    generator = np.random.default_rng(0)
    amounts = generator.uniform(0.1, 1, size=(9, 4)) * np.array([1.0, 1e3, 1e9, 1e6])
    prices = np.array([0.3, 0.0, 2e-9, 1e-6])
    np.testing.assert_allclose(fitted(amounts, amounts @ prices), prices, rtol=1e-9, atol=1e-12)


def test_a_larger_job_is_predicted_from_small_ones(outline):
    """Times made up from known prices, at the sizes that are rehearsed."""
    prices = np.array([1e-3, 2e-4, 1e-10, 1e-8, 3e-9, 2e-8])

    def relative(blocks):
        return type(outline)(
            **{**vars(outline), "blocks": blocks, "matrices": outline.matrices // outline.blocks * blocks}
        )

    # some through scores as a whole, some through tiles: up to 256 tokens of 8 heads are the former
    jobs = [Job(relative(b), n, 1) for b in (1, 3) for n in (64, 128, 256, 400, 512)]
    assert {job.tiled for job in jobs} == {True, False}
    samples = tuple(Sample(job, float(job.of_a_pass() @ prices), 1.0, {}, 1.0, 1, 1) for job in jobs)
    known = Rehearsal(samples, (), 0.0, 0, {})
    planned = Job(relative(24), 2048, 5)
    assert known.seconds_of_a_pass(planned) == pytest.approx(float(planned.of_a_pass() @ prices), rel=1e-6)


def test_what_does_not_read_rows_costs_nothing_for_long_prompts(outline):
    """Times with a tenth of noise; the planned prompts have three hundred times the rows of any that was rehearsed."""
    generator = np.random.default_rng(0)
    few = type(outline)(**{**vars(outline), "blocks": 3})
    jobs = [Job(few, n, p) for n, p in ((64, 1), (128, 1), (256, 1), (64, 4)) for _ in range(2)]
    prices = {"trees": np.array([1e-3, 1e-3, 5e-3, 0.0]), "rows": np.array([1e-4, 1e-4, 1e-4, 1e-7])}
    planned = Job(few, 8192, 10)
    exact = sum(float(planned.of_measurements() @ price) for price in prices.values())
    ratios = []
    for _ in range(40):
        took = [{name: float(job.of_measurements() @ price * generator.normal(1, 0.1)) for name, price in prices.items()}
                for job in jobs]  # fmt: skip
        samples = tuple(Sample(job, 1.0, 1.0, each, 1.0, 1, 1) for job, each in zip(jobs, took, strict=True))
        ratios.append(Rehearsal(samples, (), 0.0, 0, {}).seconds_of_measuring(planned) / exact)
    assert 0.9 < np.median(ratios) < 1.1
    assert np.quantile(ratios, 0.9) < 1.5


def test_the_file_of_a_run_is_foretold(tmp_path):
    """Bytes do not depend on the machine: a run with more blocks and prompts than any that was rehearsed."""
    found = rg.plan("standard-small", tokens=40, prompts=6, nulls=0, diagnostics="free_energy,consensus")
    probe = load("standard-small", device="cpu")
    flow = rg.run(probe, [torch.arange(10 + i, 50 + i) for i in range(6)], nulls=0, diagnostics="free_energy,consensus")
    flow.save(tmp_path / "flow.nc")
    assert found.disk == pytest.approx((tmp_path / "flow.nc").stat().st_size, rel=0.3)
    assert found.models == 1
    assert found.blocks == 6
    assert found.total_seconds == pytest.approx(sum(found.seconds.values()))
    assert set(json.loads(found.to_json())) >= {"seconds", "memory", "disk", "total_seconds", "peak_bytes"}


def test_another_machine_counts_flops_and_bytes_and_shares_weights():
    ticks = itertools.count()
    options = {"tokens": 24, "prompts": 3, "nulls": 1, "diagnostics": "free_energy", "clock": lambda: next(ticks) * 1.0}
    slow = rg.plan("standard-small", **options, rates=Rates(flops=1e9, bandwidth=1e9))
    fast = rg.plan("standard-small", **options, rates=Rates(flops=1e12, bandwidth=1e12, parts=2), weight_bytes=2)
    assert slow.seconds["passes"] == pytest.approx(1000 * fast.seconds["passes"])
    assert slow.models == 3  # shuffled tokens are one more
    assert fast.memory["weights"] == slow.memory["weights"] / 4
    with pytest.raises(OptionError, match="flops"):
        Rates(flops=0.0, bandwidth=1.0)


def test_passes_of_their_own_are_counted():
    found = rg.plan("standard-small", tokens=16, prompts=2, nulls=0, diagnostics="free_energy,lyapunov")
    assert found.seconds["passes of their own"] > 0
    assert rg.plan("standard-small", tokens=16, prompts=2, nulls=0, diagnostics="free_energy").seconds[
        "passes of their own"
    ] == 0  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [("tokens", 0), ("prompts", 0), ("nulls", -1), ("tokens", 100_000)])
def test_what_cannot_be_run_cannot_be_planned(name, value):
    with pytest.raises(OptionError, match=name):
        rg.plan("standard-small", **{"tokens": 8, "prompts": 1, name: value})
