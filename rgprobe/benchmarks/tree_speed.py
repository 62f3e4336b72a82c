"""How long condensation trees take, in units of SciPy's average linkage of as many points: a record, its JSON, its table."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from scipy.cluster.hierarchy import linkage
from threadpoolctl import threadpool_limits

from rgprobe.benchmarks.growth import growth
from rgprobe.benchmarks.tree_inputs import CASES, Beliefs, TreeCase, distances, sample
from rgprobe.condensation import condense
from rgprobe.models.bench.saved import read_record, written_record
from rgprobe.models.bench.table import Table
from rgprobe.threads import torch_threads

__all__ = ["TreeOptions", "TreeResult", "TreeTiming", "measure_trees", "tree_table"]

SCHEMA, SCHEMA_VERSION = "rgprobe.tree-speed", 1


@dataclass(frozen=True)
class TreeOptions:
    """What is measured.

    Args:
        sizes: numbers of tokens, ascending.
        repeats: timed calls per size.
        seed: of random beliefs, and of which tokens are drawn.
    """

    sizes: tuple[int, ...] = (256, 512, 1024, 2048, 4096)
    repeats: int = 3
    seed: int = 0

    @classmethod
    def quick(cls, seed: int = 0) -> TreeOptions:
        """Small sizes, once each."""
        return cls((128, 256, 512), 1, seed)


@dataclass(frozen=True)
class TreeTiming:
    """One case at one size: medians of process CPU seconds.

    Args:
        case: its short name.
        tokens: N.
        tree: seconds of `condense`.
        linkage: seconds of SciPy's average linkage of N points, before and after each tree.
    """

    case: str
    tokens: int
    tree: float
    linkage: float

    @property
    def ratio(self) -> float:
        """Tree over linkage."""
        return self.tree / self.linkage


@dataclass(frozen=True)
class TreeResult:
    """Everything that one run measured.

    Attributes:
        titles: of the cases, by name.
        timings: by case, then by size.
        options: as given.
        versions: of what ran.
    """

    titles: Mapping[str, str]
    timings: tuple[TreeTiming, ...]
    options: Mapping[str, Any]
    versions: Mapping[str, str]

    def of(self, case: str) -> tuple[TreeTiming, ...]:
        """Timings of one case, by size."""
        return tuple(timing for timing in self.timings if timing.case == case)

    def exponent(self, case: str) -> float:
        """Least-squares slope of log seconds of the tree against log N, NaN for a single size."""
        line = self.of(case)
        return growth([t.tokens for t in line], [t.tree for t in line]).exponent

    def to_json(self) -> str:
        """JSON text."""
        return written_record(self, SCHEMA, SCHEMA_VERSION)

    @classmethod
    def from_json(cls, text: str) -> TreeResult:
        """What `to_json` wrote; `BadInput` for anything else."""
        return read_record(text, SCHEMA, SCHEMA_VERSION, command="rgprobe bench tree", build=cls._built)

    @classmethod
    def _built(cls, record: Mapping[str, Any]) -> TreeResult:
        timings = tuple(TreeTiming(**timing) for timing in record["timings"])
        return cls(record["titles"], timings, record["options"], record["versions"])


def measure_trees(
    options: TreeOptions,
    *,
    cases: Sequence[TreeCase] = CASES,
    on_progress: Callable[[int, int, str], None] = lambda done, of, what: None,
) -> TreeResult:
    """Condense every case at every size on one thread; a tree and a linkage take turns, so that both meet the same machine.

    Args:
        options: sizes, repeats and seed.
        cases: what to condense.
        on_progress: called with trees done, trees in all, and the name of the next case.
    """
    plan = [(case, n) for case in cases for n in options.sizes if n <= case.largest]
    timings = []
    with torch_threads(1), threadpool_limits(1):
        for done, (case, n) in enumerate(plan):
            on_progress(done, len(plan), f"{case.name}, {n:,} tokens")
            beliefs = sample(case.beliefs(options.seed), n, options.seed)
            timings.append(_timed(case, beliefs, n, options.repeats))
    on_progress(len(plan), len(plan), "done")
    versions = {name: version(name) for name in ("numpy", "scipy")} | {"machine": platform.machine()}
    return TreeResult({case.name: case.title for case in cases}, tuple(timings), asdict(options), versions)


def _timed(case: TreeCase, beliefs: Beliefs, n: int, repeats: int) -> TreeTiming:
    points = distances(beliefs)
    trees, linkages = [], [_seconds(lambda: linkage(points, "average"))]
    for _ in range(repeats):
        trees.append(_seconds(lambda: condense(beliefs, centroid=case.centroid)))
        linkages.append(_seconds(lambda: linkage(points, "average")))
    return TreeTiming(case.name, n, statistics.median(trees), statistics.median(linkages))


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def tree_table(result: TreeResult) -> Table:
    """Ratio to linkage at each size, and the exponent of growth in N."""
    sizes = sorted({timing.tokens for timing in result.timings})
    rows = []
    for case in result.titles:
        ratios = {timing.tokens: f"{timing.ratio:.3g}" for timing in result.of(case)}
        rows.append((case, *(ratios.get(n, "-") for n in sizes), f"{result.exponent(case):.2f}"))
    caption = "CPU time of a tree over that of SciPy's average linkage of as many points, by tokens, and the exponent of growth"
    return Table(caption, ("case", *(f"{n:,}" for n in sizes), "exponent"), tuple(rows))
