"""`docs/benchmarks.md` is written from saved results. To write it again, with others or the same:

rgprobe bench attention --out DIR && python tests/test_benchmarks_page.py DIR
rgprobe bench tree --out DIR && python tests/test_benchmarks_page.py DIR
python tests/test_benchmarks_page.py
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rgprobe.benchmarks.tree_inputs import CASES
from rgprobe.benchmarks.tree_speed import TreeOptions, TreeResult, tree_table
from rgprobe.models.bench.options import LadderOptions
from rgprobe.models.bench.result import LadderResult
from rgprobe.models.bench.rungs import LADDER
from rgprobe.models.bench.table import tables

DOCS = Path(__file__).parents[1] / "docs"
PAGE, RECORD, FIGURE = DOCS / "benchmarks.md", DOCS / "attention-ladder.json", DOCS / "images" / "attention-ladder.svg"
TREES = DOCS / "tree-speed.json"

HEADER = """# Benchmarks

Written from `attention-ladder.json` and `tree-speed.json` by `python tests/test_benchmarks_page.py`; a test fails when page
and files differ.

## The attention ladder

`rgprobe bench attention [--out DIR] [--quick]` measures ways to compute

    beta_ij = softmax_j(-KL(q_i || Omega_ij q_j) / tau)
    output_i = sum_j beta_ij Omega_ij v_j,   Omega_ij = exp(phi_i) exp(-phi_j)

over Gaussian beliefs with full covariance, causal, one head. It writes `DIR/attention-ladder.json` and a figure (SVG, PDF,
PNG). Everything here is a ratio: absolute times are in the JSON file, and belong to the machine that measured them.
"""

MEASURED = """
### How it is measured

- **Time.** One process, one torch thread, float32. At each size all methods take turns, one call per round, so that
  a machine that slows down slows all of them; medians of process CPU time over the rounds, after one warm-up call. A call
  under 10 ms is repeated within its round. Inputs are mean, covariance, phi and values, and the time includes the
  exponentials, except for `frames-given` and `parts`, which are given the group elements, as is a layer that shares frames
  with others. Forward is without a graph; forward with backward ends in gradients to all inputs.
- **What is left out.** A method that is predicted, from its smaller sizes, to need more than BUDGET CPU seconds for one call
  is left out, and the JSON file says so with the prediction. Slow methods are called less often, those over PATIENCE s once;
  the JSON file has the number of calls.
- **Memory.** Largest sum of bytes that torch's allocator holds at once, beyond the inputs, counted by its profiler in
  a process of its own: exact to the byte at every size, where resident memory moves in megabytes. What the
  matrix-product library takes for itself is not in it.
- **Error.** Largest absolute difference of an attention weight from float64, transported pair by pair from the same float32
  numbers, over 64 evenly spaced queries (all at N up to 64).
- **Growth.** Least-squares slope of log amount against log size, over all sizes measured on the line. Small sizes are mostly
  overhead, so the exponents lie below the asymptotic ones.
- **Beliefs.** In the common frame means are N(0, 1) and covariances Wishart with 2 K samples, so that they are comparable
  there, as in a trained model. Random frames exp(phi) carry them to their tokens: phi is a skew part with entries of variance
  1 / (2 K), plus a strain that bounds the condition number by c, log-uniform in [1, 100]. kappa = 4 keeps rows spread over
  many keys.

The pairwise methods are as fast as was found possible with torch in that formulation: one matrix product per key serves all
queries of a chunk, keys after the last query of a chunk are never touched, inverses have a backward of two products, and the
diagonal projection never forms Omega_ij. Chunks bound their memory; held at once, the pairs would take several times
4 N^2 K^2 bytes. Their backward runs chunk by chunk on a given upstream gradient, which spares them the second forward
that a network would need.
"""

TREES_SECTION = """## Condensation trees

`rgprobe bench tree [--out DIR] [--quick]` times `rgprobe.condense` of N beliefs, any pair allowed, against
`scipy.cluster.hierarchy.linkage(..., "average")` of N points, and writes `DIR/tree-speed.json`. Linkage is given its
distances; a tree evaluates its costs itself, and those of every cluster that it makes.

- **Time.** One process, one thread, process CPU time; a linkage before and after every tree; medians of three.
- **The tree is exact.** A pair is evaluated only if a lower bound of its cost is below the least cost found so far (rounded
  up, so that evaluations come in batches): the squared Hellinger distance for categorical beliefs, one matrix product;
  marginals in 4, then 8 directions for Gaussian ones. Tests hold the result to that of evaluating every pair.
- **Where it is slow.** The bounds spare nothing where all pairs cost nearly the same, which the random cases are made
  for: no groups, no near neighbours. They stop at 2,048. At 4,096 tokens 20 times the linkage was aimed at:
  lens beliefs take 9, native ones 13 to 17 (beside one other process).
- **Memory.** 9 N^2 bytes for costs, 20 N V for categorical beliefs (three copies: rows, masses, square roots).
"""

CAPTION = """\
*a: forward time against the number of tokens. b: largest error of a weight against forward time at one size; the line is the
Pareto frontier. Dashed lines and hollow points are approximations.*
"""


def page() -> str:
    result = LadderResult.from_json(RECORD.read_text("utf-8"))
    rungs = "\n".join(f"| `{m.name}` | {m.title} | {_claim(m.exact)} |" for m in result.methods)
    options, versions = result.options, result.versions
    made = (
        f"### Result\n\nMade by `rgprobe bench attention{_effort(options)}`: "
        f"torch {versions['torch']}, {versions['processor']}, {versions['threads']} thread, seed {options['seed']}, "
        f"at most {options['rounds']} rounds."
    )
    measured = MEASURED.replace("BUDGET", f"{options['budget']:g}").replace("PATIENCE", f"{options['patience']:g}")
    parts = [
        HEADER,
        f"| method | what it is | weights |\n|---|---|---|\n{rungs}\n{measured}",
        made,
        "![Time against tokens, and error against time](images/attention-ladder.svg)",
        CAPTION,
        *(table.as_markdown() for table in tables(result)),
        *tree_parts(TreeResult.from_json(TREES.read_text("utf-8"))),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def tree_parts(result: TreeResult) -> list[str]:
    cases = "\n".join(f"| `{name}` | {title} |" for name, title in result.titles.items())
    effort = " --quick" if list(result.options["sizes"]) == list(TreeOptions.quick().sizes) else ""
    made = ", ".join(f"{name} {number}" for name, number in result.versions.items())
    return [
        TREES_SECTION,
        f"| case | beliefs |\n|---|---|\n{cases}",
        f"Made by `rgprobe bench tree{effort}`: {made}, seed {result.options['seed']}.",
        tree_table(result).as_markdown(),
    ]


def _effort(options: Mapping[str, Any]) -> str:
    quick = [list(point) for point in LadderOptions.quick().points]
    return " --quick" if [list(point) for point in options["points"]] == quick else ""


def _claim(exact: bool | None) -> str:
    return {True: "exact", False: "approximate", None: "of something else"}[exact]


def test_the_page_is_what_the_result_says():
    assert PAGE.read_text("utf-8") == page(), "run python tests/test_benchmarks_page.py"


def test_the_result_has_todays_methods_and_no_paths():
    text = RECORD.read_text("utf-8")
    result = LadderResult.from_json(text)
    assert [(m.name, m.title, m.exact) for m in result.methods] == [
        (r.name, r.claim.title, r.claim.exact) for r in LADDER
    ]
    assert "/home" not in text
    assert "/tmp" not in text


def test_the_trees_are_todays_cases():
    text = TREES.read_text("utf-8")
    assert TreeResult.from_json(text).titles == {case.name: case.title for case in CASES}
    assert "/home" not in text
    assert "/tmp" not in text


def test_the_figure_is_there():
    assert "</svg>" in FIGURE.read_text("utf-8")


def test_the_figure_is_the_one_for_papers():
    assert FIGURE.read_bytes() == (DOCS.parent / "figures" / "attention" / FIGURE.name).read_bytes()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        for target in (RECORD, FIGURE, TREES):
            if (made := Path(sys.argv[1]) / target.name).exists():
                shutil.copyfile(made, target)
    PAGE.write_text(page(), "utf-8")
