"""`rgprobe run` on a checkpoint that is spread over memory and disk, or read in part."""

import json

TEXT = ["--text", "Now is the winter of our discontent made glorious summer", "--nulls", "0", "--quiet"]


def test_a_checkpoint_left_on_disk_gives_the_numbers_of_one_in_memory(rgprobe, checkpoint, tmp_path):
    found = []
    for name, options in (("whole", []), ("spread", ["--device-map", "auto", "--max-memory", "cpu=100KB"])):
        folder = ["--offload-folder", str(tmp_path / "offloaded")] if options else []
        outcome = rgprobe("run", str(checkpoint), *TEXT, *options, *folder, "--json", "--out", str(tmp_path / name))
        assert outcome.code == 0, outcome.err
        found.append(json.loads(outcome.out))
    whole, spread = (json.dumps(each).replace("/whole/", "/").replace("/spread/", "/") for each in found)
    assert spread == whole


def test_the_first_blocks_of_a_checkpoint_are_a_run_of_their_own(rgprobe, checkpoint, tmp_path):
    outcome = rgprobe("run", str(checkpoint), *TEXT, "--layers", "1", "--out", str(tmp_path / "out"))
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "out" / f"{checkpoint.name}-first-1.nc").is_file()


def test_what_cannot_be_placed_is_bad_input(rgprobe, checkpoint, tmp_path):
    for options in (["--max-memory", "cpu=lots"], ["--max-memory", "cpu=1GiB"], ["--layers", "7"]):
        outcome = rgprobe("run", str(checkpoint), *TEXT, *options, "--out", str(tmp_path / "out"))
        assert outcome.code == 2
        assert len(outcome.err.strip().splitlines()) == 1
