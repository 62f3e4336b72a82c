"""`rgprobe sweep` as a person would use it."""

import json
import shutil

import pytest

from rgprobe.cli import sweep_command
from rgprobe.rg_flow import open_flow

TEXT = "Now is the winter of our discontent made glorious summer"
FAST = ("--nulls", 0, "--diagnostics", "plateau", "--device", "cpu", "--text", TEXT)


@pytest.fixture
def trained(checkpoint, tmp_path):
    """Three checkpoints of one run, whose weights are the same."""
    for step in (0, 10, 100):
        shutil.copytree(checkpoint, tmp_path / "seed-0" / "checkpoints" / f"step-{step:06d}")
    return tmp_path / "seed-0"


def test_help_names_what_a_queue_needs(rgprobe):
    shown = rgprobe("sweep", "--help").out
    for option in ("workers", "scheduler", "resource", "shard", "retries", "threads", "report", "prompts", "out"):
        assert f"--{option}" in shown


def test_a_sweep_its_continuation_and_its_report(rgprobe, trained, tmp_path):
    out = tmp_path / "sweep"
    first = rgprobe("sweep", trained, "--out", out, "--shard", "1/2", *FAST)
    assert (first.code, first.out) == (0, f"2 of 2 items have a result in {out}\n")
    assert not (out / "sweep.html").exists()
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("*.nc")}
    second = rgprobe("sweep", trained, "--out", out, *FAST)
    assert (second.code, second.out) == (0, f"3 of 3 items have a result in {out}\nWrote {out / 'sweep.html'}\n")
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in out.glob("*.nc")}.items()
    page = (out / "sweep.html").read_text("utf-8")
    assert "seed-0" in page
    assert "the test takes 8 checkpoints at least" in page
    assert rgprobe("report", out, "--out", tmp_path / "again.html").code == 0
    assert (tmp_path / "again.html").read_text("utf-8") == page


def test_the_result_is_that_of_a_run(rgprobe, checkpoint, tmp_path):
    rgprobe("sweep", checkpoint, "--out", tmp_path / "sweep", "--no-report", *FAST)
    rgprobe("run", checkpoint, "--out", tmp_path / "run", *FAST)
    (result,) = (tmp_path / "sweep").glob("*.nc")
    assert result.read_bytes() == (tmp_path / "run" / "tiny.nc").read_bytes()


def test_several_prompt_sets_and_json(rgprobe, checkpoint, tmp_path):
    (tmp_path / "mine.txt").write_text("one two three\n\nfour five six")
    arguments = ("--prompts", tmp_path / "mine.txt", "--no-report", "--json", "--out", tmp_path / "sweep")
    outcome = rgprobe("sweep", checkpoint, *arguments, *FAST)
    items = json.loads(outcome.out)["items"]
    assert [item["prompts"] for item in items] == ["mine", "text"]
    assert [len(open_flow(tmp_path / "sweep" / item["result"]).prompts) for item in items] == [2, 1]


def test_a_failure_is_told_recorded_and_in_the_exit_status(rgprobe, trained, tmp_path):
    (trained / "checkpoints" / "step-000010" / "model.safetensors").write_bytes(b"torn")
    outcome = rgprobe("sweep", trained, "--out", tmp_path / "sweep", "--no-report", *FAST)
    assert outcome.code == 2
    assert "rgprobe sweep: expected a result of every item, received 1 without one" in outcome.err
    assert outcome.out.startswith("2 of 3 items have a result")
    assert "seed-0@step-000010 (text): " in outcome.out
    record = json.loads((tmp_path / "sweep" / "seed-0_step-000010--text.json").read_text())
    assert record["failure"]["kind"] == "CheckpointError"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--shard", "3/2"], "--shard: expected i/n"),
        (["--resource", "GPU"], "--resource: expected NAME=AMOUNT"),
        (["--workers", 2, "--scheduler", "tcp://127.0.0.1:9"], "workers: expected 0 where there is a client"),
        (["--diagnostics", "vibes"], "diagnostics"),
    ],
)
def test_unusable_options_leave_nothing_behind(rgprobe, checkpoint, tmp_path, arguments, words):
    outcome = rgprobe("sweep", checkpoint, "--text", TEXT, "--out", tmp_path / "sweep", *arguments)
    assert outcome.code == 2
    assert words in outcome.err
    assert not (tmp_path / "sweep").exists()


def test_an_interrupted_sweep_says_that_results_are_kept(checkpoint, tmp_path, monkeypatch, capsys):
    from rgprobe.cli import main

    def interrupted(*words, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("rgprobe.sweeping.driving.drive", interrupted)
    code = main(["sweep", str(checkpoint), "--text", TEXT, "--out", str(tmp_path / "sweep"), "--device", "cpu"])
    assert code == 130
    assert capsys.readouterr().err == f"rgprobe: {sweep_command.KEPT}\n"


def test_queues_get_lines_with_the_time_left(monkeypatch, capsys):
    times = iter([0.0, 30.0, 120.0])
    monkeypatch.setattr(sweep_command.time, "monotonic", lambda: next(times))
    drawn = []
    report = sweep_command._lines(lambda *words: drawn.append(words))
    report(1, 12, "a: done")
    report(4, 12, "b: done")
    assert capsys.readouterr().err == "rgprobe: 4 of 12 items; about 4 min left; b: done\n"
    assert len(drawn) == 2
