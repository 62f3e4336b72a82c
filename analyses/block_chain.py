"""Does attention learn the eigenvectors of a block-diagonal chain? (D24)

    python analyses/block_chain.py [--chain blocks|plain|ring] [--family standard|gauge] [--model DIR] [--save DIR]
                                   [--steps 1500] [--seeds 5] [--out DIR]

Trains 2 blocks of width 64 on walks of 48 tokens over 12 states:

- blocks: two rings of 5 and 7 states, half of the tokens replaced by random ones, so that attention is needed;
- plain: the same without noise, where the last token says it all;
- ring: one ring of 12 states with the same memory and noise, a chain without those blocks: the null for "blocks". Its states
  are renamed when its maps are read: in their order around the ring, neighbours would be neighbours in the two rings too.

Every head is then read on sequences of uniformly drawn tokens, so that no structure comes from the probing: the overlap of
the leading 5 directions of its value and pattern maps over states with the 5 slow eigenvectors of the two rings (one says in
which block, two how far around each ring), what they hold of each of the three parts, and the share of the maps that
commutes with the rings' symmetries. Printed per block of the network, as the mean over its heads: trained, random
initialisations with the 95% interval of the difference, and the mean under random relabelling of the states.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from artefacts import OUT_HELP, artefacts

import rgprobe as rg
from rgprobe.diagnostics import eigenvector_learning as d24
from rgprobe.models.families import get_family
from rgprobe.models.sequence_training import sequence_ids, train_on_sequences
from rgprobe.nulls import compare_with_seeds
from rgprobe.probe.batches import activations, batched_log_probabilities, batched_states
from rgprobe.probe.model import Probe
from rgprobe.testbeds import ring_blocks, ring_chain

RINGS, STATES, LENGTH, NOISE, SLOW = (5, 7), 12, 48, 0.5, 5
SIZES = {"layers": 2, "width": 64, "heads": 4, "batch": 32, "warmup": 50}
BLOCKS = ring_blocks.chain(sizes=RINGS)
# the ring whose slowest mode decays as that of the larger of the two
RING = ring_chain.chain(states=STATES, correlation_length=float(-1 / np.log(0.5 + 0.5 * np.cos(2 * np.pi / RINGS[1]))))
GROUP = ring_blocks.symmetries(BLOCKS)
# the slow modes of the ring hold 0.74 of those of the two rings in their order, 0.35 under these names; by chance 4/11
RENAMED = np.random.default_rng(7).permutation(STATES)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chain", choices=["blocks", "plain", "ring"], default="blocks")
    parser.add_argument("--family", choices=["standard", "gauge"], default="standard")
    parser.add_argument("--model", type=Path, help="a model trained and saved before")
    parser.add_argument("--save", type=Path, help="directory for the trained model")
    for name, default in (("steps", 1500), ("seed", 0), ("seeds", 5), ("sequences", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with artefacts(options.out, "block_chain") as keep:
        probe = rg.load(options.model if options.model else trained(options), device="cpu")
        print(f"{probe!r}, trained on {options.chain}")
        result = {**loss(probe, options.chain), **table(probe, options)}
        keep(result)


def draw(chain: str, rows: int, seed: int) -> np.ndarray:
    """Tokens of one of the three processes."""
    if chain == "ring":
        walks = ring_chain.sample(RING, rows=rows, length=LENGTH, seed=seed)
    else:
        walks = ring_blocks.sample(BLOCKS, walks=rows, length=LENGTH, seed=seed)
    return walks if chain == "plain" else ring_blocks.observe(walks, states=STATES, noise=NOISE, seed=seed + 1)


def trained(options: argparse.Namespace) -> torch.nn.Module:
    """Train, save where asked to, and return what `rg.load` takes."""
    model = train_on_sequences(
        lambda rows, seed: draw(options.chain, rows, seed),
        vocabulary=STATES, length=LENGTH, family=options.family, steps=options.steps, seed=options.seed, **SIZES,
    )  # fmt: skip
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
        get_family(options.family).save(model, options.save)
    return getattr(model, "decoder", model)


def loss(probe: Probe, chain: str) -> dict[str, float]:
    """Loss on fresh sequences against the exact filter's, nats per token."""
    tokens = draw(chain, 256, 10**6)
    ids = sequence_ids(tokens)
    log_p = batched_log_probabilities(probe, batched_states(probe, ids[:, :-1])[-1])
    own = -np.take_along_axis(log_p, ids[:, 1:, None].numpy(), 2)[..., 0]
    if chain == "ring":
        print(f"loss {own.mean():.4f} nats per token")
        return {"loss": own.mean()}
    exact = ring_blocks.posterior(tokens[:, :-1], BLOCKS, noise=NOISE if chain == "blocks" else 0.0)
    best = -np.log(np.take_along_axis(exact, tokens[..., None], 2)[..., 0])
    excess = (own - best).mean(1)
    print(f"loss {own.mean():.4f}, exact filter {best.mean():.4f} nats per token; excess {excess.mean():.4f} "
          f"± {excess.std(ddof=1) / np.sqrt(len(excess)):.4f} (s.e.)")  # fmt: skip
    return {"loss": own.mean(), "exact_loss": best.mean(), "excess": excess.mean()}


def eigenvectors() -> dict[str, np.ndarray]:
    """The slow eigenvectors of the two rings, the constant one taken out."""
    known = ring_blocks.exact(BLOCKS)
    parts = {"block": d24.centred((BLOCKS.labels == 0).astype(float)[:, None], columns=False)}
    for block, name in enumerate(("ring A", "ring C")):
        own = np.flatnonzero((known.blocks == block) & (known.eigenvalues < 1 - 1e-9))
        parts[name] = known.right[:, own[:2]]
    return {"slow": np.concatenate(list(parts.values()), axis=1), **parts}


def maps_of(probe: Probe, tokens: np.ndarray) -> list[list[d24.HeadMaps]]:
    """Value and pattern maps by block and head; the opening token is no key."""
    names = [f"blocks.{block}.attn.hook_{kind}" for block in range(probe.n_blocks) for kind in ("v", "pattern")]
    found = activations(probe, sequence_ids(tokens), names)
    return [
        [
            d24.head_maps(tokens, found[v][:, 1:, head], found[pattern][:, head, 1:, 1:], states=STATES)
            for head in range(probe.n_heads)
        ]
        for v, pattern in zip(names[::2], names[1::2], strict=True)
    ]


def statistics(heads: list[d24.HeadMaps], labels: np.ndarray) -> np.ndarray:
    """(statistic, head): overlaps of values and of pattern with each part, then the commutant shares."""
    wanted = eigenvectors()
    columns = []
    for head in heads:
        values, pattern = head.values[labels], head.pattern[np.ix_(labels, labels)]
        spans = [d24.leading_subspace(matrix, SLOW) for matrix in (values, pattern)]
        overlaps = [d24.subspace_overlap(span, part) for span in spans for part in wanted.values()]
        columns.append([*overlaps, d24.commutant_share(values @ values.T, GROUP), d24.commutant_share(pattern, GROUP)])
    return np.array(columns).T


def table(probe: Probe, options: argparse.Namespace) -> dict[str, object]:
    """Every statistic: trained, random initialisations, random names of the states."""
    tokens = np.random.default_rng(7).integers(STATES, size=(options.sequences, LENGTH))
    maps, plain = maps_of(probe, tokens), RENAMED if options.chain == "ring" else np.arange(STATES)
    value = np.stack([statistics(heads, plain).mean(1) for heads in maps])  # (block, statistic)
    null = []
    for seed in range(options.seeds):
        with probe.randomised(seed) as random:
            null.append(np.stack([statistics(heads, plain).mean(1) for heads in maps_of(random, tokens)]))
    generator = np.random.default_rng(0)
    names = [generator.permutation(STATES) for _ in range(200)]
    renamed = np.array([[statistics(heads, order).mean(1) for heads in maps] for order in names])
    # one model: the interval of the difference carries the seeds of the null
    found = compare_with_seeds(value[None], np.stack(null)[:, None])
    kinds = [f"{kind}: {part}" for kind in ("values", "pattern") for part in eigenvectors()]
    kinds += ["values: commutant", "pattern: commutant"]
    print(f"{'':22s} trained  random  difference, 95% interval   renamed  p(renamed)")
    rows = {}
    for block in range(len(maps)):
        for index, kind in enumerate(kinds):
            above = (1 + (renamed[:, block, index] >= value[block, index]).sum()) / (1 + len(names))
            row = [value[block, index], found.null[block, index], found.difference[block, index],
                   found.low[block, index], found.high[block, index], renamed[:, block, index].mean(), above]  # fmt: skip
            rows[f"{block} {kind}"] = [float(x) for x in row]
            print(f"{block} {kind:20s} {row[0]:7.3f} {row[1]:7.3f} {row[2]:7.3f}  {row[3]:6.3f} to {row[4]:6.3f}   "
                  f"{row[5]:7.3f}  {row[6]:.3f}")  # fmt: skip
    return {"table": rows}


if __name__ == "__main__":
    main()
