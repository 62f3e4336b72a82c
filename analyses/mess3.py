"""Does a trained network hold the exact posterior of a hidden Markov model, and in which layer? (D16 on Mess3)

    python analyses/mess3.py [--family standard|gauge] [--model DIR] [--save DIR] [--steps 1500] [--seeds 5] [--out DIR]

Trains 3 blocks of width 64 on fresh sequences of 48 tokens, then probes every state for the forward filter's belief, affinely
and held out by sequence. Printed: how far the loss is from that of the exact filter (paired, with its standard error), and
by state R^2, R^2 of random initialisations, their difference with a 95% interval over sequences and seeds. Beside it, what
the last k tokens alone give, because states of an untrained network hold the last tokens.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from artefacts import OUT_HELP, artefacts

import rgprobe as rg
from rgprobe.diagnostics.posterior_probe import posterior_probe
from rgprobe.models.families import get_family
from rgprobe.models.sequence_training import sequence_ids, train_on_sequences
from rgprobe.nulls import compare_with_seeds
from rgprobe.probe.batches import batched_log_probabilities, batched_states
from rgprobe.probe.model import Probe
from rgprobe.testbeds import mess3

LENGTH = 48
SIZES = {"layers": 3, "width": 64, "heads": 4, "batch": 32, "warmup": 50}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=["standard", "gauge"], default="standard")
    parser.add_argument("--model", type=Path, help="a model trained and saved before")
    parser.add_argument("--save", type=Path, help="directory for the trained model")
    for name, default in (("steps", 1500), ("seed", 0), ("seeds", 5), ("sequences", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with artefacts(options.out, "mess3") as keep:
        probe = rg.load(options.model if options.model else trained(options), device="cpu")
        tokens = mess3.sample(length=LENGTH, rows=options.sequences, seed=10**6).tokens
        result = {**loss_table(probe, tokens), **posterior_table(probe, tokens, options.seeds), **window_table(tokens)}
        keep(result)


def trained(options: argparse.Namespace) -> torch.nn.Module:
    """Train, save where asked to, and return what `rg.load` takes."""
    model = train_on_sequences(
        lambda rows, seed: mess3.sample(length=LENGTH, rows=rows, seed=seed).tokens,
        vocabulary=3, length=LENGTH, family=options.family, steps=options.steps, seed=options.seed, **SIZES,
    )  # fmt: skip
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
        get_family(options.family).save(model, options.save)
    return getattr(model, "decoder", model)


def loss_table(probe: Probe, tokens: np.ndarray) -> dict[str, object]:
    """Loss against that of the exact filter on the same tokens, nats per token."""
    ids = sequence_ids(tokens)
    log_p = batched_log_probabilities(probe, batched_states(probe, ids[:, :-1])[-1])
    own = -np.take_along_axis(log_p, ids[:, 1:, None].numpy(), 2)[..., 0]
    exact = -np.log(np.take_along_axis(mess3.next_token(mess3.beliefs(tokens)[:, :-1]), tokens[..., None], 2)[..., 0])
    excess = (own - exact).mean(1)
    error = excess.std(ddof=1) / np.sqrt(len(excess))
    low, high = mess3.exact(words=10).entropy_rate_bounds
    print(f"{probe!r}")
    print(f"loss {own.mean():.4f}, exact filter {exact.mean():.4f} nats per token on the same sequences; ", end="")
    print(f"excess {excess.mean():.5f} ± {error:.5f} (s.e.); entropy rate {low:.5f} to {high:.5f}")
    return {"loss": own.mean(), "exact_loss": exact.mean(), "excess": excess.mean(), "excess_error": error}


def posterior_table(probe: Probe, tokens: np.ndarray, seeds: int) -> dict[str, object]:
    """R^2 by state, trained and random, and their difference."""
    posterior = mess3.beliefs(tokens)[:, 1:]

    def by_state(one: Probe) -> np.ndarray:
        states = batched_states(one, sequence_ids(tokens))[:, :, 1:]  # no token has been seen at the opening one
        return np.stack([posterior_probe(state, posterior).pseudo_values for state in states], axis=1)

    value, null = by_state(probe), []
    for seed in range(seeds):
        with probe.randomised(seed) as random:
            null.append(by_state(random))
    found = compare_with_seeds(value, np.stack(null))
    print(f"{'state':>5s} {'R^2':>8s} {'random':>8s} {'difference':>10s}  95% interval")
    for state, r2 in enumerate(value.mean(0)):
        print(f"{state:5d} {r2:8.4f} {found.null[state]:8.4f} {found.difference[state]:10.4f}  "
              f"{found.low[state]:.4f} to {found.high[state]:.4f}")  # fmt: skip
    return {"r2": value.mean(0).tolist(), "random": found.null.tolist(), "difference": found.difference.tolist(),
            "low": found.low.tolist(), "high": found.high.tolist(), "seeds": seeds}  # fmt: skip


def window_table(tokens: np.ndarray) -> dict[str, object]:
    """R^2 of the last k tokens, one-hot: what anything that merely remembers them affords."""
    hot, found = np.eye(4)[tokens + 1], {}
    for k in (1, 2, 3, 5, 8):
        padded = np.pad(hot, ((0, 0), (k - 1, 0), (0, 0)))
        window = np.concatenate([padded[:, shift : shift + LENGTH] for shift in range(k)], axis=-1)
        found[k] = posterior_probe(window, mess3.beliefs(tokens)[:, 1:]).r2
    print("last k tokens alone: " + ", ".join(f"k={k} {r2:.4f}" for k, r2 in found.items()))
    return {"window": found}


if __name__ == "__main__":
    main()
