"""Prompts as token ids, with the policies that change results (BOS, padding, truncation) explicit.

Every prompt runs alone and unpadded, so no attention mask is ever approximated: a padded batch is cut back to its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from rgprobe.errors import CheckpointError, OptionError, PromptError

__all__ = ["BOS_POLICIES", "EncodedPrompt", "encode_prompts"]

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
        prompts: a string; a sequence of strings or of token-id sequences; a (B, N) tensor of ids; or a mapping with
            "input_ids" and "attention_mask", as a tokenizer returns it.
        tokenizer: needed for strings.
        vocabulary: number of embeddings; a larger id is refused.
        context: the longest prompt that the model takes, tokens.
        bos: "model" leaves special tokens to the tokenizer, as the model was trained; "always" and "never" force them.
        truncate: cut a longer prompt to the context instead of refusing it.
        attention_mask: (B, N), 1 for tokens and 0 for padding.

    Raises:
        PromptError: no prompt, an empty one, one over the context, an id outside the vocabulary, or pad tokens without a mask.
        CheckpointError: strings for a model without a tokenizer.
        OptionError: unknown `bos` policy.
    """
    if bos not in BOS_POLICIES:
        raise OptionError("bos", expected=" | ".join(BOS_POLICIES), received=repr(bos), remedy="choose one of these")
    if isinstance(prompts, Mapping):
        attention_mask = prompts.get("attention_mask") if attention_mask is None else attention_mask
        prompts = prompts["input_ids"]
    if isinstance(prompts, str):
        prompts = [prompts]
    if isinstance(prompts, Tensor):
        prompts = _unpad(prompts, attention_mask, tokenizer)
    if not isinstance(prompts, Sequence) or not prompts:
        raise PromptError("prompts", expected="at least one prompt", received="none", remedy="pass a text")
    rows = [_ids_of(index, prompt, tokenizer, bos) for index, prompt in enumerate(prompts)]
    return tuple(
        _checked(index, ids, prompt, tokenizer, vocabulary, context, truncate)
        for index, (ids, prompt) in enumerate(zip(rows, prompts, strict=True))
    )


def _unpad(batch: Tensor, mask: Any, tokenizer: Any) -> list[Tensor]:
    batch = batch if batch.ndim == 2 else batch[None]
    if mask is not None:
        mask = torch.as_tensor(mask).reshape(batch.shape).bool().cpu()
        return [row[keep] for row, keep in zip(batch.cpu(), mask, strict=True)]
    pad = getattr(tokenizer, "pad_token_id", None)
    if pad is not None:
        for index, row in enumerate(batch):
            # one leading id that is also BOS begins a prompt; any other pad id at an end is padding
            lead = row[1:] if pad == getattr(tokenizer, "bos_token_id", None) else row
            if len(lead) and (int(lead[0]) == pad or int(lead[-1]) == pad):
                raise PromptError(
                    f"prompt {index}",
                    expected="an attention_mask, since the batch holds pad tokens",
                    received=f"pad id {pad} and no mask",
                    remedy="pass attention_mask=, or the tokenizer's whole output",
                )
    return list(batch.cpu())


def _ids_of(index: int, prompt: Any, tokenizer: Any, bos: str) -> list[int]:
    if not isinstance(prompt, str):
        return [int(token) for token in prompt]
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
