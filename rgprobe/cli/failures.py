"""What a failure becomes on the command line: one line that a terminal can show, and an exit status."""

from __future__ import annotations

from rgprobe.errors import RGProbeError, is_out_of_memory

__all__ = ["EXIT_INTERRUPTED", "StoppedError", "exit_code", "failure_line", "printable"]

EXIT_BUG, EXIT_INPUT, EXIT_ENVIRONMENT, EXIT_INTERRUPTED = 1, 2, 3, 130


class StoppedError(Exception):
    """Interrupted where part of the work is kept; the text says what becomes of it."""


def exit_code(error: BaseException) -> int:
    """Exit status of a failure.

    Example:
        >>> exit_code(OSError(28, "No space left on device")), exit_code(MemoryError()), exit_code(KeyboardInterrupt())
        (3, 3, 130)
    """
    if isinstance(error, RGProbeError):
        return error.exit_code
    if isinstance(error, StoppedError):
        return EXIT_INTERRUPTED
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    if _is_usage(error):
        return EXIT_INPUT
    return EXIT_ENVIRONMENT if isinstance(error, OSError) or is_out_of_memory(error) else EXIT_BUG


def failure_line(error: BaseException) -> str:
    r"""One printable line: what was at fault and what to do; empty where everything was said already.

    Example:
        >>> failure_line(OSError(28, "No space left on device", "out\x1b[2J.nc"))
        'out\\x1b[2J.nc: No space left on device; free space, or choose another --out'
    """
    if isinstance(error, RGProbeError | StoppedError):
        return printable(str(error))
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; nothing was written, earlier results are as they were"
    if _is_usage(error):
        message = error.format_message()  # type: ignore[attr-defined]
        return printable(f"{message.rstrip('.')}; see rgprobe --help") if message else ""
    if is_out_of_memory(error):
        detail = f" ({_first_line(error)})" if str(error) else ""
        return printable(f"out of memory{detail}; use fewer or shorter prompts, fewer --positions or a smaller --dtype")
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return printable(f"{where}{error.strerror or _first_line(error)}; free space, or choose another --out")
    return printable(f"{type(error).__name__}: {_first_line(error)}; this is a bug, --debug shows where")


def printable(text: str) -> str:
    r"""One line without characters that steer a terminal: they are written as escapes, line breaks as spaces.

    Example:
        >>> printable("a\nb\x1b[31m \u202e\ud800")
        'a b\\x1b[31m \\u202e\\ud800'
    """
    line = " ".join(text.splitlines())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)


def _is_usage(error: BaseException) -> bool:
    """An error of the option parser, whose class typer has moved between versions."""
    return hasattr(error, "format_message")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
