import pytest

from rgprobe.cli.failures import exit_code, failure_line, printable
from rgprobe.errors import CheckpointError, EnvironmentFault, NumericalRefusal


class OutOfMemoryError(RuntimeError):
    """As torch.cuda names its own."""


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (CheckpointError("w", expected="a", received="b", remedy="c"), 2, "w: expected a, received b; c"),
        (EnvironmentFault("w", expected="a", received="b", remedy="c"), 3, "w: expected a"),
        (NumericalRefusal("w", expected="a", received="b", remedy="c"), 4, "w: expected a"),
        (MemoryError(), 3, "out of memory;"),
        (OutOfMemoryError("CUDA out of memory.\nTried to allocate"), 3, "CUDA out of memory."),
        (PermissionError(13, "Permission denied", "/out"), 3, "/out: Permission denied"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("odd\nlines"), 1, "RuntimeError: odd; this is a bug"),
    ],
)
def test_every_failure_has_a_status_and_a_line(error, code, words):
    assert exit_code(error) == code
    assert words in failure_line(error)
    assert failure_line(error).isprintable()


def test_printable_keeps_text_and_escapes_what_steers_a_terminal():
    assert printable("naïve θ 漢字 'x'") == "naïve θ 漢字 'x'"
    assert printable("a\r\nb\x07\u2028c\u2066\x9b") == "a b\\x07 c\\u2066\\x9b"
