"""A local worker process: `python -m rgprobe.sweeping.worker FD` receives items and sends back what became of them.

It is started by a command, not by multiprocessing, so that scripts and notebooks need no `if __name__ == "__main__"`; its
standard input and output stay free of messages, so that nothing that a library prints can break them.
"""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

__all__ = ["serve"]


def serve(descriptor: int) -> None:
    """Work until the other end is closed: by a sweep that has ended, or one that was killed."""
    with Connection(descriptor) as channel:
        try:
            sys.path[:] = channel.recv()
            work = channel.recv()
            channel.send("ready")
            while True:
                item = channel.recv()
                channel.send(work(item))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


if __name__ == "__main__":
    serve(int(sys.argv[1]))
