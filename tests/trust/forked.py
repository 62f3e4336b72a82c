"""Commands in forks of this process, which has everything loaded: killed, starved of disk, run in pairs."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
WRITES = (
    "open",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.chmod",
    "shutil.rmtree",
    "tempfile.mkstemp",
    "tempfile.mkdtemp",
)


@dataclass
class Ended:
    """How a fork ended: exit status (negative: the signal), what it wrote to standard error, CPU seconds."""

    code: int
    err: str
    cpu: float


class Fork:
    """`call()` in a fork, its result as exit status; `before` runs first in there."""

    def __init__(self, call, *, before=None):
        self.errors = Path(tempfile.mkstemp(suffix=".err")[1])
        self.pid = os.fork()
        if self.pid == 0:
            self._run(call, before)

    def _run(self, call, before):
        sink = os.open(self.errors, os.O_WRONLY | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(sink, 2)
        sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", closefd=False) for descriptor in (1, 2))
        code = 99
        try:
            if before is not None:
                before()
            code = call() or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def kill_at(self, seconds):
        """SIGKILL once the fork has used so much CPU time; no more often than it ends by itself."""
        while os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            left = seconds - self.cpu()
            if left <= 0:
                os.kill(self.pid, signal.SIGKILL)
                break
            time.sleep(max(0.001, left))  # one thread uses no more CPU time than passes
        return self

    def cpu(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def ended(self):
        _, status, usage = os.wait4(self.pid, 0)
        text = self.errors.read_text()
        self.errors.unlink()
        return Ended(os.waitstatus_to_exitcode(status), text, usage.ru_utime + usage.ru_stime)


def at_change(number, act, *, below):
    """Do `act` at the n-th change of files below a folder; returns what a fork does first."""

    def install():
        count = 0

        def hook(event, arguments):
            nonlocal count
            if event not in WRITES or not arguments or isinstance(arguments[0], int):
                return
            if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
            if str(below) in os.fsdecode(arguments[0]):
                count += 1
                if count == number:
                    act()

        sys.addaudithook(hook)

    return install


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def contents(directory):
    """Bytes of every file below a folder, by relative name; what is being written, apart."""
    found, unfinished = {}, []
    for path in sorted(Path(directory).rglob("*")):
        name = str(path.relative_to(directory))
        if ".rgprobe-unfinished-" in name or name.endswith((".part", ".lock")):
            unfinished.append(name)
        elif path.is_file():
            found[name] = path.read_bytes()
    return found, unfinished
