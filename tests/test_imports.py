"""What an import costs: the light entrances must not pay for the heavy libraries. Each is asked in a fresh interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODELS = {"torch", "transformers", "transformer_lens"}
ARRAYS = {"numpy", "scipy", "sklearn", "pandas", "xarray", "h5netcdf", "h5py"}
DRAWING = {"plotly", "matplotlib"}


def loaded_by(code: str) -> set[str]:
    """Top-level modules in `sys.modules` after running some code."""
    report = "import sys; sys.stderr.write(' '.join(name for name in sys.modules if '.' not in name))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stderr.split())


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import rgprobe", MODELS | ARRAYS | DRAWING),
        ("import rgprobe; dir(rgprobe)", MODELS | ARRAYS | DRAWING),
        ("import rgprobe.errors, rgprobe.data, rgprobe.models.shipped", MODELS | ARRAYS | DRAWING),
        ("import rgprobe.storage", MODELS | DRAWING),
        ("import rgprobe.gaussian, rgprobe.categorical, rgprobe.condensation", (MODELS - {"torch"}) | DRAWING),
        ("from rgprobe.cli import main; main(['--help'])", MODELS | ARRAYS | DRAWING),
        ("from rgprobe.cli import main; main(['run', '--help'])", MODELS | ARRAYS | DRAWING),
        ("from rgprobe.cli import main; main(['train', '--help'])", MODELS | ARRAYS | DRAWING),
        ("from rgprobe.cli import main; main(['bench', '--help'])", MODELS | ARRAYS | DRAWING),
    ],
)
def test_heavy_libraries_are_not_imported(code, absent):
    assert loaded_by(code) & absent == set()


def test_the_probe_of_this_test_sees_an_import():
    assert {"numpy", "rgprobe"} <= loaded_by("import numpy, rgprobe")


def test_every_public_name_resolves():
    code = "import rgprobe\nfor name in rgprobe.__all__: getattr(rgprobe, name)"
    loaded = loaded_by(code)  # fails in the child where a name does not resolve
    assert "torch" in loaded
    assert "transformer_lens" not in loaded


def test_the_installed_command_and_the_module_are_one():
    shown = [
        subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
        for command in (
            [sys.executable, "-m", "rgprobe", "--help"],
            [Path(sys.executable).with_name("rgprobe"), "--help"],
        )
    ]
    assert "Usage: rgprobe" in shown[0]
    assert shown[0] == shown[1]
