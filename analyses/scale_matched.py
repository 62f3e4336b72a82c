"""Do predictions flow, or are logits merely large? Random initialisations that are scaled to the logits of the model.

    python analyses/scale_matched.py SOURCE [--nulls 5] [--out DIR]

A network that was never trained predicts nearly nothing: its logits hardly differ, so that its lens beliefs agree, are
settled and condense into one, at every depth. Multiply the gain of its final norm by thirty, and divergences grow and fall
with depth as in a trained model, though nothing was learnt. So the claims of `claims.py` about predictions are put again,
against random initialisations whose final gain is scaled until the standard deviation of their logits over the vocabulary,
root mean square over the prompts' tokens, is that of the model. Slopes over depth, and without the first depth; differences
with 95% intervals. (`rgprobe run --scaled-nulls` measures such nulls beside the others, for every quantity.)
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from artefacts import OUT_HELP, artefacts
from claims import CLAIMS
from findings import decided, table, without_nan

import rgprobe as rg
from rgprobe.data import load_prompts
from rgprobe.models.shipped import prompts_unseen_by
from rgprobe.probe.logit_scale import logit_deviation, match_logit_scale
from rgprobe.probe.model import Probe
from rgprobe.probe.prompts import unpadded

SCALED = tuple(claim for claim in CLAIMS if claim.scales)


def main() -> None:
    """Measure one model and its scaled nulls, print a table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("--nulls", type=int, default=5, help="random initialisations")
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with artefacts(arguments.out, "scale_matched") as keep:
        prompts = load_prompts(prompts_unseen_by(arguments.source))
        found = measure(rg.load(arguments.source), prompts, nulls=arguments.nulls)
        print(
            f"logits deviate by {found['deviation']:.3g}; gains of random initialisations x {_listed(found['gains'])}\n"
        )
        print("\n".join(table(found["claims"], shuffled=False)))
        keep(found)


def measure(probe: Probe, prompts: list[str], *, nulls: int) -> dict[str, Any]:
    """Every claim that grows with the scale of logits, against random initialisations of equal scale alone."""
    encoded = [prompt.ids for prompt in probe.encode(prompts)]
    traced, wanted = rg.trace(probe, unpadded(encoded)), logit_deviation(probe, encoded)
    scaled, gains = [], []
    for seed in range(nulls):
        with probe.randomised(seed) as null:
            gains.append(match_logit_scale(null, encoded, wanted))
            scaled.append(rg.trace(null, unpadded(encoded)))
    flow = rg.measure(traced, diagnostics=sorted({claim.diagnostic for claim in SCALED}), random_inits=scaled)
    texts = {claim.text for claim in SCALED}
    rows = [without_nan(row) for row in decided([flow]) if row["claim"] in texts]
    return {"model": probe.name, "deviation": wanted, "gains": gains, "claims": rows}


def _listed(numbers: list[float]) -> str:
    return ", ".join(f"{number:.3g}" for number in numbers)


if __name__ == "__main__":
    main()
