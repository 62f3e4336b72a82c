"""Mutation testing of a floor: small wrong changes of its code, each of which its own tests have to notice.

    python tests/trust/mutate.py gaussian --sample 60 --seed 0 --log gaussian.jsonl

A mutant is one changed operator, comparison, constant, condition or dropped statement. Every mutant runs in a fork of one
process that has the libraries loaded but nothing of rgprobe; its source is never written to the disk. The file of tests named
in FIRST runs before the others are even collected, since it notices most mutants. What is printed and logged: the mutants that
no test noticed, and the share of the others. Those of `equivalent_mutants.json` compute the same, and are not run; it says why.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import SourceFileLoader
from pathlib import Path

ROOT = Path(__file__).parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.json")  # name of a mutant: why it computes the same
LIMIT = 120  # CPU seconds for the tests of one mutant; a mutant that loops for ever counts as noticed
TESTS = {
    "gaussian": ("tests/gaussian", "tests/trust/test_trust_numbers.py", "rgprobe/gaussian"),
    "condensation": ("tests/condensation", "tests/trust/test_trust_trees.py", "rgprobe/condensation"),
}
# by which tests to begin, so that most mutants are noticed at once
FIRST = {
    "averaging": "test_averaging", "divergence": "test_divergence", "double_double": "test_double_double",
    "exponential": "test_exponential", "record": "test_record", "structures": "test_record", "transport": "test_transport",
    "validation": "test_averaging", "whitening": "test_transport", "agglomeration": "test_condensing",
    "agreement": "test_agreement", "beliefs": "test_condensing", "categorical_costs": "test_merge_costs",
    "condensing": "test_condensing", "gaussian_costs": "test_merge_costs", "newick": "test_tree", "parents": "test_tree",
    "partition": "test_partition", "reference": "test_merge_costs", "ties": "test_ties", "tree": "test_tree",
    "components": "test_components", "genealogy": "test_genealogy", "chance_agreement": "test_genealogy",
    "effective_tokens": "test_effective_tokens", "cost_table": "test_cost_table", "categorical_bounds": "test_cost_table",
    "gaussian/reference": "test_transport",
    "gaussian_bounds": "test_cost_table", "brackets": "test_brackets", "treebank": "test_treebank",
    "explorer": "test_explorer", "interaction_tree": "test_interaction_tree",
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
LIBRARIES = ("beartype", "hypothesis", "jaxtyping", "mpmath", "numpy", "pytest", "scipy.cluster.hierarchy", "scipy.linalg",
             "scipy.optimize", "scipy.special", "scipy.stats", "sklearn.metrics", "torch")  # fmt: skip
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One changed file.

    Attributes:
        path: of the file, from the root.
        line: where.
        change: what, in words.
        source: the whole changed source.
        text: the line before the change.
        place: which of the places in that line that can be changed so, from 1.
    """

    path: str
    line: int
    change: str
    source: str
    text: str = ""
    place: int = 1

    @property
    def name(self) -> str:
        """By which it is known for as long as its line stands, wherever in the file."""
        which = "" if self.place == 1 else f" ({self.place})"
        return f"{self.path}: {self.change}{which} in {self.text}"


def mutants_of(path: Path) -> list[Mutant]:
    """Every mutant of a file, in the order of its lines."""
    text = path.read_text("utf-8")
    found, places = [], Counter()
    for number, (node, change, _) in enumerate(_sites(ast.parse(text))):
        tree = ast.parse(text)
        _, _, apply = next(site for index, site in enumerate(_sites(tree)) if index == number)
        apply()
        changed = ast.unparse(ast.fix_missing_locations(tree))
        line = text.splitlines()[node.lineno - 1].strip()
        places[node.lineno, change] += 1
        name = str(path.relative_to(ROOT))
        found.append(Mutant(name, node.lineno, change, changed, line, places[node.lineno, change]))
    return sorted(found, key=lambda mutant: mutant.line)


def _sites(tree: ast.Module) -> Iterator[tuple]:
    """(node, change in words, function that makes it) for every place where the code, not its prose, can be wrong."""
    for node in _code(tree):
        match node:
            case ast.BinOp(op=op) if type(op) in OPERATORS and not _is_text(node):
                yield node, f"{_name(op)} -> {OPERATORS[type(op)].__name__}", _setter(node, "op", OPERATORS[type(op)]())
            case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
                other = COMPARISONS[type(op)]
                yield node, f"{_name(op)} -> {other.__name__}", _setter(node, "ops", [other()])
            case ast.BoolOp(op=op):
                other = ast.Or if isinstance(op, ast.And) else ast.And
                yield node, f"{_name(op)} -> {other.__name__}", _setter(node, "op", other())
            case ast.UnaryOp(op=ast.USub() | ast.Not()):
                yield (
                    node,
                    f"{_name(node.op)} dropped",
                    _setter(node, "op", ast.UAdd()) if isinstance(node.op, ast.USub) else _twice_negated(node),
                )
            case ast.Constant(value=bool() as value):
                yield node, f"{value} -> {not value}", _setter(node, "value", not value)
            case ast.Constant(value=int() as value):
                yield node, f"{value} -> {value + 1}", _setter(node, "value", value + 1)
            case ast.Constant(value=float() as value):
                changed = value * 1.5 if value else 0.5
                yield node, f"{value} -> {changed}", _setter(node, "value", changed)
            case ast.If() | ast.IfExp() | ast.While():
                negated = ast.UnaryOp(op=ast.Not(), operand=copy.deepcopy(node.test))
                yield node, "condition negated", _setter(node, "test", negated)
            case ast.Expr(value=ast.Call()):
                yield node, "call dropped", _setter(node, "value", ast.Constant(value=None))


def _code(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes of the tree without annotations, docstrings, `__all__`, decorators and what is only there for type checkers."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in child.targets):
            continue
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _code(_without_annotations(child))


def _without_annotations(node: ast.AST) -> ast.AST:
    """A view of the node whose children are the original ones, without those that nothing computes with."""
    shallow = copy.copy(node)
    for name in ("annotation", "returns"):
        if hasattr(shallow, name):
            setattr(shallow, name, None)
    if hasattr(shallow, "decorator_list"):
        shallow.decorator_list = []
    return shallow


def _is_text(node: ast.BinOp) -> bool:
    """Whether an operand is a string: pasting messages together is no arithmetic; and unions of types are none."""
    sides = (node.left, node.right)
    if any(
        isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in sides
    ):
        return True
    return isinstance(node.op, ast.BitOr) and any(isinstance(side, ast.Name) and side.id[0].isupper() for side in sides)


def _setter(node: ast.AST, name: str, value: object):
    return lambda: setattr(node, name, value)


def _twice_negated(node: ast.UnaryOp):
    """`not x` becomes `not (not x)`."""
    return _setter(node, "operand", ast.UnaryOp(op=ast.Not(), operand=copy.deepcopy(node.operand)))


def _name(operator: ast.AST) -> str:
    return type(operator).__name__


def floor_mutants(floor: str, *, sample: int | None, seed: int) -> list[Mutant]:
    """Mutants of all files of a floor, or a random sample of them."""
    found = [mutant for path in sorted((ROOT / "rgprobe" / floor).glob("*.py")) for mutant in mutants_of(path)]
    return found if sample is None or sample >= len(found) else random.Random(seed).sample(found, sample)


def is_noticed(mutant: Mutant, tests: tuple[str, ...]) -> bool:
    """Run the tests on a mutant in forks of this process, which must not have imported rgprobe."""
    path = Path(mutant.path)
    first = f"{tests[0]}/{FIRST.get(f'{path.parent.name}/{path.stem}', FIRST.get(path.stem, ''))}.py"
    stages = [[first, mutant.path]] if (ROOT / first).is_file() else []
    return any(_fails(mutant, places) for places in [*stages, [place for place in tests if (ROOT / place).exists()]])


def _fails(mutant: Mutant, places: list[str]) -> bool:
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT + int(time.process_time()), resource.RLIM_INFINITY))
        os._exit(_run_tests(mutant, places))
    return os.waitpid(child, 0)[1] != 0


def _run_tests(mutant: Mutant, places: list[str]) -> int:
    import pytest

    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    _serve(ROOT / mutant.path, mutant.source.encode())
    try:
        # the libraries are here already, so pytest cannot rewrite assertions in them, which it would report
        options = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        return int(pytest.main([*options, *places]))
    except BaseException:
        return 1


def _serve(path: Path, source: bytes) -> None:
    """Make Python read this source in place of the file, and no compiled version of it."""
    get_data, path_stats = SourceFileLoader.get_data, SourceFileLoader.path_stats

    def mutated(loader, name):
        return source if name == str(path) else get_data(loader, name)

    def stats(loader, name):
        if name == str(path):
            raise OSError("a mutant has no time of change")
        return path_stats(loader, name)

    SourceFileLoader.get_data, SourceFileLoader.path_stats = mutated, stats


def main() -> None:
    """Run a sample and print what survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("floor", choices=TESTS)
    parser.add_argument("--sample", type=int, default=70)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, required=True, help="JSON lines; mutants that it has are not run again")
    parser.add_argument("--record", type=Path, help="JSON file that keeps the counts, such as docs/trust.json")
    options = parser.parse_args()
    os.chdir(ROOT)
    _load_libraries()
    known = _read_log(options.log)
    chosen = floor_mutants(options.floor, sample=options.sample, seed=options.seed)
    _require_clean(chosen[0].path, TESTS[options.floor], known, options.log)
    equivalent = json.loads(EQUIVALENT.read_text("utf-8"))
    outcomes = Counter(_outcome(mutant, TESTS[options.floor], known, equivalent, options.log) for mutant in chosen)
    share = outcomes["noticed"] / (len(chosen) - outcomes["equivalent"])
    sys.stdout.write(
        f"{options.floor}: {len(chosen)} mutants, {dict(outcomes)}; noticed {share:.0%} of those not equivalent\n"
    )
    if options.record:
        counts = {name: outcomes[name] for name in ("noticed", "equivalent", "survived")}
        record = json.loads(options.record.read_text("utf-8")) if options.record.exists() else {}
        record[f"mutants of {options.floor}"] = {"mutants": len(chosen), "seed": options.seed, **counts}
        options.record.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _require_clean(path: str, tests: tuple[str, ...], known: dict[str, bool], log: Path) -> None:
    """Tests that fail without any mutant would notice every mutant."""
    files = sorted(file for place in tests for file in [ROOT / place, *(ROOT / place).rglob("*.py")] if file.is_file())
    key = f"nothing changed #{hash_of(''.join(file.read_text('utf-8') for file in files))}"
    if key not in known:
        failed = is_noticed(Mutant(path, 0, "nothing", (ROOT / path).read_text("utf-8")), tests)
        _log(log, {"mutant": key, "noticed": failed})
        known[key] = failed
    if known[key]:
        sys.exit("the tests fail without any mutant")


def _outcome(
    mutant: Mutant, tests: tuple[str, ...], known: dict[str, bool], equivalent: dict[str, str], log: Path
) -> str:
    """ "noticed", "equivalent" (not run) or "survived"; what was not known before is run and logged."""
    if mutant.name in equivalent:
        return "equivalent"
    key = f"{mutant.name} #{hash_of(mutant.source)}"
    if key not in known:
        start = _children()
        known[key] = is_noticed(mutant, tests)
        entry = {"mutant": key, "line": mutant.line, "noticed": known[key], "cpu_s": round(_children() - start, 1)}
        _log(log, entry)
    if known[key]:
        return "noticed"
    sys.stdout.write(f"survived: {mutant.path}:{mutant.line} {mutant.change} in {mutant.text}\n")
    return "survived"


def _log(log: Path, entry: dict[str, object]) -> None:
    with log.open("a") as lines:
        lines.write(json.dumps(entry) + "\n")


def _children() -> float:
    """CPU seconds of all forks so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def hash_of(source: str) -> str:
    """A short name for a source, the same in every process."""
    import hashlib

    return hashlib.sha256(source.encode()).hexdigest()[:8]


def _read_log(path: Path) -> dict[str, bool]:
    if not path.exists():
        return {}
    return {entry["mutant"]: entry["noticed"] for entry in map(json.loads, path.read_text().splitlines())}


def _load_libraries() -> None:
    """Everything slow to import, once for all forks."""
    for name in LIBRARIES:
        import_module(name)
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    sys.exit(main())
