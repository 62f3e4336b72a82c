"""Commands run one after the other in a process whose audit hook sees what they do: `run_audited` here, the process below."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

ROOT = Path(__file__).parents[2]
STARTS = (
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "os.fork",
    "os.forkpty",
    "subprocess.Popen",
    "pty.spawn",
)
CHANGES = (
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def run_audited(cases, *, scratch, warm_up=(), shipped=None, seconds=6000):
    """Run `cases`, each a dictionary with "arguments" and "writes" (folders that may be written into).

    Args:
        cases: "name", "arguments", "writes".
        scratch: a folder for messages between the processes.
        warm_up: commands run first, unwatched, so that what is imported once is not counted.
        shipped: a folder with a manifest to stand for the shipped checkpoints.
        seconds: limit for all of them.

    Returns:
        The cases with "code", "out", "err", "events" (of the audit hook) and "mebibytes" (resident memory above that before).
    """
    job, answer = scratch / "job.json", scratch / "answer.json"
    job.write_text(json.dumps({"cases": cases, "warm_up": list(warm_up), "shipped": shipped}))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, __file__, job, answer], cwd=ROOT, env=environment, check=True, timeout=seconds,
                   stdin=subprocess.DEVNULL)  # fmt: skip
    return json.loads(answer.read_text())


class Watch:
    """An audit hook that can be switched on; it cannot be removed."""

    def __init__(self):
        self.events, self.allowed, self.on = [], (), False

    def __call__(self, event, arguments):
        if not self.on or self._harmless(event, arguments):
            return
        self.on = False  # what describes an event may raise events of its own
        self.events.append(f"{event} {arguments!r:.200}")
        self.on = True

    def _harmless(self, event, arguments):
        if event == "open":
            path, _, flags = arguments
            return not (flags or 0) & WRITING or self._is_inside(path)
        if event in CHANGES:
            return all(self._is_inside(path) for path in arguments[: 2 if event in ("os.rename", "os.link") else 1])
        return not event.startswith((*STARTS, "socket.", "pickle.find_class", "webbrowser"))

    def _is_inside(self, path):
        if isinstance(path, int) or path is None:
            return True  # a descriptor that was opened before, which its own event has told
        place = os.path.abspath(os.fsdecode(path))
        return place == os.devnull or any(place == root or place.startswith(f"{root}{os.sep}") for root in self.allowed)


def _serve(job, answer):
    import torch

    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT))
    import rgprobe.models.shipped
    import rgprobe.report
    from rgprobe.cli import main

    # drawing takes most of the time of a run, and has tests of its own
    rgprobe.report.write_report = lambda flows, path, **_: path.write_text("a page")
    request = json.loads(Path(job).read_text())
    if request["shipped"]:
        rgprobe.models.shipped._ROOT = Path(request["shipped"])
    watch = Watch()
    sys.addaudithook(watch)
    for arguments in request["warm_up"]:
        if _call(main, arguments)["code"]:
            raise SystemExit(f"{arguments} failed without any damage: {_call(main, arguments)}")
    done = []
    for case in request["cases"]:
        before = _memory(reset=True)
        watch.events, watch.allowed, watch.on = [], tuple(os.path.abspath(place) for place in case["writes"]), True
        outcome = _call(main, case["arguments"])
        watch.on = False
        peak = _memory(reset=False)
        done.append({**case, **outcome, "events": watch.events, "mebibytes": max(0, peak - before)})
    Path(answer).write_text(json.dumps(done))


def _call(main, arguments):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"
    return {"code": code, "out": out.getvalue()[-2000:], "err": err.getvalue()[-20_000:]}


def _memory(*, reset):
    """Resident memory in MiB: now, after which the peak is forgotten, or the peak since."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    wanted = "VmRSS:" if reset else "VmHWM:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(wanted))


if __name__ == "__main__":
    _serve(*sys.argv[1:])
