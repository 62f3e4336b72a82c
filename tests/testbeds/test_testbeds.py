"""Every system of the package has a sample and an exact answer, and is listed in the package's table."""

import inspect
from pathlib import Path

import pytest

from rgprobe import testbeds

HELPERS = {"options", "hierarchy_posterior", "hierarchy_language", "varied_posterior"}


def test_the_table_lists_every_module():
    folder = Path(testbeds.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"} - HELPERS
    assert set(testbeds.__all__) == modules
    for name in modules:
        assert f"`{name}`" in testbeds.__doc__


@pytest.mark.parametrize("name", testbeds.__all__)
def test_every_system_can_be_sampled_and_solved(name):
    module = getattr(testbeds, name)
    assert {"sample", "exact"} <= set(module.__all__)
    # equal seeds, equal samples: every random system takes one
    deterministic = {"migdal_kadanoff"}
    assert ("seed" in inspect.signature(module.sample).parameters) is (name not in deterministic)


def test_an_unknown_system_is_named():
    with pytest.raises(AttributeError, match="nonesuch"):
        testbeds.nonesuch  # noqa: B018
