"""Peak memory of the rungs, in a process of its own.

Bytes are counted by torch's profiler, which sees every allocation of torch's CPU allocator: outputs, graphs, and the
workspaces of its LAPACK calls and fused kernels. The largest sum that is alive at once, from the start of a call, is what
the call takes beyond its inputs. Alternatives were passed over: `tracemalloc` and `sys.getsizeof` see no tensor; the peak
of resident memory (VmHWM) moves in steps of megabytes with what the allocator happens to keep, cannot be reset between
methods, and would drown the kilobytes of a fused kernel at N = 64 in the 300 MB of an imported torch. What the profiler
does not see is memory that the matrix-product library takes for itself: a few megabytes once per thread, the same for all.

The process is another one because the profiler writes to standard error, and because what it records slows calls down.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import IO

import torch
from torch.autograd.profiler import profile

from rgprobe.errors import EnvironmentFault
from rgprobe.models.bench.options import LadderOptions
from rgprobe.models.bench.problem import draw_problem
from rgprobe.models.bench.rungs import rung

__all__ = ["Request", "measure_apart", "peak_bytes"]

# method, tokens, dim, "forward" or "both"
Request = tuple[str, int, int, str]


def peak_bytes(call: Callable[[], object], *, device: str = "cpu") -> int:
    """Largest number of bytes that torch has allocated at once on a device since the call began, after one that warms up.

    The result of the call counts: it is alive when the call ends.

    Example:
        >>> peak_bytes(lambda: torch.ones(1000) + torch.ones(1000))  # doctest: +SKIP
        12000
    """
    call()
    if device.startswith("cuda"):
        return _peak_on_cuda(call, device)
    with profile(use_cpu=True, profile_memory=True) as record:
        result = call()
    del result
    changes = [(e.start_ns(), e.nbytes()) for e in record.kineto_results.events() if e.name() == "[memory]"]
    alive = peak = 0
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        alive += change
        peak = max(peak, alive)
    return peak


def _peak_on_cuda(call: Callable[[], object], device: str) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def measure_apart(
    requests: Sequence[Request], options: LadderOptions, *, on_done: Callable[[Request], None] = lambda request: None
) -> dict[Request, int]:
    """Peak bytes of each method asked for, from a fresh process.

    Raises:
        EnvironmentFault: the process could not be started, or died.
    """
    found: dict[Request, int] = {}
    with _worker() as (process, stdin, stdout):
        stdin.write(json.dumps({"options": asdict(options), "requests": requests}))
        stdin.close()
        for request, line in zip(requests, stdout, strict=False):
            found[request] = int(line)
            on_done(request)
        process.wait()
    if len(found) < len(requests):
        raise EnvironmentFault(
            "memory of " + " ".join(map(str, requests[len(found)])),
            expected="a process that measures it",
            received=f"one that ended with status {process.returncode}",
            remedy="free memory, or use --quick",
        )
    return found


@contextmanager
def _worker() -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    """A fresh interpreter in this module, ended when the block ends; its standard error is thrown away."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        if process.stdin is None or process.stdout is None:
            raise EnvironmentFault(
                "memory", expected="pipes to a process", received="none", remedy="allow more open files"
            )
        yield process, process.stdin, process.stdout
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _serve(source: IO[str], sink: IO[str]) -> None:
    """Read requests, write one number per line."""
    asked = json.load(source)
    options = asked["options"]
    torch.set_num_threads(1)
    for name, n, k, direction in asked["requests"]:
        problem = draw_problem(
            n,
            k,
            seed=options["seed"],
            kappa=options["kappa"],
            window=options["window"],
            rank=max(1, k // options["rank_divisor"]),
        )
        method = rung(name)
        call = partial(method.forward if direction == "forward" else method.both, problem)
        sink.write(f"{peak_bytes(call)}\n")
        sink.flush()


if __name__ == "__main__":
    _serve(sys.stdin, sys.stdout)
