"""A forward pass without hooks: the baseline with which the cost of measuring is compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from rgprobe.models.gauge.config import MODEL_TYPE

__all__ = ["Forward", "plain_forward"]

Forward = Callable[[Int[Tensor, " tokens"]], object]


def plain_forward(path: Path, *, device: str = "cpu") -> tuple[Forward, int]:
    """A forward pass to the logits of every token without any hook, and the number V of token embeddings.

    Attention is the fused one of `transformers` (sdpa), which forms no N x N matrix; a gauge model has one way only. Imports
    nothing that such a person would not import, so that a process which does only this shows what it takes.

    Args:
        path: a directory in Hugging Face format that has been loaded by `rgprobe.load` before: nothing is checked again.
        device: "cpu" or "cuda".
    """
    config = json.loads((path / "config.json").read_text("utf-8"))
    if config["model_type"] == MODEL_TYPE:
        from rgprobe.models.gauge import GaugeTransformer

        gauge = GaugeTransformer.from_pretrained(path).eval().to(device)
        return torch.inference_mode()(lambda ids: gauge(ids[None].to(device))), int(gauge.cfg.d_vocab)
    import transformers

    from rgprobe.probe.reading import quiet

    model_class = getattr(transformers, str((config.get("architectures") or ["AutoModelForCausalLM"])[0]))
    with quiet():
        model = model_class.from_pretrained(
            path, dtype=torch.float32, local_files_only=True, trust_remote_code=False, attn_implementation="sdpa",
            use_safetensors=True,
        ).eval().to(device)  # fmt: skip
    return torch.inference_mode()(lambda ids: model(ids[None].to(device)).logits), int(config["vocab_size"])
