"""Prompts in every shape that people hold them in, and what is refused."""

import numpy as np
import pytest
import torch
from tiny_tokenizer import tokenizer

from rgprobe.errors import CheckpointError, OptionError, PromptError
from rgprobe.probe.prompts import encode_prompts, unpadded

PAD = 2
ROWS = [[5, 6, 7, 8], [9, 10]]
PADDED = [[5, 6, 7, 8], [PAD, PAD, 9, 10]]
MASK = [[1, 1, 1, 1], [0, 0, 1, 1]]


def ids_of(prompts, **options):
    options = {"tokenizer": None, "vocabulary": 61, "context": 16, **options}
    return [prompt.ids.tolist() for prompt in encode_prompts(prompts, **options)]


@pytest.mark.parametrize(
    "prompts",
    [
        ROWS,
        tuple(map(tuple, ROWS)),
        [torch.tensor(row) for row in ROWS],
        [np.array(row) for row in ROWS],
        {"input_ids": torch.tensor(PADDED), "attention_mask": torch.tensor(MASK)},
        {"input_ids": PADDED, "attention_mask": MASK},
        {"input_ids": np.array(PADDED), "attention_mask": np.array(MASK)},
    ],
    ids=["lists", "tuples", "tensors", "arrays", "tensor mapping", "list mapping", "array mapping"],
)
def test_every_shape_gives_the_same_unpadded_rows(prompts):
    assert ids_of(prompts, tokenizer=tokenizer()) == ROWS


def test_a_mask_given_beside_the_ids_cuts_them_too():
    assert ids_of(PADDED, attention_mask=MASK) == ROWS
    assert ids_of(torch.tensor(PADDED), attention_mask=torch.tensor(MASK)) == ROWS
    assert ids_of([PADDED[1]], attention_mask=MASK[1]) == ROWS[1:]
    assert ids_of(torch.tensor(PADDED[1]), attention_mask=torch.tensor(MASK[1])) == ROWS[1:]


def test_a_single_row_is_one_prompt():
    assert ids_of([5, 6, 7]) == [[5, 6, 7]]
    assert ids_of(torch.tensor([5, 6, 7])) == [[5, 6, 7]]
    made = tokenizer()("to be")
    assert ids_of(made, tokenizer=tokenizer(), vocabulary=999) == [made["input_ids"]]


@pytest.mark.parametrize("row", [[9, 10, PAD], [PAD, PAD, 9, 10]])
@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor, lambda row: [np.int64(token) for token in row]])
@pytest.mark.parametrize("holding", [lambda x: x, lambda x: [x], lambda x: ["to be", x], lambda x: {"input_ids": [x]}])
def test_padding_without_a_mask_is_refused_in_whatever_a_row_comes(row, kind, holding):
    with pytest.raises(PromptError, match=r"prompt [01]: expected an attention_mask.*pad id 2 and no mask"):
        ids_of(holding(kind(row)), tokenizer=tokenizer(), vocabulary=999)


@pytest.mark.parametrize("prompts", [PADDED, torch.tensor(PADDED), np.array(PADDED), {"input_ids": PADDED}])
def test_a_padded_batch_without_a_mask_is_refused(prompts):
    with pytest.raises(PromptError, match="attention_mask"):
        ids_of(prompts, tokenizer=tokenizer())


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_a_pad_id_that_is_bos_may_begin_a_row_but_once(kind):
    class Shared:
        pad_token_id = bos_token_id = eos_token_id = PAD

        def decode(self, ids, **_):
            return str(ids)

    assert ids_of([kind([PAD, 9, 10])], tokenizer=Shared()) == [[PAD, 9, 10]]
    for padded in ([PAD, PAD, 9], [PAD, 9, PAD]):
        with pytest.raises(PromptError, match="a mask of ones if every token is meant"):
            ids_of([kind(padded)], tokenizer=Shared())
        assert ids_of(unpadded([torch.tensor(padded)]), tokenizer=Shared()) == [padded]


def test_arrays_of_texts_are_texts():
    texts = ["to be", "or not"]
    for given in (np.array(texts), np.array(texts, dtype=object), texts[0], np.array(texts[0])):
        wanted = texts if np.size(given) == 2 else texts[:1]
        assert ids_of(given, tokenizer=tokenizer(), vocabulary=999) == ids_of(
            wanted, tokenizer=tokenizer(), vocabulary=999
        )


@pytest.mark.parametrize(
    "prompts",
    [torch.full((1, 1, 3), 5), [torch.full((1, 3), 5)], [[True, False]], torch.ones(2, dtype=torch.bool), [5.0, 6.0],
     [["to", "be"]], [b"ab"], np.array([5.5, 6.0]), [5, "to"], {5: 6}, [{"to": 1}]],
    ids=repr,
)  # fmt: skip
def test_what_is_neither_text_nor_token_ids_is_refused(prompts):
    with pytest.raises(PromptError):
        ids_of(prompts, tokenizer=tokenizer())


@pytest.mark.parametrize("mask", ["no", 5, [None], [[[1, 1, 1, 1]]], [["1", "1", "1", "1"]]])
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(PromptError, match="mask"):
        ids_of([ROWS[0]], attention_mask=mask)


def test_a_mask_that_does_not_fit_is_refused():
    for mask in (MASK[:1], [[1, 1], [1, 1]]):
        with pytest.raises(PromptError, match="mask"):
            ids_of(PADDED, attention_mask=mask)
    with pytest.raises(PromptError, match="mask"):
        ids_of(["to be"], tokenizer=tokenizer(), attention_mask=[[1, 1]])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ([0, 0, 0, 0], "a mask that hides all of them"),
        ([1, 0, 1, 1], "hides tokens in between"),
        ([0.0, 0.0, -np.inf, 0.0], "an entry -inf"),  # added to scores, it would mean the opposite
        ([1.0, 1.0, 1.0, np.nan], "an entry nan"),
        ([2, 1, 1, 1], "an entry 2"),
    ],
)
@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_a_mask_that_is_none_or_hides_more_than_padding_is_refused(row, words, kind):
    whole = [1.0 if isinstance(row[0], float) else 1] * 4
    with pytest.raises(PromptError, match=f"prompt 1: .*{words}"):
        ids_of([ROWS[0], ROWS[0]], attention_mask=kind([whole, row]))


@pytest.mark.parametrize("prompts", [[], {}, {"input_ids": []}, 3, None, [[]], [""], [[1.5, 2.0]], [3.5], [None]])
def test_what_holds_no_tokens_is_refused(prompts):
    with pytest.raises(PromptError):
        ids_of(prompts, tokenizer=tokenizer())


def test_ids_outside_the_vocabulary_and_long_prompts_are_refused_by_name():
    with pytest.raises(PromptError, match=r"prompt 1.*61"):
        ids_of([[1], [61]])
    with pytest.raises(PromptError, match="-1"):
        ids_of([[-1]])
    with pytest.raises(PromptError, match="at most 16 tokens"):
        ids_of([list(range(3, 20))])
    (cut,) = encode_prompts([list(range(3, 20))], tokenizer=None, vocabulary=61, context=16, truncate=True)
    assert (len(cut), cut.truncated) == (16, 1)


def test_the_bos_policy_is_the_tokenizers_or_forced():
    text = "to be or not"
    model, always, never = (
        ids_of(text, tokenizer=tokenizer(), bos=bos, vocabulary=999)[0] for bos in ("model", "always", "never")
    )
    assert always == [tokenizer().bos_token_id, *never]
    assert model in (always, never)
    with pytest.raises(OptionError, match="bos"):
        ids_of(text, bos="sometimes")


def test_text_needs_a_tokenizer_and_keeps_its_tokens_readable():
    with pytest.raises(CheckpointError, match="tokenizer"):
        ids_of("to be")
    (prompt,) = encode_prompts("to be, é\ud800", tokenizer=tokenizer(), vocabulary=999, context=None)
    assert len(prompt.tokens) == len(prompt.ids) == len(prompt)
    assert "".join(prompt.tokens).startswith("to be")
