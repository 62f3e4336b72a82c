"""Do meta-tokens keep what the model computes? Rate-distortion of condensation, by patching, against obvious partitions."""

from __future__ import annotations

from rgprobe.rate_distortion.measuring import faithfulness
from rgprobe.rate_distortion.record import RateDistortion

__all__ = ["RateDistortion", "faithfulness"]
