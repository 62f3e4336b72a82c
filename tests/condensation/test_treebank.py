"""Bracketed sentences: what is read, and what is refused with a line."""

import pytest

from rgprobe.condensation.treebank import parse_brackets, read_brackets
from rgprobe.errors import BadInput

TREE = """
( (S (NP-SBJ (DT The) (JJ old) (NN king))
     (VP (VBZ says) (SBAR (-NONE- 0) (S (NP (PRP he)) (VP (VBZ sleeps)))))
     (. .)) )
(NP (NNP Lear) (-LRB- -LRB-) (NN king) (-RRB- -RRB-))
"""


def test_words_and_spans():
    first, second = parse_brackets(TREE)
    assert first.words == ("The", "old", "king", "says", "he", "sleeps", ".")
    assert first.spans == {(0, 3), (3, 6), (4, 6)}
    assert second.words == ("Lear", "(", "king", ")")
    assert second.spans == frozenset()


def test_a_sentence_of_empty_elements_is_dropped():
    with pytest.raises(BadInput, match="expected a tree, received none"):
        parse_brackets("(S (NP (-NONE- *)))")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "brackets:1: expected a tree, received none"),
        ("(S (NN a)\n(NN b)", "brackets:1: expected a closing bracket for every opening one"),
        ("(S (NN a))\n)", "brackets:2: expected an opening bracket, received '[)]'"),
        ("word (S (NN a))", "brackets:1: expected an opening bracket, received 'word'"),
        ("(S (NN))", "brackets:1: expected a label and a word between innermost brackets, received 'NN'"),
        ("(S\n(NN a b))", "brackets:2: expected a label and a word between innermost brackets, received 'NN a b'"),
        ("(S (NN a) stray (NN b))", "brackets:1: expected one label before the children of a constituent"),
        ("()", "brackets:1: expected a label and a word between innermost brackets, received ''"),
    ],
)
def test_malformed_text_is_refused_with_its_line(text, complaint):
    with pytest.raises(BadInput, match=complaint):
        parse_brackets(text)


def test_files_are_read_and_those_missing_or_not_text_refused(tmp_path):
    path = tmp_path / "trees.ptb"
    path.write_text(TREE, encoding="utf-8")
    assert len(read_brackets(path)) == 2
    with pytest.raises(BadInput, match=r"missing\.ptb: expected a text file"):
        read_brackets(tmp_path / "missing.ptb")
    path.write_bytes(b"(NN \xff)")
    with pytest.raises(BadInput, match=r"trees\.ptb: expected a text file"):
        read_brackets(path)
