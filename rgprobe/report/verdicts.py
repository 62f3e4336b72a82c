"""What each trend over depth amounts to, and how strong a claim the run can carry."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import xarray as xr

from rgprobe.nulls import MINIMUM_PROMPTS, MINIMUM_SEEDS
from rgprobe.plots.arrays import items, node, policy_sink, unit_label
from rgprobe.rg_flow import RGFlow

__all__ = ["LEVELS", "QUESTIONS", "Against", "Standing", "Trend", "standing", "trends", "verdict_counts"]

LEVELS = ("identity", "descriptive", "beats null", "causal")
# What it means to beat each null; one that is added later is named without its question.
QUESTIONS = {
    "random_init": "did training make it",
    "scaled_init": "did training make it, or are logits merely large",
    "shuffled_tokens": "does the order of the words matter",
    "random_partition": "is the grouping better than chance",
    "position_matched": "does this prompt's content matter",
    "permuted_tokens": "do adjacent layers group the same tokens",
    "shifted_tokens": "do they agree by more than words side by side would",
    "random_directions": "does it matter which direction is perturbed",
    "random_subspace": "does it matter which features are kept",
    "permuted_rows": "does it matter which tokens are looked at",
    "permuted_keys": "does the block before look at the same tokens",
    "permuted_coordinates": "does it matter where tokens lie together",
    "permuted_families": "do paraphrases belong together",
    "persistence": "is there more to it than staying as it is",
    "constant": "is there more to it than returning to the mean",
}


@dataclass(frozen=True)
class Against:
    """A trend's difference from one null, with its 95% interval (NaN where undefined) and its verdict."""

    null: str
    difference: float
    low: float
    high: float
    verdict: str

    @property
    def clear(self) -> float:
        """Distance of the difference from zero in half-widths of its interval; above 1 the interval excludes zero."""
        half_width = (self.high - self.low) / 2
        return abs(self.difference) / half_width if half_width > 0 else 0.0


@dataclass(frozen=True)
class Trend:
    """Slope of one quantity against relative depth, that is, its fitted change from input end to output end.

    `later` is the slope without the first depth; NaN in results of earlier versions.
    """

    diagnostic: str
    title: str
    quantity: str
    meaning: str
    units: str
    slope: float
    later: float
    verdict: str
    against: tuple[Against, ...]
    cells: dict[str, Counter[str]]

    @property
    def turns(self) -> bool:
        """Whether the slope has the other sign without the first depth: then it is one step at the input end."""
        return self.slope * self.later < 0


@dataclass(frozen=True)
class Standing:
    """What the size of a run allows: prompts, tokens, random initialisations, token-shuffled copies, scaled initialisations."""

    prompts: int
    tokens: int
    seeds: int
    shuffles: int
    scaled: int = 0

    @property
    def compared(self) -> bool:
        """Whether there was a random initialisation to compare with."""
        return self.seeds > 0

    @property
    def sufficient(self) -> bool:
        """Whether "beats null" may be said at all."""
        return self.prompts >= MINIMUM_PROMPTS and self.seeds >= MINIMUM_SEEDS


def standing(flow: RGFlow) -> Standing:
    """Size of the run and of its nulls."""
    nulls = flow.provenance["nulls"]
    tokens = sum(len(row) for row in flow.tokens)
    drawn = (len(nulls.get(name, ())) for name in ("random_init_seeds", "shuffle_seeds", "scaled_init_gains"))
    return Standing(len(flow.prompts), tokens, *drawn)


def trends(flow: RGFlow) -> list[Trend]:
    """The trend of each quantity of each diagnostic at the run's sink policy."""
    found = []
    for diagnostic in flow.diagnostics:
        arrays = node(flow, diagnostic)
        sink = policy_sink(arrays)
        here = arrays if sink is None else arrays.sel(sink=sink)
        found += [_trend(diagnostic, here.sel(quantity=q), str(q)) for q in here["quantity"].values]
    return found


def _trend(diagnostic: str, arrays: xr.Dataset, quantity: str) -> Trend:
    against = []
    for null in items(arrays, "null_model") if "trend_difference" in arrays else []:
        each = arrays.sel(null_model=null)
        difference, low, high = (float(each[f"trend_{part}"]) for part in ("difference", "low", "high"))
        if np.isfinite(difference):
            against.append(Against(null, difference, low, high, str(each["trend_verdict_by_null"].item())))
    return Trend(
        diagnostic=diagnostic,
        title=str(arrays.attrs.get("title", diagnostic)),
        quantity=quantity,
        meaning=str(arrays["meaning"].item()) if "meaning" in arrays.coords else "",
        units=unit_label(arrays),
        slope=float(arrays["trend"]),
        later=float(arrays["later_trend"]) if "later_trend" in arrays else float("nan"),
        verdict=str(arrays["trend_verdict"].item()),
        against=tuple(against),
        cells={null: verdict_counts(arrays, null) for null in items(arrays, "null_model")},
    )


def verdict_counts(arrays: xr.Dataset, null: str) -> Counter[str]:
    """How many layers, or layers and heads, got each verdict against one null."""
    words = arrays["verdict_by_null"].sel(null_model=null).values.ravel()
    return Counter(str(word) for word in words if word)
