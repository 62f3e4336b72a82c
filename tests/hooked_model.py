"""A model in the manner of transformer_lens before version 4: hooks of the old names, no bridge around it."""

from types import SimpleNamespace

import torch
from torch import nn
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

LAYERS, HEADS, WIDTH, VOCABULARY = 2, 2, 12, 53


class HookedTransformer(HookedRootModule):
    def __init__(self, seed=0):
        super().__init__()
        self.cfg = SimpleNamespace(
            n_layers=LAYERS, n_heads=HEADS, d_model=WIDTH, d_vocab=VOCABULARY, n_ctx=40, model_name="old", seed=seed
        )
        self.tokenizer = None
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.ln_final = nn.LayerNorm(WIDTH)
        self.unembed = nn.Linear(WIDTH, VOCABULARY)
        self.init_weights()
        self.setup()

    def init_weights(self):
        generator = torch.Generator().manual_seed(self.cfg.seed)
        for parameter in self.parameters():
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)

    def forward(self, ids, return_type="logits"):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.unembed(self.ln_final(x)) if return_type == "logits" else None


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn, self.mlp = Attention(), FeedForward()
        self.hook_resid_pre, self.hook_resid_mid, self.hook_resid_post = HookPoint(), HookPoint(), HookPoint()

    def forward(self, x):
        x = self.hook_resid_pre(x)
        x = self.hook_resid_mid(x + self.attn(x))
        return self.hook_resid_post(x + self.mlp(x))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.hook_v, self.hook_attn_scores, self.hook_pattern = HookPoint(), HookPoint(), HookPoint()

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, WIDTH // HEADS)).unbind(2)
        v = self.hook_v(v)
        scores = torch.einsum("bqhe,bkhe->bhqk", q, k)
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        pattern = self.hook_pattern(self.hook_attn_scores(scores.masked_fill(hidden, -torch.inf)).softmax(-1))
        return self.out(torch.einsum("bhqk,bkhe->bqhe", pattern, v).flatten(2))


class FeedForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down, self.hook_post = nn.Linear(WIDTH, 20), nn.Linear(20, WIDTH), HookPoint()

    def forward(self, x):
        return self.down(self.hook_post(self.up(x).relu()))
