import hypothesis.strategies as st
import pytest
from hypothesis import assume, given, settings
from transformers import AutoTokenizer

from rgprobe.errors import OptionError
from rgprobe.models.tokenizer import BOS, BOS_ID, PAD, PAD_ID, encode, save_tokenizer, train_tokenizer

TEXT = "To be, or not to be, that is the question:\n\nHAMLET:\nWhether 'tis nobler in the mind to suffer"
TOKENIZERS = {level: train_tokenizer([TEXT], level=level, vocabulary=300) for level in ("token", "character")}


@pytest.mark.parametrize("level", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_round_trip_of_any_text(level, text):
    assume(BOS not in text and PAD not in text)
    tokenizer = TOKENIZERS[level]
    assert tokenizer.decode(encode(tokenizer, text)) == text


@pytest.mark.parametrize("level", TOKENIZERS)
def test_special_tokens_written_out_are_read_as_such(level):
    tokenizer = TOKENIZERS[level]
    assert encode(tokenizer, f"to{BOS}be{PAD}") == [*encode(tokenizer, "to"), BOS_ID, *encode(tokenizer, "be"), PAD_ID]


@pytest.mark.parametrize("level", TOKENIZERS)
@pytest.mark.parametrize(
    "text", ["naïve — 漢字 🙂", "\u202eright to left", "a\x00b\x07", "=1+1\t\r\n", "  two  blanks ", ""]
)
def test_round_trip_of_awkward_text(level, text):
    tokenizer = TOKENIZERS[level]
    assert tokenizer.decode(encode(tokenizer, text)) == text


def test_character_level_has_one_token_per_seen_character():
    assert len(encode(TOKENIZERS["character"], TEXT)) == len(TEXT)


def test_blank_line_between_speeches_is_one_token():
    tokenizer = train_tokenizer([TEXT * 5], vocabulary=300)
    assert len(encode(tokenizer, "\n\n")) == 1


@pytest.mark.parametrize("level", TOKENIZERS)
def test_saved_tokenizer_loads_offline_and_opens_with_bos(tmp_path, level):
    save_tokenizer(TOKENIZERS[level], tmp_path, context=64)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    plain = encode(TOKENIZERS[level], TEXT)
    assert loaded(TEXT)["input_ids"] == [BOS_ID, *plain]
    assert loaded(TEXT, add_special_tokens=False)["input_ids"] == plain
    assert loaded.decode(plain) == TEXT
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (BOS_ID, BOS_ID, PAD_ID)
    assert loaded.model_max_length == 64


def test_training_is_deterministic():
    assert train_tokenizer([TEXT], vocabulary=300).to_str() == TOKENIZERS["token"].to_str()


def test_bad_options_are_refused():
    with pytest.raises(OptionError, match="--vocabulary: expected at least 258"):
        train_tokenizer([TEXT], vocabulary=100)
    with pytest.raises(OptionError, match="--level: expected token or character, received word"):
        train_tokenizer([TEXT], level="word")
