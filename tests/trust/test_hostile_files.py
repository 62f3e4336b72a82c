"""Hostile files, configurations and prompts through the commands: one line, the right exit status, nothing run or written.

One process runs all of them under one audit hook (`audited.py`); the tests here look at what became of each.
"""

import collections
import hashlib
import json
import shutil
from pathlib import Path

import pytest
from attacks import ATTACKS
from audited import Watch, run_audited
from corpora import everything

MEMORY = 64  # MiB above what was resident before


def about(*suites):
    """What a test looks at; suites that no test of this session looks at are not run."""

    def mark(test):
        test.suites = suites
        return test

    return mark


@pytest.fixture(scope="module")
def outcomes(request, sources, full, tmp_path_factory):
    root = tmp_path_factory.mktemp("hostile")
    wanted = {suite for item in request.session.items
              for suite in getattr(getattr(item, "function", None), "suites", ())}  # fmt: skip
    cases = everything(sources, root, full=full, suites=wanted)
    fixed = ("--nulls", "0", "--device", "cpu", "--quiet", "--diagnostics", "temperature,condensation")
    made = root / "made"
    warm_up = [[*words, *fixed, "--out", made.as_posix()] for words in
               (["run", source.as_posix(), "--text", "Now is the winter"] for source in sources.values())]  # fmt: skip
    warm_up += [["tree", source.as_posix(), "Now is the winter"] for source in sources.values()]
    shipped = root / "shipped"
    done = run_audited(cases, scratch=root, warm_up=warm_up, shipped=shipped.as_posix() if shipped.exists() else None)
    found = collections.defaultdict(list)
    for case in done:
        found[case["suite"]].append(case)
    found["root"] = root
    yield found
    shutil.rmtree(root)


def complaints(cases):
    """What is wrong with the outcomes of commands, in words."""
    return [f"{case['name']}: {words}: {case['err']!r:.300}" for case in cases for words in _wrong(case)]


def _wrong(case):
    if case["code"] not in case["codes"]:
        yield f"exit {case['code']} instead of {case['codes']}"
    if "Traceback" in case["out"] + case["err"]:
        yield "a traceback"
    if case["code"] != 0 and not (case["err"].startswith("rgprobe: ") and case["err"].count("\n") == 1):
        yield "not one line on standard error"
    if case["code"] != 0 and not any(word in case["err"] for word in case["names"]):
        yield f"names none of {case['names']}"
    if case["events"]:
        yield f"did {case['events']}"
    if case["mebibytes"] > MEMORY:
        yield f"took {case['mebibytes']:.0f} MiB"
    if "--out" in case["arguments"] and case["code"] != 0 and _out(case).exists():
        yield "left something behind"


def _out(case):
    return Path(case["arguments"][case["arguments"].index("--out") + 1])


def summary(cases):
    return {
        "runs": len(cases),
        "exits": dict(collections.Counter(str(case["code"]) for case in cases)),
        "tracebacks": sum("Traceback" in case["out"] + case["err"] for case in cases),
        "events": sum(len(case["events"]) for case in cases),
        "most_MiB": round(max(case["mebibytes"] for case in cases), 1),
    }


@about("weights")
def test_truncated_or_corrupt_safetensors(outcomes, tally):
    cases = outcomes["weights"]
    loaded = collections.Counter(case["kind"] for case in cases if case["code"] == 0)
    tally("safetensors mutations", **summary(cases), loaded=dict(loaded))
    assert complaints(cases) == []
    # a header that lies about places or sizes never gets through; a changed number does, where no manifest is known
    assert set(loaded) <= {"bit_flips", "dtypes", "header_bytes", "names"}


@about("weights", "with_manifest")
def test_flipped_payload_bytes(outcomes, sources, tally):
    """The digest of what still loads is another one; with a manifest nothing loads."""
    original = {hashlib.sha256((s / "model.safetensors").read_bytes()).hexdigest() for s in sources.values()}
    for case in outcomes["weights"]:
        if case["code"] == 0 and not case["same"]:
            assert not any(digest in case["out"] for digest in original), case["name"]
    tally("mutations with a manifest", **summary(outcomes["with_manifest"]))
    assert complaints(outcomes["with_manifest"]) == []


@about("pickles")
def test_pickle_is_never_unpickled(outcomes, tally):
    """Not without leave, and with it only as tensors."""
    tally("pickles and archives, without and with --allow-pickle", **summary(outcomes["pickles"]))
    assert complaints(outcomes["pickles"]) == []
    assert not (outcomes["root"] / "marker").exists()


@about("attacks")
def test_hand_made_attacks(outcomes, tally):
    tally("hand-made attacks, both families", attacks=len(ATTACKS), **summary(outcomes["attacks"]))
    assert complaints(outcomes["attacks"]) == []
    bombs = [case for case in outcomes["attacks"] if "zip_bomb" in case["name"] or "gibibytes" in case["name"]]
    assert len(bombs) == 4
    assert max(case["mebibytes"] for case in bombs) < MEMORY


@about("configs")
def test_config_edited_so_that_the_model_computes_something_else(outcomes, sources, tally):
    """It loads under another digest of config.json, or it is refused."""
    tally("edits of configurations", **summary(outcomes["configs"]))
    assert complaints(outcomes["configs"]) == []
    original = {hashlib.sha256((s / "config.json").read_bytes()).hexdigest() for s in sources.values()}
    for case in outcomes["configs"]:
        assert not any(digest in case["out"] for digest in original), case["name"]


@about("prompts")
def test_prompts_of_every_length(outcomes, tally):
    tally("prompts of 0, 1, 2, context and context + 1 tokens", **summary(outcomes["prompts"]))
    assert complaints(outcomes["prompts"]) == []
    short = [case for case in outcomes["prompts"] if case.get("tokens") == 1 and "run" in case["arguments"]]
    assert len(short) == 2
    for case in short:  # what is undefined is null, and the reason stands beside it
        (entry, *_) = json.loads(next(_out(case).glob("*.trees.json")).read_text())["trees"]
        assert entry["loss"] is None
        assert '"trend": null' in case["out"]


@about("prompt_files")
def test_malformed_prompt_files(outcomes, tally):
    tally("malformed prompt files", **summary(outcomes["prompt_files"]))
    assert complaints(outcomes["prompt_files"]) == []


@about("results")
def test_damaged_results(outcomes, tally):
    tally("damaged results", **summary(outcomes["results"]))
    assert complaints(outcomes["results"]) == []


@about("offline")
def test_hub_is_not_asked_when_offline(outcomes):
    """HF_HUB_OFFLINE is honoured: no socket was opened, which would be an event."""
    assert complaints(outcomes["offline"]) == []
    (case,) = outcomes["offline"]
    assert "offline, pass a directory" in case["err"]


def test_the_audit_hook_sees_what_it_must(tmp_path):
    """A watch that reports nothing would make every attack look harmless."""
    watch = Watch()
    watch.on, watch.allowed = True, (str(tmp_path),)
    watch("open", (str(tmp_path / "a"), "w", 577))
    watch("os.rename", (str(tmp_path / "a"), str(tmp_path / "b"), -1, -1))
    assert watch.events == []
    for event, arguments in [
        ("open", ("/elsewhere", "w", 577)), ("os.system", (b"ls",)), ("subprocess.Popen", ("ls", ["ls"], None, None)),
        ("socket.connect", (None, ("127.0.0.1", 9))), ("pickle.find_class", ("os", "system")),
        ("os.rename", (str(tmp_path / "a"), "/elsewhere", -1, -1)), ("os.mkdir", (Path("/elsewhere"), 511, -1)),
    ]:  # fmt: skip
        watch("open", (str(tmp_path / "a"), "r", 0))
        watch(event, arguments)
    assert len(watch.events) == 7
