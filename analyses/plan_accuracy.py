"""Does `rgprobe plan` say what a run then takes?

    python analyses/plan_accuracy.py [--source DIR ...] [--out DIR]

Runs that no rehearsal has made: more blocks, more prompts, longer prompts. Each is planned in one process, then made in another
one, on one thread; processor time of `rgprobe.run` (after a short run, so that libraries are loaded), the peak of resident
memory of its process, and the size of its file. `--source` adds a checkpoint at 512 tokens without nulls.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from artefacts import OUT_HELP, artefacts

# source, tokens, prompts, nulls
CASES = [("standard-small", 200, 8, 1), ("gauge-small", 128, 6, 1), ("standard-small", 64, 24, 3)]
PARTS = ("seconds", "memory", "disk")


def main() -> None:
    """Plan, run, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", nargs="*", default=[], metavar="DIR")
    parser.add_argument("--only", nargs="*", type=int, help="numbers of the cases; default: all")
    parser.add_argument("--work", choices=["plan", "run"], help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    if options.work:
        print(json.dumps({"plan": planned, "run": made}[options.work](*json.loads(options.case))))
        return
    cases = [*CASES, *((source, 512, 1, 0) for source in options.source)]
    with artefacts(options.out, "plan_accuracy") as keep:
        rows = []
        for number, case in enumerate(cases):
            if options.only is None or number in options.only:
                rows.append(compared(case))
                print("\n".join(table(rows[-1:])[0 if len(rows) == 1 else 2 :]), flush=True)
        keep(rows)


def compared(case: tuple[str, int, int, int]) -> dict[str, object]:
    """Both sides of one case."""
    name, tokens, prompts, nulls = case
    sides = {work: apart(work, case) for work in ("plan", "run")}
    return {"model": Path(name).name, "tokens": tokens, "prompts": prompts, "nulls": nulls, **sides}


def apart(work: str, case: tuple[str, int, int, int]) -> dict[str, float]:
    """One side, in a process of its own."""
    command = [sys.executable, __file__, "--work", work, "--case", json.dumps(case)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def planned(name: str, tokens: int, prompts: int, nulls: int) -> dict[str, float]:
    """What is predicted."""
    import torch

    import rgprobe as rg

    torch.set_num_threads(1)
    found = rg.plan(name, tokens=tokens, prompts=prompts, nulls=nulls, clock=time.process_time)
    return {"seconds": found.total_seconds, "memory": found.peak_bytes, "disk": found.disk, "parts": dict(found.seconds),
            "bytes": dict(found.memory)}  # fmt: skip


def made(name: str, tokens: int, prompts: int, nulls: int) -> dict[str, float]:
    """What it takes."""
    import torch

    import rgprobe as rg

    torch.set_num_threads(1)
    probe = rg.load(name, device="cpu")
    rg.run(probe, [torch.arange(16)], nulls=min(nulls, 1))
    ids = [
        torch.randint(probe.vocabulary, (tokens,), generator=torch.Generator().manual_seed(i)) for i in range(prompts)
    ]
    begun = time.process_time()
    flow = rg.run(probe, ids, nulls=nulls)
    seconds = time.process_time() - begun
    with tempfile.TemporaryDirectory() as folder:
        flow.save(Path(folder) / "flow.nc")
        disk = (Path(folder) / "flow.nc").stat().st_size
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"seconds": seconds, "memory": 1024 * int(status["VmHWM"].split()[0]), "disk": disk}


def table(rows: list[dict]) -> list[str]:
    """Predicted over measured."""
    lines = ["| model | tokens | prompts | nulls | time | memory | disk |", "|---|---:|---:|---:|---:|---:|---:|"]
    for row in rows:
        ratios = " | ".join(f"{row['plan'][part] / row['run'][part]:.2f}" for part in PARTS)
        lines.append(f"| {row['model']} | {row['tokens']} | {row['prompts']} | {row['nulls']} | {ratios} |")
    return lines


if __name__ == "__main__":
    main()
