"""Made-up results of benchmarks, with known ratios and exponents."""

from rgprobe.benchmarks.pair_cost import PairModel, PairResult, PairTiming
from rgprobe.benchmarks.run_cost import RunOptions, RunPeak, RunResult, RunTiming
from rgprobe.benchmarks.sweep_overhead import PEER, SweepResult, SweepTiming


def runs():
    """Plain passes grow as N, attention as N^1.5, runs as N^2; prompts and blocks cost what they are."""
    cost = {"forward": lambda n: 1e-3 * n, "run": lambda n: 2e-3 * n**2 / 32, "attention": lambda n: 1e-3 * n**1.5}
    timings = [
        RunTiming("tokens", n, way, of(n), 1.1 * of(n), 3) for n in (32, 64, 128) for way, of in cost.items()
    ] + [
        RunTiming(axis, n, way, 0.5 * n, 0.5 * n, 3)
        for axis, sizes in (("prompts", (1, 2)), ("blocks", (4, 2)))
        for n in sizes
        for way in cost
    ]
    peaks = [RunPeak(n, way, 10**9 * (1 + (way == "run"))) for n in (32, 64, 128) for way in cost]
    options = {**vars(RunOptions.quick()), "shape": {}}
    return RunResult("made up", tuple(timings), tuple(peaks), options, {"torch": "2"})


def sweeps():
    """Twenty milliseconds an item in one process, whatever their number."""
    timings = [
        SweepTiming(way, n, each, each / 2)
        for n in (10, 20, 40)
        for way, each in (("one process", 0.02), ("2 workers", 0.01), (PEER, 0.005))
    ]
    return SweepResult(tuple(timings), {"items": [10, 20, 40], "workers": 2}, {"torch": "2"})


def pair():
    """The second model takes twice as long and three times the memory, and a run four and eight plain passes."""
    seconds = {"step float32": 1.0, "step bfloat16": 0.5, "forward": 1.0, "run": 4.0}
    timings = [
        PairTiming(source, way, k * each * (k if way == "run" else 1), 5.0, 3, (2 * k - 1) * 2**20)
        for k, source in ((1, "first"), (2, "second"))
        for way, each in seconds.items()
    ]
    models = (PairModel("first", 1000, (4.0,) * 6), PairModel("second", 1100, (3.9,) * 6))
    return PairResult(models, tuple(timings), {"batch": 8, "tokens": 256}, {"on": "nowhere"})
