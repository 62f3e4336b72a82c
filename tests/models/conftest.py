"""Small stand-ins, so that the tests need neither the corpus package nor a minute of training."""

import os
from itertools import product

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: everything here is on disk

import pytest

from rgprobe.models.corpus import TEST_PLAYS, VALIDATION_PLAYS
from rgprobe.models.options import TrainingOptions

PLAY = """# {title}

## ACT I

### SCENE I. A room in {title}'s house.

_Enter {speaker}, and
Attendants_

**{speaker}**
The {word} is come\\!  I know it by its {word}.
_\\[Aside]_
Would it were gone.

_Exeunt_
"""


@pytest.fixture
def plays_directory(tmp_path):
    """Six invented plays under the names that the split knows, each with a word of its own."""
    words = ("raven", "tempest", "dagger", "viol", "crown", "forest")
    names = (*TEST_PLAYS, *VALIDATION_PLAYS, "king-john", "as-you-like-it")
    for name, word in zip(names, words, strict=True):
        directory = tmp_path / "plays" / name[0]
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{name}.md").write_text(PLAY.format(title=name.title(), speaker=word.upper(), word=word))
    return tmp_path / "plays"


@pytest.fixture(scope="session")
def text_file(tmp_path_factory):
    """A text with a grammar simple enough that forty steps learn some of it."""
    words = product(
        ("Ann", "Bob", "Cleo", "Dan"), ("sea", "hill", "town", "wood", "mill"), ("moon", "crow", "king", "snow", "fire")
    )
    lines = [f"{who} went to the {where} and saw the {what}.\n" for who, where, what in words]
    path = tmp_path_factory.mktemp("corpus") / "walks.txt"
    path.write_text("".join(lines) * 3)
    return path


@pytest.fixture
def tiny_options(tmp_path, text_file):
    """Options of a run that takes a fraction of a second."""

    def make(name="run", **changes):
        size = {"context": 16, "layers": 1, "width": 16, "heads": 2, "vocabulary": 300}
        schedule = {"steps": 12, "batch": 4, "learning_rate": 1e-2, "warmup": 3, "validate_every": 5, "save_every": 5}
        return TrainingOptions(out=tmp_path / name, corpus=text_file, **{**size, **schedule, **changes})

    return make
