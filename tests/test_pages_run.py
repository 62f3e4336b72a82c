"""Pages whose code is run: every Python block and command, in order, in an empty folder; what is printed is what they say."""

import os
import re
import shlex
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: everything here is on disk

import pytest

from rgprobe.cli import main

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("tutorial", "how-to-read-a-flow", "interoperation", "command-line")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = ("python", "console")


def run_python(code, names):
    exec(compile(code, "<page>", "exec"), names)


def run_commands(lines):
    commands = [line[2:] for line in lines.splitlines() if line.startswith("$ ")]
    assert commands, "a console block without a command"
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "rgprobe"
        assert main(arguments) == 0, command


def plain(text):
    """Lines without the white space at their ends, which editors take away."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_the_page_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    blocks, names, printed = FENCE.findall((DOCS / f"{page}.md").read_text("utf-8")), {}, ""
    assert any(kind in RUN for kind, _ in blocks)
    for index, (kind, body) in enumerate(blocks):
        if kind in RUN:
            run_python(body, names) if kind == "python" else run_commands(body)
            printed = capsys.readouterr().out
        elif index and blocks[index - 1][0] in RUN:
            assert plain(body) in plain(printed)
