"""The analysis of planted hierarchies runs from end to end, and so does its look at real sentences."""

import json
import sys

import numpy as np
import pytest
import torch
from measured_page import analysis

TREES = """
(S (NP (DT The) (NN king)) (VP (VBZ sleeps) (ADVP (RB now))))
(S (NP (PRP He)) (VP (VBD gave) (NP (DT the) (NN crown))))
(NP (NN word))
"""


@pytest.mark.filterwarnings("ignore::UserWarning")  # two sentences make few classes for the linear probe
@pytest.mark.parametrize("reader", ["bidirectional", "gauge"])
def test_a_reader_is_trained_loaded_and_measured(tmp_path, reader, monkeypatch, capsys):
    planted_hierarchy = analysis("planted_hierarchy")
    planted_trees = analysis("planted_trees")

    monkeypatch.setattr(planted_trees, "BELIEFS", ("states", "native"))
    monkeypatch.setattr(planted_hierarchy, "BELIEFS", ("states", "native"))
    monkeypatch.setattr(planted_hierarchy, "DEVELOPMENT", 1)
    runs = str(tmp_path)
    for command in (
        ["train", runs, "--shapes", "fixed", "--readers", reader, "--seeds", "0", "--steps", "2"],
        ["trees", runs, "--shapes", "fixed", "--sentences", "3", "--contexts", "8", "--nulls", "1"],
        ["tables", runs],
        ["figure", runs, str(tmp_path / "figure.svg")],
    ):
        monkeypatch.setattr(sys, "argv", ["planted_hierarchy.py", *command])
        planted_hierarchy.main()
    assert "chosen state" in capsys.readouterr().out
    assert (tmp_path / "figure.svg").read_text("utf-8").startswith("<?xml")
    record = json.loads((tmp_path / "fixed" / reader / "seed-0" / "hierarchy.json").read_text("utf-8"))
    assert 0 < record["excess_nats_per_gap"] < 2
    entry = json.loads((tmp_path / "fixed" / "trees.json").read_text("utf-8"))["readers"][reader]
    assert len(entry["trained"]["interaction, any"]) == 4
    assert ("native, any" in entry["trained"]) == (reader == "gauge")


def test_a_reader_that_knows_the_grammar_finds_the_parse():
    """Varied trees: the contexts alone carry most of the parse, far beyond trees of other sentences."""
    cloze_models = analysis("cloze_models")
    planted_hierarchy = analysis("planted_hierarchy")

    language = cloze_models.varied()
    read, parses, _ = language.draw(6, 5)
    assert len({frozenset(parse) for parse in parses}) > 3
    found = planted_hierarchy.exact_scores(language, read, parses, contexts=32)
    assert min(found.values()) > 0.8
    blind = planted_hierarchy.blind_scores(parses, language.leaves)
    assert max(values.mean() for values in blind.values()) < 0.6


def test_contexts_hide_and_exchange_leaves():
    cloze_models = analysis("cloze_models")
    planted_trees = analysis("planted_trees")

    read = np.arange(8) % 8
    found = planted_trees.contexts_of("gauge", read, 8, count=20, seed=0)
    first, second = found.rows[:, found.tokens[:, 0]], found.rows[:, found.tokens[:, 1]]
    assert (first == second).all()
    assert ((second == cloze_models.HIDDEN) == found.scored).all()
    assert (found.moves == ~found.scored).all()
    single = planted_trees.one_gap("bidirectional", read, 8, count=8, seed=0)
    assert (single.scored == torch.eye(8, dtype=torch.bool)).all()
    assert (single.moves == ~single.scored).all()
    plain = planted_trees.one_gap("next gauge", read, 8, count=8, seed=0)
    assert (plain.readers == plain.tokens[:, 0] - 1).all()
    assert plain.moves.all()
    assert plain.scored.all()


def test_intervals_hold_sentences_and_models():
    interval = analysis("crossed_intervals").crossed_interval

    values = np.full((3, 5), 0.75)
    assert interval(values) == [0.75, 0.75, 0.75]
    assert interval(values, np.full((1, 5), 0.25)) == [0.5, 0.5, 0.5]
    # one model is off: the interval says that another draw of models may be
    one_off = values - 0.6 * (np.arange(3) == 0)[:, None]
    centre, low, high = interval(one_off)
    assert low < centre - 0.2
    assert high > centre + 0.1
    # what both sides share cancels where they are of the same models
    assert interval(one_off, one_off - 0.1, paired=True) == [0.1, 0.1, 0.1]
    # perfect scores do not make certainty: an exact binomial over sentences stays
    assert interval(np.ones((3, 24))) == [1.0, 0.8575, 1.0]


@pytest.mark.parametrize("spread", [0.0, 0.05, 0.2])
def test_intervals_hold_the_truth_as_often_as_they_say(spread):
    interval = analysis("crossed_intervals").crossed_interval
    generator = np.random.default_rng(0)

    draws, covered = 1500, 0
    for _ in range(draws):
        models, sentences = spread * generator.normal(size=(3, 1)), 0.2 * generator.normal(size=(1, 24))
        _, low, high = interval(0.6 + models + sentences + 0.1 * generator.normal(size=(3, 24)))
        covered += low <= 0.6 <= high
    assert 0.925 < covered / draws < 0.975


def test_brackets_of_real_sentences(tmp_path, monkeypatch, capsys):
    planted_hierarchy = analysis("planted_hierarchy")

    path = tmp_path / "trees.ptb"
    path.write_text(TREES, encoding="utf-8")
    command = ["brackets", "standard-small", "--brackets", str(path), "--contexts", "4"]
    monkeypatch.setattr(sys, "argv", ["planted_hierarchy.py", *command])
    planted_hierarchy.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 sentences")
    table = {line[:40].strip(): line[40:].split() for line in lines[1:]}
    assert len(table["standard-small, any"]) == len(table["untrained, seed 0, contiguous"]) == 6
    assert table["right-branching"] == ["0.750"]  # all of the first tree, half of the second
    assert table["best binary tree"] == ["1.000"]
