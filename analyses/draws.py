"""Does a trained network eliminate hypotheses layer by layer, and does its entropy show it? (D15 on draws without replacement)

    python analyses/draws.py [--family standard|gauge] [--model DIR] [--save DIR] [--steps 2000] [--seeds 5] [--out DIR]

Trains 4 blocks of width 64 on heads of shuffled decks of 16 cards. After k draws the exact posterior is uniform over the
16 - k cards that are left, log2(16 - k) bits. Printed, by state of the residual stream read out through the model's own
readout, for the trained network and for random initialisations of it: the divergence of the exact posterior, the divergence
of the final prediction (D15), the entropy, and the probability of cards already drawn, which is what is to be eliminated;
then what `rgprobe.run` says of the trends over depth, and the entropy after each draw at the output end.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from artefacts import OUT_HELP, artefacts

import rgprobe as rg
from rgprobe.models.families import get_family
from rgprobe.models.sequence_training import FIRST_ID, sequence_ids, train_on_sequences
from rgprobe.nulls import compare_with_seeds
from rgprobe.probe.batches import batched_log_probabilities, batched_states
from rgprobe.probe.model import Probe
from rgprobe.testbeds import draws_without_replacement as deck

CARDS = 16
SIZES = {"layers": 4, "width": 64, "heads": 4, "batch": 64, "warmup": 50}
QUANTITIES = ("kl_exact", "kl_to_output", "entropy", "drawn_mass")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=["standard", "gauge"], default="standard")
    parser.add_argument("--model", type=Path, help="a model trained and saved before")
    parser.add_argument("--save", type=Path, help="directory for the trained model")
    for name, default in (("steps", 2000), ("seed", 0), ("seeds", 5), ("sequences", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with artefacts(options.out, "draws") as keep:
        probe = rg.load(options.model if options.model else trained(options), device="cpu")
        tokens = deck.sample(vocabulary=CARDS, draws=CARDS, rows=options.sequences, seed=10**6)
        print(repr(probe))
        result = {**by_layer(probe, tokens, options.seeds), **verdicts(probe, tokens[:24], options.seeds)}
        keep(result)


def trained(options: argparse.Namespace) -> torch.nn.Module:
    """Train, save where asked to, and return what `rg.load` takes."""
    model = train_on_sequences(
        lambda rows, seed: deck.sample(vocabulary=CARDS, draws=CARDS, rows=rows, seed=seed),
        vocabulary=CARDS, length=CARDS, family=options.family, steps=options.steps, seed=options.seed, **SIZES,
    )  # fmt: skip
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
        get_family(options.family).save(model, options.save)
    return getattr(model, "decoder", model)


def readings(probe: Probe, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Each quantity after 1 ... 15 draws, (rows, state, draws), bits or pure numbers."""
    ids = sequence_ids(tokens)[:, :-1]
    log_p = batched_log_probabilities(probe, batched_states(probe, ids))[:, :, 1:].transpose(1, 0, 2, 3)
    exact = deck.posterior(tokens[:, :-1], vocabulary=CARDS)[:, None, 1:]
    cards, last = log_p[..., FIRST_ID:], log_p[:, -1:]
    p = np.exp(log_p)
    bits = 1 / np.log(2)
    return {
        "kl_exact": bits * (exact * (np.log(np.where(exact > 0, exact, 1.0)) - cards)).sum(-1),
        "kl_to_output": bits * (np.exp(last) * (last - log_p) - np.exp(last) + p).sum(-1),
        "entropy": -bits * (p * log_p).sum(-1),
        "drawn_mass": (np.exp(cards) * (exact == 0)).sum(-1),
    }


def by_layer(probe: Probe, tokens: np.ndarray, seeds: int) -> dict[str, object]:
    """Means over draws and sequences by state, trained and random, with the interval of the difference."""
    own, null = readings(probe, tokens), []
    for seed in range(seeds):
        with probe.randomised(seed) as random:
            null.append(readings(random, tokens))
    known = deck.exact(vocabulary=CARDS, draws=CARDS)[1:]
    print(f"exact entropy, mean over 1 to {CARDS - 1} draws: {known.mean():.4f} bits")
    result: dict[str, object] = {"exact_entropy": known.mean()}
    for name in QUANTITIES:
        value = own[name].mean(-1)
        found = compare_with_seeds(value, np.stack([one[name].mean(-1) for one in null]))
        print(f"{name:13s} trained " + " ".join(f"{x:8.4f}" for x in value.mean(0)))
        print(f"{'':13s} random  " + " ".join(f"{x:8.4f}" for x in found.null))
        print(f"{'':13s} 95%     " + " ".join(f"{a:.3f}..{b:.3f}" for a, b in zip(found.low, found.high, strict=True)))
        result[name] = {"trained": value.mean(0).tolist(), "random": found.null.tolist(),
                        "low": found.low.tolist(), "high": found.high.tolist()}  # fmt: skip
    curve = own["entropy"][:, -1].mean(0)
    print("after k draws, entropy at the output end: " + " ".join(f"{x:.3f}" for x in curve))
    print("                              exactly    : " + " ".join(f"{x:.3f}" for x in known))
    return {**result, "entropy_by_draw": curve.tolist(), "exact_by_draw": known.tolist()}


def verdicts(probe: Probe, tokens: np.ndarray, seeds: int) -> dict[str, object]:
    """What a run of the diagnostic itself says of entropy and of divergence, trained against random."""
    prompts = list(sequence_ids(tokens)[:, :-1])
    flow = rg.run(probe, prompts, diagnostics="elimination", nulls=seeds, shuffles=0, bos="never", seed=0)
    node = flow.to_xarray()["elimination"].to_dataset()
    found = {}
    for name in ("kl_to_output", "entropy"):
        entry = node.sel(quantity=name)
        null = entry.sel(null_model="random_init")
        numbers = [
            float(entry["trend"]),
            float(null["trend_null"]),
            float(null["trend_low"]),
            float(null["trend_high"]),
        ]
        found[name] = {"trend": numbers, "verdict": str(entry["trend_verdict"].values)}
        print(f"rgprobe.run, trend of {name} over depth: {numbers[0]:.3f} bits, random {numbers[1]:.3f}, "
              f"difference {numbers[2]:.3f} to {numbers[3]:.3f}: {found[name]['verdict']}")  # fmt: skip
    return {"trends": found}


if __name__ == "__main__":
    main()
