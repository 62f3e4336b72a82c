"""Peak memory of a plain forward pass and of a run, each in a process of its own, loading included.

The peak is that of resident memory (VmHWM), which belongs to the program from its start: libraries, weights, and what was
computed. `getrusage` would count what the parent had in memory when it started the process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from rgprobe.errors import EnvironmentFault

__all__ = ["resident_peak"]


def resident_peak(what: str, source: Path, tokens: int, *, seed: int = 0) -> int:
    """Bytes resident at most while a fresh process does this once, on one thread.

    Args:
        what: "forward", "run" or "attention", as in `rgprobe.benchmarks.run_cost`.
        source: directory of a checkpoint.
        tokens: of its only prompt.
        seed: of the prompt.

    Raises:
        EnvironmentFault: the process died, or this system does not say what a process holds.
    """
    command = [sys.executable, "-m", __name__, json.dumps([what, str(source), tokens, seed])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return int(done.stdout.split()[-1])
    except (IndexError, ValueError) as error:
        said = done.stderr.strip().splitlines()
        raise EnvironmentFault(
            f"peak memory of {what}", expected="a process that measures it",
            received=said[-1] if said else f"status {done.returncode}", remedy="free memory, or use --quick",
        ) from error  # fmt: skip


def _measure(what: str, source: str, tokens: int, seed: int) -> None:
    import torch

    torch.set_num_threads(1)
    if what == "forward":
        from rgprobe.probe.plain import plain_forward

        forward, vocabulary = plain_forward(Path(source))
        forward(torch.randint(vocabulary // 2, vocabulary, (tokens,), generator=torch.Generator().manual_seed(seed)))
    else:
        from rgprobe.benchmarks.run_ways import prepared

        prepared(Path(source), [what])[what]([tokens], seed)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    sys.stdout.write(f"{1024 * int(status['VmHWM'].split()[0])}\n")


if __name__ == "__main__":
    _measure(*json.loads(sys.argv[1]))
