"""Notebooks are run as tests where nbmake is installed; elsewhere they are left alone."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Collect the notebooks of this folder without the option on the command line."""
    if config.pluginmanager.hasplugin("nbmake"):
        config.option.nbmake = True
