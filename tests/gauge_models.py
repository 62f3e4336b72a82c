"""Gauge models small enough to build in a moment, in float64, with attention far from uniform."""

import torch

from rgprobe.models import GaugeConfig, GaugeTransformer

SIZES = {"n_layers": 2, "n_heads": 2, "d_model": 12, "d_vocab": 61, "n_ctx": 32, "d_mlp": 20, "d_code": 5}


def tiny_gauge(seed=0, **switches):
    model = GaugeTransformer(GaugeConfig(**{**SIZES, "initializer_range": 0.4, **switches})).double().eval()
    model.reset_parameters(seed)
    with torch.no_grad():
        for block in model.blocks:
            if block.attn.log_temperature is not None:
                block.attn.log_temperature.copy_(torch.tensor([-0.3, 0.4]))
    return model


def activations(model, ids):
    """What the hooks of a model see of one prompt, without the batch dimension."""
    with torch.no_grad():
        _, cache = model.run_with_cache(ids[None])
    return {name: value[0] for name, value in cache.items()}
