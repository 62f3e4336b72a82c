"""What README.md says of attention by divergence: its example runs, its numbers are those of the committed records."""

import json
import re
from pathlib import Path

import numpy as np
import torch

from rgprobe.models.bench.result import LadderResult

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text("utf-8")
TOLD = " ".join(README.split())


def test_the_example_of_attention_runs():
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "kl_attention" in block]
    torch.manual_seed(0)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["output"].shape == (4, 1024, 16)
    assert names["output"].isfinite().all()


def test_ratios_are_those_of_the_ladder():
    cells = LadderResult.from_json((DOCS / "attention-ladder.json").read_text("utf-8")).cells
    of = {(cell.method, cell.tokens, cell.dim): cell for cell in cells}

    def ratio(one, other, tokens, pace="forward"):
        return getattr(of[one, tokens, 16], pace).median / getattr(of[other, tokens, 16], pace).median

    cached, pairs, first = (ratio(name, "common-frame", 1024) for name in ("cached", "pairs", "first-order"))
    assert f"take {cached:.0f} times as long with every exponential cached, and {pairs:.0f} times without" in TOLD
    assert f"to first order in the frames, which is wrong, takes {first:.0f}." in TOLD
    forward, both = (ratio("common-frame", "dot-product-width", 4096, pace) for pace in ("forward", "both"))
    assert f"{forward:.1f} times as fast at 4,096 tokens, {both:.1f} times with the backward pass" in TOLD


def test_losses_are_those_of_the_matched_pair():
    page = (DOCS / "matched-pair.md").read_text("utf-8")
    mean, low, high = re.findall(r"\| gauge - standard \(3 seeds\) \| -([\d.]+) \| -([\d.]+) to -([\d.]+) \|", page)[0]
    assert f"has {float(mean):.3f} nats per token less test loss" in TOLD
    assert f"({float(high):.3f} to {float(low):.3f}, three seeds" in TOLD
    losses = json.loads((DOCS / "matched-pair.json").read_text("utf-8"))["runs"]
    of = {name: np.array([losses[f"pair/{name}/seed-{seed}"]["test"] for seed in range(3)])
          for name in ("standard", "gauge-without-successors", "standard-with-log-prior-and-successors")}  # fmt: skip
    ties, gains = (of[name] - of["standard"] for name in list(of)[1:])
    assert abs(ties.mean()) < 4.303 * ties.std(ddof=1) / 3**0.5
    assert "without the second the two families tie" in TOLD
    assert gains.mean() > 0
    assert "with the second alone a dot product gains nothing" in TOLD
    (slower,) = re.findall(r"\| float32 \| [\d.]+ \| [\d.]+ \| ([\d.]+) \|", page)
    assert f"for {slower} times a training step" in TOLD
