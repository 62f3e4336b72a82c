"""`--full` for the sizes that docs/trust.md reports; what every suite counted is printed at the end, and kept by `--record`."""

import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: nothing here is fetched

import pytest

COUNTS = {}  # name of a count: (the test that made it, the numbers)


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="full sizes of the trust suites (many minutes)")
    parser.addoption("--record", type=Path, help="JSON file whose counts those of tests that passed replace")


def pytest_terminal_summary(terminalreporter, config):
    passed = {report.nodeid for report in terminalreporter.stats.get("passed", ())}
    counted = {name: numbers for name, (test, numbers) in COUNTS.items() if test in passed}
    if COUNTS:
        terminalreporter.section("trust")
    for name, numbers in counted.items():
        terminalreporter.write_line(f"{name}: {json.dumps(numbers)}")
    for name in COUNTS.keys() - counted.keys():
        terminalreporter.write_line(f"{name}: the test failed")
    record = config.getoption("--record", default=None)
    if record is not None:
        keep(record, {name: {**numbers, "full": config.getoption("--full")} for name, numbers in counted.items()})


def keep(record, counted):
    """Put counts into a file, beside those that are there."""
    known = json.loads(record.read_text("utf-8")) if record.exists() else {}
    record.write_text(json.dumps({**known, **counted}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def full(pytestconfig):
    """Whether this is the full size."""
    return pytestconfig.getoption("--full", default=False)


@pytest.fixture
def tally(request):
    """Report counts of a test; they stand in pytest's summary if it passes."""

    def report(name, **counts):
        COUNTS[name] = request.node.nodeid, counts

    return report


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """Tiny checkpoints by family, to be copied before they are damaged."""
    from tiny_checkpoints import build

    return build(tmp_path_factory.mktemp("sources"))
