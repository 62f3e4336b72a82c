"""`--full` for the sizes that docs/trust.md reports; what every suite counted is printed at the end."""

import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: nothing here is fetched

import pytest

COUNTS = []


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="full sizes of the trust suites (many minutes)")


def pytest_terminal_summary(terminalreporter):
    if COUNTS:
        terminalreporter.section("trust")
        for name, counts in COUNTS:
            terminalreporter.write_line(f"{name}: {json.dumps(counts)}")


@pytest.fixture(scope="session")
def full(pytestconfig):
    """Whether this is the full size."""
    return pytestconfig.getoption("--full", default=False)


@pytest.fixture(scope="session")
def tally():
    """Report counts of a suite in pytest's summary."""

    def report(name, **counts):
        COUNTS.append((name, counts))

    return report


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """Tiny checkpoints by family, to be copied before they are damaged."""
    from tiny_checkpoints import build

    return build(tmp_path_factory.mktemp("sources"))
