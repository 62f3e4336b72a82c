"""Tokenizers of the trained models: byte-level BPE, or one token per character.

Both have two special tokens. `<|endoftext|>` (id 0) opens every text, ends every document and is what training windows
start with, so a model knows it well. `<|pad|>` (id 1) is never trained on: being a token of its own, it lets a loader
tell padding from text without guessing. `tokenizer(text)` prepends `<|endoftext|>`;
`tokenizer(text, add_special_tokens=False)` does not. Written out in a text, the two are read as special tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from rgprobe.errors import OptionError
from rgprobe.files import write_text

__all__ = ["BOS", "BOS_ID", "PAD", "PAD_ID", "encode", "save_tokenizer", "train_tokenizer"]

BOS, PAD = "<|endoftext|>", "<|pad|>"
BOS_ID, PAD_ID = 0, 1

# GPT-2's split into words, except that a run of newlines is one piece: a blank line between speeches is one token.
_WORDS = r"'(?:[sdmt]|ll|ve|re)\b| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\n+|\s+(?!\S)|\s+"


def train_tokenizer(texts: Iterable[str], *, level: str = "token", vocabulary: int = 2048) -> Tokenizer:
    """A tokenizer fitted on `texts`.

    Args:
        texts: training documents only.
        level: `"token"`, byte-level BPE; `"character"`, one token per character seen, any other falls back to bytes.
        vocabulary: number of tokens at level `"token"`, at least 258 (256 bytes, two special tokens).

    Raises:
        OptionError: an unknown level, or a vocabulary too small.

    Example:
        >>> tokenizer = train_tokenizer(["to be, or not to be"], level="character")
        >>> tokenizer.encode("to bé").tokens
        ['<|endoftext|>', 't', 'o', ' ', 'b', '<0xC3>', '<0xA9>']
        >>> tokenizer.decode(tokenizer.encode("to bé").ids)
        'to bé'
    """
    if level == "token":
        tokenizer = _train_byte_level_bpe(texts, vocabulary)
    elif level == "character":
        tokenizer = _character_tokenizer(texts)
    else:
        raise OptionError("--level", expected="token or character", received=level, remedy="pass one of the two")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, BOS_ID)]
    )
    return tokenizer


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of `text` alone, without the opening `<|endoftext|>`."""
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def save_tokenizer(tokenizer: Tokenizer, directory: Path, *, context: int) -> None:
    """Write tokenizer.json and tokenizer_config.json so that `AutoTokenizer.from_pretrained(directory)` works offline.

    Args:
        tokenizer: from `train_tokenizer`.
        directory: an existing directory.
        context: the longest input of the model, in tokens, the opening one included.
    """
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": BOS,
        "pad_token": PAD,
        "add_bos_token": True,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
    }
    write_text(directory / "tokenizer.json", tokenizer.to_str(pretty=True) + "\n")
    write_text(directory / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")


def _train_byte_level_bpe(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    if vocabulary < 258:
        raise OptionError(
            "--vocabulary",
            expected="at least 258 tokens: 256 bytes and two special ones",
            received=str(vocabulary),
            remedy="pass a larger number, or --level character",
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _character_tokenizer(texts: Iterable[str]) -> Tokenizer:
    symbols: Sequence[str] = [BOS, PAD, *(f"<0x{byte:02X}>" for byte in range(256)), *sorted(set().union(*texts))]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")  # keeps the BPE cache small
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([BOS, PAD])
    return tokenizer
