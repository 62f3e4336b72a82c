"""Prompts as token ids, with the policies that change results (BOS, padding, truncation) explicit.

Every prompt runs alone and unpadded, so no attention mask is ever approximated: a padded batch is cut back to its rows.
"""

from __future__ import annotations

import operator
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from rgprobe.checks import is_whole, one_of, true_or_false
from rgprobe.errors import CheckpointError, OptionError, PromptError

__all__ = ["BOS_POLICIES", "EncodedPrompt", "encode_one", "encode_prompts", "prompt_seed", "unpadded"]

BOS_POLICIES = ("model", "always", "never")


@dataclass(frozen=True)
class EncodedPrompt:
    """One prompt.

    Attributes:
        text: as given, or decoded from the ids.
        ids: token ids, unpadded.
        tokens: the text of each token.
        truncated: number of tokens cut off the end.
    """

    text: str
    ids: Int[Tensor, "tokens"]
    tokens: tuple[str, ...]
    truncated: int = 0

    def __len__(self) -> int:
        return len(self.tokens)


def encode_prompts(
    prompts: Any,
    *,
    tokenizer: Any,
    vocabulary: int,
    context: int | None,
    bos: str = "model",
    truncate: bool = False,
    attention_mask: Any = None,
) -> tuple[EncodedPrompt, ...]:
    """Turn prompts into unpadded token ids.

    Args:
        prompts: a string or a row of token ids; a sequence of them; a (B, N) tensor or array of ids, or an array of texts; or a
            mapping with "input_ids" and "attention_mask", as a tokenizer returns it, tensors or lists.
        tokenizer: needed for strings.
        vocabulary: number of embeddings; a larger id is refused.
        context: the longest prompt that the model takes, tokens.
        bos: "model" leaves special tokens to the tokenizer, as the model was trained; "always" and "never" force them.
        truncate: cut a longer prompt to the context instead of refusing it.
        attention_mask: (B, N) or a row for each prompt, 1 for tokens and 0 for padding.

    Raises:
        PromptError: no prompt, an empty one, one over the context, an id outside the vocabulary, what is neither text nor ids,
            or pad tokens at an end of a row, of whatever kind, without a mask.
        CheckpointError: strings for a model without a tokenizer.
        OptionError: unknown `bos` policy, or a `truncate` that is not True or False.
    """
    one_of("bos", bos, BOS_POLICIES)
    truncate = true_or_false("truncate", truncate)
    if isinstance(prompts, Mapping):
        attention_mask = prompts.get("attention_mask") if attention_mask is None else attention_mask
        prompts = prompts.get("input_ids", ())
    given = _one_by_one(prompts)
    if not isinstance(given, Sequence) or not given:
        raise PromptError("prompts", expected="at least one text or row of token ids", received=_describe(given),
                          remedy="pass a text, or a list of texts")  # fmt: skip
    kept = [prompt if isinstance(prompt, str) else _whole_numbers(index, prompt) for index, prompt in enumerate(given)]
    if attention_mask is not None:
        kept = _unpad(kept, attention_mask)
    else:
        _refuse_padding(kept, tokenizer)
    rows = [_ids_of(index, prompt, tokenizer, bos) for index, prompt in enumerate(kept)]
    return tuple(
        _checked(index, ids, prompt, tokenizer, vocabulary, context, truncate)
        for index, (ids, prompt) in enumerate(zip(rows, kept, strict=True))
    )


def encode_one(prompt: Any, **options: Any) -> EncodedPrompt:
    """A single text or row of token ids; options as those of `encode_prompts`.

    Raises:
        PromptError: several prompts, or see `encode_prompts`.
    """
    found = encode_prompts(prompt, **options)
    if len(found) != 1:
        raise PromptError("prompt", expected="one text or row of token ids", received=f"{len(found)} of them",
                          remedy="pass one after the other")  # fmt: skip
    return found[0]


def unpadded(rows: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    """Rows with masks of ones: every token counts, even a pad id at an end, which may be the mark that closes a text.

    Example:
        >>> unpadded([torch.tensor([5, 1])])
        {'input_ids': [tensor([5, 1])], 'attention_mask': [tensor([1, 1])]}
    """
    return {"input_ids": list(rows), "attention_mask": [torch.ones_like(row) for row in rows]}


def prompt_seed(ids: Int[Tensor, "tokens"] | Int[np.ndarray, "tokens"]) -> int:
    """Seed of whatever is drawn for one prompt: its token ids alone decide, so that no other prompt of a run changes a number.

    Example:
        >>> prompt_seed(torch.tensor([5, 1])) == prompt_seed(np.array([5, 1])) != prompt_seed(torch.tensor([1, 5]))
        True
    """
    return zlib.crc32((ids.cpu().numpy() if isinstance(ids, Tensor) else ids).tobytes())


def _one_by_one(prompts: Any) -> Any:
    """A list of prompts, whatever they came in."""
    if isinstance(prompts, (Tensor, np.ndarray)):
        prompts = prompts.tolist()
    single = isinstance(prompts, str) or (_is_list(prompts) and prompts and is_whole(prompts[0]))
    return [prompts] if single else prompts


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _unpad(prompts: Sequence[str | list[int]], mask: Any) -> list[str | list[int]]:
    """The rows without their padding."""
    masks = _rows_of_mask(mask)
    found: list[str | list[int]] = []
    for index, ids in enumerate(prompts):
        entries = masks[index] if index < len(masks) else torch.empty(0)
        if isinstance(ids, str) or len(masks) != len(prompts) or entries.shape != (len(ids),):
            raise PromptError(
                f"prompt {index}",
                expected="one mask entry for every token id",
                received=f"{'a text' if isinstance(ids, str) else f'{len(ids)} ids'} and a mask of {entries.numel()}",
                remedy="pass the attention_mask that came with these ids",
            )
        kept = _marked(index, entries).tolist()
        found.append([token for token, keep in zip(ids, kept, strict=True) if keep])
    return found


def _rows_of_mask(mask: Any) -> list[Tensor]:
    """One mask for each prompt; a single row is that of a single prompt."""
    try:
        rows = list(mask) if _is_rows(mask) else [mask]
        return [torch.as_tensor(row).cpu() for row in rows]
    except (TypeError, ValueError, RuntimeError) as error:
        raise PromptError("attention_mask", expected="rows of ones (tokens) and zeros (padding)",
                          received=type(mask).__name__, remedy="pass the tokenizer's attention_mask") from error  # fmt: skip


def _marked(index: int, mask: Tensor) -> Tensor:
    """What the mask keeps, if it only hides padding at the ends: hidden tokens in between would be another computation."""
    kept = mask == 1
    odd = mask[~kept & (mask != 0)]
    if len(odd):
        raise PromptError(f"prompt {index}", expected="a mask of ones (tokens) and zeros (padding)",
                          received=f"an entry {odd[0].item()}", remedy="pass the tokenizer's attention_mask")  # fmt: skip
    places = kept.nonzero().flatten()
    if not len(places):
        raise PromptError(f"prompt {index}", expected="at least one token", received="a mask that hides all of them",
                          remedy="remove it")  # fmt: skip
    if int(places[-1] - places[0]) >= len(places):
        raise PromptError(f"prompt {index}", expected="a mask that hides padding at the ends",
                          received="one that hides tokens in between", remedy="remove those tokens")  # fmt: skip
    return kept


def _is_rows(mask: Any) -> bool:
    return bool(mask.ndim == 2) if hasattr(mask, "ndim") else len(mask) > 0 and not isinstance(mask[0], (int, float))


def _refuse_padding(prompts: Sequence[str | list[int]], tokenizer: Any) -> None:
    pad = getattr(tokenizer, "pad_token_id", None)
    for index, row in enumerate(prompts):
        if isinstance(row, str):  # what a tokenizer makes of a text is not padded
            continue
        # one leading id that is also BOS begins a prompt; any other pad id at an end is padding
        lead = row[1:] if pad == getattr(tokenizer, "bos_token_id", None) else row
        if pad is not None and pad in (*lead[:1], *lead[-1:]):
            raise PromptError(
                f"prompt {index}",
                expected="an attention_mask, since the row holds pad tokens",
                received=f"pad id {pad} and no mask",
                remedy="pass attention_mask=, or the tokenizer's whole output; a mask of ones if every token is meant",
            )


def _describe(prompts: Any) -> str:
    return "none" if isinstance(prompts, Sequence) else type(prompts).__name__


def _ids_of(index: int, prompt: str | list[int], tokenizer: Any, bos: str) -> list[int]:
    if not isinstance(prompt, str):
        return prompt
    if not prompt:
        raise PromptError(f"prompt {index}", expected="some text", received="an empty string", remedy="remove it")
    if tokenizer is None:
        raise CheckpointError(
            "tokenizer", expected="one, to read text prompts", received="none with this model",
            remedy="pass tokenizer=, or prompts as token ids",
        )  # fmt: skip
    # lone surrogates cannot be encoded; the replacement character keeps the prompt and shows the place
    prompt = prompt.encode("utf-8", errors="replace").decode("utf-8")
    ids = list(tokenizer(prompt, add_special_tokens=bos != "never")["input_ids"])
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else getattr(tokenizer, "cls_token_id", None)
    if bos == "always" and (not ids or ids[0] != start):
        if start is None:
            raise OptionError("bos", expected='"model" or "never" for a tokenizer without BOS', received="'always'",
                              remedy="use bos='model'")  # fmt: skip
        ids = [start, *ids]
    return ids


def _whole_numbers(index: int, prompt: Any) -> list[int]:
    entries = prompt.tolist() if hasattr(prompt, "tolist") else prompt
    # bytes would pass as a row of numbers
    row: list[Any] = list(entries) if isinstance(entries, Iterable) and not isinstance(entries, bytes) else [None]
    if not all(map(is_whole, row)):
        raise PromptError(f"prompt {index}", expected="a text, or a row of whole-number token ids",
                          received=_kind(prompt), remedy="pass a list of texts or of rows")  # fmt: skip
    return [operator.index(token) for token in row]


def _kind(prompt: Any) -> str:
    shape = getattr(prompt, "shape", None)
    return type(prompt).__name__ + (f" of {prompt.dtype}, shape {tuple(shape)}" if shape is not None else "")


def _checked(
    index: int, ids: list[int], prompt: Any, tokenizer: Any, vocabulary: int, context: int | None, truncate: bool
) -> EncodedPrompt:
    if not ids:
        raise PromptError(f"prompt {index}", expected="at least one token", received="none", remedy="remove it")
    largest, smallest = max(ids), min(ids)
    if largest >= vocabulary or smallest < 0:
        raise PromptError(
            f"prompt {index}",
            expected=f"token ids below the vocabulary size {vocabulary}",
            received=f"id {largest if largest >= vocabulary else smallest}",
            remedy="use the tokenizer that belongs to this checkpoint",
        )
    excess = len(ids) - context if context else 0
    if excess > 0 and not truncate:
        raise PromptError(
            f"prompt {index}", expected=f"at most {context} tokens, the context length", received=f"{len(ids)}",
            remedy="shorten it, or truncate (--truncate)",
        )  # fmt: skip
    ids = ids[:context] if excess > 0 else ids
    tokens = tuple(_token_text(tokenizer, token) for token in ids)
    text = prompt if isinstance(prompt, str) else "".join(tokens)
    return EncodedPrompt(text, torch.tensor(ids, dtype=torch.long), tokens, max(excess, 0))


def _token_text(tokenizer: Any, token: int) -> str:
    if tokenizer is None:
        return f"<{token}>"
    text = str(tokenizer.decode([token], clean_up_tokenization_spaces=False))
    # half of a multi-byte character decodes to nothing readable; show the vocabulary entry instead
    return text if text and "\ufffd" not in text else str(tokenizer.convert_ids_to_tokens(token))
