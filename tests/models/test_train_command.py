import subprocess
import sys

import typer
from typer.testing import CliRunner

from rgprobe.models.train_command import train_command


def run(*arguments):
    app = typer.Typer()
    app.command()(train_command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_command_trains_and_reports_units(tmp_path, text_file):
    result = run(
        "--out", tmp_path / "run", "--corpus", text_file, "--steps", 2, "--batch", 2, "--context", 8,
        "--layers", 1, "--width", 8, "--heads", 2, "--vocabulary", 270,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "bits per character" in result.output
    assert (tmp_path / "run" / "training.json").exists()


def test_every_option_of_the_command_is_explained():
    result = run("--help")
    for option in ("family", "out", "corpus", "level", "steps", "batch", "context", "layers", "width", "heads"):
        assert f"--{option}" in result.output
    for option in ("vocabulary", "learning-rate", "seed", "resume", "checkpoints", "device"):
        assert f"--{option}" in result.output


def test_light_modules_import_no_torch():
    code = (
        "import sys, rgprobe.models.train_command, rgprobe.models.shipped, rgprobe.models.corpus, rgprobe.data;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'tokenizers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
