"""The standard family: a plain Llama decoder (RMSNorm, rotary positions, SwiGLU, tied embeddings).

Saved in Hugging Face format, so that `transformers` and `transformer_lens` load it like any other checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors.torch import save
from torch import Tensor, nn
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from rgprobe.errors import OptionError
from rgprobe.files import write_bytes, write_text
from rgprobe.models.tokenizer import BOS_ID, PAD_ID

__all__ = ["StandardTransformer", "build_standard", "save_standard"]

_ATTENTION = "rgprobe_float32"


class StandardTransformer(nn.Module):
    """Token ids (B, N) in, logits (B, N, V) out, over a `LlamaForCausalLM`."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.decoder = LlamaForCausalLM(config)

    def forward(self, ids: Int[Tensor, "B N"]) -> Float[Tensor, "B N V"]:
        """Logits of the next token at every position."""
        logits: Tensor = self.decoder(input_ids=ids, use_cache=False).logits
        return logits

    def activation_checkpointing_enable(self) -> None:
        """See `transformers`."""
        self.decoder.activation_checkpointing_enable()


def build_standard(*, vocabulary: int, context: int, layers: int, width: int, heads: int) -> StandardTransformer:
    """A freshly initialised decoder (normal weights of standard deviation 0.02; torch's global seed decides).

    Args:
        vocabulary: number of tokens V.
        context: longest input in tokens.
        layers: number of blocks.
        width: residual width; the feed-forward part is 4 times as wide.
        heads: attention heads per block; the head width must be even for rotary positions.

    Raises:
        OptionError: `width` is not an even multiple of `heads`.
    """
    if width % (2 * heads):
        raise OptionError(
            "--width",
            expected=f"a multiple of 2 x heads = {2 * heads}, so that rotary positions have pairs",
            received=str(width),
            remedy="change --width or --heads",
        )
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=BOS_ID,
        eos_token_id=BOS_ID,
        pad_token_id=PAD_ID,
        architectures=["LlamaForCausalLM"],
        dtype=torch.float32,
    )
    AttentionInterface.register(_ATTENTION, _attend_in_float32)
    model = StandardTransformer(config)
    model.decoder.set_attn_implementation(_ATTENTION)
    return model


def save_standard(model: nn.Module, directory: Path) -> None:
    """Write config.json and model.safetensors; the tied output matrix is left out, as `transformers` does."""
    if not isinstance(model, StandardTransformer):
        raise TypeError(f"expected a StandardTransformer, received {type(model).__name__}")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.decoder.named_parameters()}
    write_bytes(directory / "model.safetensors", save(tensors, metadata={"format": "pt"}))
    write_text(directory / "config.json", model.decoder.config.to_json_string())


def _attend_in_float32(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Attention outside autocast, as the gauge family has it; on a CPU the bfloat16 kernel's gradient is also twice as slow."""
    with torch.autocast(query.device.type, enabled=False):
        wide = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (query, key, value))
        return sdpa_attention_forward(module, *wide, *args, **kwargs)
