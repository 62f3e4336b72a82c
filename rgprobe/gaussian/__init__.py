"""Gaussian beliefs and their divergences: plain tensors, batched over leading dimensions, no model in sight.

Everything is measured in nats and float64. `kl` and its kin are for *measurement*, accurate also for near-equal and
near-singular beliefs; the attention kernel of `rgprobe.models` computes scores its own, faster way.
"""

from rgprobe.gaussian.averaging import merge, pool
from rgprobe.gaussian.divergence import jeffreys, kl, pairwise_kl, pairwise_product_kl
from rgprobe.gaussian.record import Gaussian
from rgprobe.gaussian.transport import frames, pushforward, to_common_frame

__all__ = [
    "Gaussian",
    "frames",
    "jeffreys",
    "kl",
    "merge",
    "pairwise_kl",
    "pairwise_product_kl",
    "pool",
    "pushforward",
    "to_common_frame",
]
