"""What torch allocates beyond a model while it is trained, run and measured, in a process of its own.

On the CPU allocations are recorded by torch's profiler (see `rgprobe.models.bench.memory`), on CUDA counted by its caching
allocator. The resident memory of a process would say nothing here: models of seven megabytes drown in their libraries.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

import torch

from rgprobe.benchmarks.pair_ways import Work, pair_calls
from rgprobe.errors import EnvironmentFault
from rgprobe.models.bench.memory import peak_bytes

__all__ = ["allocated_peaks"]


def allocated_peaks(source: str, work: Work) -> dict[str, int]:
    """Bytes allocated at most, beyond what was before a call, by way; arguments as those of `pair_calls`.

    Raises:
        EnvironmentFault: the process died.
    """
    command = [sys.executable, "-m", __name__, source, json.dumps(asdict(work))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return {way: int(peak) for way, peak in json.loads(done.stdout.splitlines()[-1]).items()}
    except (IndexError, ValueError, AttributeError) as error:
        said = done.stderr.strip().splitlines()
        raise EnvironmentFault(
            f"memory of {source}", expected="a process that measures it",
            received=said[-1] if said else f"status {done.returncode}", remedy="free memory, or use --quick",
        ) from error  # fmt: skip


def _measure(source: str, asked: str) -> None:
    torch.set_num_threads(1)
    work = Work(**json.loads(asked))
    found = {way: peak_bytes(call, device=work.device) for way, call in pair_calls(source, work).items()}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    _measure(*sys.argv[1:])
