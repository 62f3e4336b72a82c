"""Relevant, irrelevant, marginal: the growth of perturbations over layers, measured in the spread between prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rgprobe.diagnostics.pooling import Estimates
from rgprobe.student import t_quantile

__all__ = ["LABELS", "SlopeLabels", "classify", "log_gains", "slopes"]

LABELS = ("relevant", "marginal", "irrelevant")


@dataclass(frozen=True, eq=False)
class SlopeLabels:
    """How directions fare along the flow.

    Attributes:
        slope: of ln g over layers, nats per layer, mean over prompts.
        low, high: 95% t interval over prompts.
        label: "relevant" (low > 0), "irrelevant" (high < 0), "marginal" (the interval holds 0); "" where undefined.
    """

    slope: Float64[np.ndarray, "*directions"]
    low: Float64[np.ndarray, "*directions"]
    high: Float64[np.ndarray, "*directions"]
    label: np.ndarray


def log_gains(
    log_norms: Float64[np.ndarray, "prompts *directions states"], spread: Estimates
) -> Float64[np.ndarray, "prompts *directions states"]:
    """ln g_l(u) = ln ||J_(0->l) u|| - ln s_l, per prompt.

    s_l belongs to all prompts together, so its jackknife pseudo-values are subtracted: the mean over prompts is the
    estimate, and its variance over prompts carries that of s_l too.

    Args:
        log_norms: ln ||J_(0->l) u||, any scale of u: it shifts ln g at all layers alike.
        spread: ln s_l, see `rgprobe.diagnostics.prompt_spread`.

    Example:
        >>> unit = Estimates(np.zeros(3), np.zeros((2, 3)))  # s_l = 1
        >>> growing = np.log(1.2) * np.arange(3.0)
        >>> slopes(log_gains(np.stack([growing, growing]), unit)).round(6).tolist()
        [0.182322, 0.182322]
    """
    pseudo = spread.pseudo_values()
    inner = log_norms.ndim - 2
    return log_norms - pseudo.reshape(pseudo.shape[0], *(1,) * inner, pseudo.shape[1])


def slopes(log_gain: Float64[np.ndarray, "*batch states"]) -> Float64[np.ndarray, "*batch"]:
    """Least-squares slope of ln g over layers, nats per layer; NaN with fewer than two finite entries.

    Entries that are not finite are left out.
    """
    here = np.isfinite(log_gain)
    count = here.sum(-1, keepdims=True).clip(1)
    layer = np.where(here, np.arange(log_gain.shape[-1], dtype=np.float64), 0.0)
    layer = np.where(here, layer - layer.sum(-1, keepdims=True) / count, 0.0)
    power = (layer**2).sum(-1)
    rise = (layer * np.where(here, log_gain, 0.0)).sum(-1)
    return np.where(power > 0, rise / np.where(power > 0, power, 1.0), np.nan)


def classify(by_prompt: Float64[np.ndarray, "prompts *directions"]) -> SlopeLabels:
    """Labels from the slopes of single prompts (or their jackknife pseudo-values).

    Example:
        >>> classify(np.array([[0.2, -0.3, 0.1], [0.3, -0.2, -0.1], [0.25, -0.25, 0.0]])).label.tolist()
        ['relevant', 'irrelevant', 'marginal']
    """
    here = np.isfinite(by_prompt)
    count = here.sum(0)
    filled = np.where(here, by_prompt, 0.0)
    enough = count >= 3  # as for every interval over prompts
    mean = np.where(count > 0, filled.sum(0) / count.clip(1), np.nan)
    deviation = np.where(here, by_prompt - np.nan_to_num(mean), 0.0)
    error = np.sqrt((deviation**2).sum(0) / (count - 1).clip(1) / count.clip(1))
    half = np.where(enough, t_quantile(count - 1) * error, np.nan)
    low, high = mean - half, mean + half
    label = np.where(low > 0, LABELS[0], np.where(high < 0, LABELS[2], LABELS[1]))
    return SlopeLabels(mean, low, high, np.where(enough, label, "").astype(object))
