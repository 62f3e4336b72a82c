"""Does the effective rank of representations fall with depth on chains of short memory and stay on chains of long memory?

    python analyses/rank_order.py [--networks attention,mlp,window,next] [--seeds 3] [--steps 1200] [--blocks 6] [--out DIR]

After Haggi-Mani & Rish (arXiv:2606.10324, arXiv:2607.15449), as far as abstracts and summaries say: 16 states, 64 tokens,
correlation lengths 1.2 and 6.7, one-hot tokens, a stack of residual MLP blocks (LayerNorm, GELU, hidden width 4 d) trained
to fill in masked tokens (15%, BERT's 80/10/10), effective rank by layer. Ours: the transition matrix (a ring), AdamW with a
cosine schedule and fewer steps. Four networks, because a stack that sees one token at a time cannot use the chain to fill in
masks:

- mlp: each position by itself, as "pure MLP residual stack" says;
- attention: one head without positions before each MLP, as in the second paper;
- window: an mlp whose input is the tokens from 4 before to 4 after; ours, the least that can use a short chain;
- next: each position by itself, without masks, predicting the next token; ours.

Printed per network and chain, over training seeds: loss, effective rank by layer before and after training, at the level of
positions, of sequences averaged over positions, and of single sequences, each divided by that of the input end.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from artefacts import OUT_HELP, artefacts
from torch import Tensor, nn

from rgprobe.diagnostics.correlation import connected_correlation
from rgprobe.diagnostics.correlation_length import decay
from rgprobe.diagnostics.rank_order import kernel_drift, rank_profile
from rgprobe.models.options import TrainingOptions
from rgprobe.models.sequence_training import batch_seed, fit
from rgprobe.testbeds import ring_chain

STATES, LENGTH, WIDTH = 16, 64, 64
LENGTHS = (1.2, 6.7)
LEVELS = ("position", "pooled", "sequence")
REACH = {"mlp": 0, "attention": 0, "window": 4, "next": 0}


class Stack(nn.Module):
    """One-hot tokens (the last id is the mask), residual blocks, and a readout; `states` keeps what is between them."""

    def __init__(self, network: str, blocks: int) -> None:
        super().__init__()
        self.reach = REACH[network]
        self.embed = nn.Linear((STATES + 1) * (2 * self.reach + 1), WIDTH)
        attention = network == "attention"
        self.mixers = nn.ModuleList(
            nn.MultiheadAttention(WIDTH, 1, batch_first=True) for _ in range(blocks * attention)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2 * blocks))
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)) for _ in range(blocks)
        )
        self.readout = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, STATES))

    def states(self, ids: Tensor) -> list[Tensor]:
        """Representations (B, T, d) from the embedding to the last block."""
        hot = nn.functional.one_hot(ids, STATES + 1).float()
        around = nn.functional.pad(hot, (0, 0, self.reach, self.reach)).unfold(1, 2 * self.reach + 1, 1)
        states = [self.embed(around.flatten(2))]
        for block, mlp in enumerate(self.mlps):
            x = states[-1]
            if len(self.mixers):
                y = self.norms[2 * block](x)
                x = x + self.mixers[block](y, y, y, need_weights=False)[0]
            states.append(x + mlp(self.norms[2 * block + 1](x)))
        return states

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the token behind each position."""
        return self.readout(self.states(ids)[-1])


def masked(tokens: np.ndarray, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs with 15% of the tokens hidden, and targets there (-100 elsewhere): 80% masks, 10% random, 10% as they were."""
    rng = np.random.default_rng(seed)
    chosen, kind = rng.random(tokens.shape) < 0.15, rng.random(tokens.shape)
    inputs = np.where(chosen & (kind < 0.8), STATES, tokens)
    inputs = np.where(chosen & (kind >= 0.9), rng.integers(STATES, size=tokens.shape), inputs)
    return torch.from_numpy(inputs), torch.from_numpy(np.where(chosen, tokens, -100))


def task(network: str, tokens: np.ndarray, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets of a network."""
    if network == "next":
        return torch.from_numpy(tokens[:, :-1]), torch.from_numpy(tokens[:, 1:])
    return masked(tokens, seed)


def measure(network: str, xi: float, seed: int, options: argparse.Namespace) -> dict[str, object]:
    """Train one network, and take its ranks before and after."""
    built = ring_chain.chain(states=STATES, correlation_length=xi)
    torch.manual_seed(seed)
    model = Stack(network, options.blocks)
    training = TrainingOptions(out=Path(), steps=options.steps, batch=options.batch, context=LENGTH, seed=seed,
                               learning_rate=1e-3, warmup=50, weight_decay=0.0)  # fmt: skip

    def batch(step: int) -> tuple[Tensor, Tensor]:
        drawn = batch_seed(seed, step)
        tokens = ring_chain.sample(built, rows=training.batch, length=LENGTH, seed=drawn)
        return task(network, tokens, drawn + 1)

    # sequences as training shows them, masks included
    held_out, targets = task(network, ring_chain.sample(built, rows=64, length=LENGTH, seed=10**6), 10**6 + 1)
    before = profiles(model, held_out)
    fit(model, batch, training)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model(held_out).flatten(0, 1), targets.flatten())
    return {"network": network, "xi": xi, "seed": seed, "loss": float(loss), "before": before,
            "after": profiles(model, held_out)}  # fmt: skip


@torch.no_grad()
def profiles(model: Stack, tokens: Tensor) -> dict[str, list[float]]:
    """Effective ranks by layer at each level; kernel drift by step."""
    states = torch.stack(model.states(tokens)).numpy().astype(np.float64)
    found = {level: rank_profile(states, level=level).tolist() for level in LEVELS}
    found["position_centred"] = rank_profile(states, centre=True).tolist()
    return {**found, "drift": kernel_drift(states.reshape(len(states), -1, WIDTH)).tolist()}


def chain_length(xi: float) -> float:
    """Correlation length of one-hot tokens as the diagnostic D7 measures it, tokens."""
    built = ring_chain.chain(states=STATES, correlation_length=xi)
    slow = np.stack([np.cos(2 * np.pi * np.arange(STATES) / STATES), np.sin(2 * np.pi * np.arange(STATES) / STATES)], 1)
    tokens = ring_chain.sample(built, rows=400, length=128, seed=0)
    return float(decay([connected_correlation(slow[tokens])], 128).laws.correlation_length[0])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="attention,mlp,window,next")
    for name, default in (("seeds", 3), ("steps", 1200), ("blocks", 6), ("batch", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with artefacts(options.out, "rank_order") as keep:
        rows = []
        for xi in LENGTHS:
            print(f"chain with xi = {xi}: D7 measures {chain_length(xi):.2f} tokens on its slowest mode")
        for network in options.networks.split(","):
            for xi in LENGTHS:
                rows += [measure(network, xi, seed, options) for seed in range(options.seeds)]
                report([row for row in rows if row["network"] == network and row["xi"] == xi])
                keep(rows)


def report(rows: list[dict[str, object]]) -> None:
    """Means over seeds, with the half-range, of ranks relative to the input end."""
    print(f"\n{rows[0]['network']}, xi = {rows[0]['xi']}: loss {spread([row['loss'] for row in rows])}")
    for level in (*LEVELS, "position_centred", "drift"):
        for when in ("before", "after"):
            found = np.array([row[when][level] for row in rows])
            ratio = found if level == "drift" else found / found[:, :1]
            start = "" if level == "drift" else f" from {found[:, 0].mean():5.1f}:"
            print(f"  {level:17s} {when:6s}{start} " + " ".join(f"{value:5.2f}" for value in ratio.mean(0)) +
                  f"   last {spread(ratio[:, -1])}")  # fmt: skip


def spread(values: object) -> str:
    """Mean and half of the range."""
    array = np.asarray(values)
    return f"{array.mean():.3f} ± {np.ptp(array) / 2:.3f}"


if __name__ == "__main__":
    main()
