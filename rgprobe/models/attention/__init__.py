"""Attention by KL divergence between transported Gaussian beliefs, at the cost of dot-product attention.

`kl_attention` takes records and checks them. A model that builds its beliefs itself, every step, takes the parts:
`dense_common_frame`, `diagonal_common_frame`, `framed_blocks` or `isotropic_common_frame`, then `attention_features`,
then `attend`; they check nothing and read nothing back from the device. Under autocast they belong into
`torch.autocast(device, enabled=False)`, on tensors of float32 or more: features stored in less err by per cents.
"""

from rgprobe.models.attention.attending import attend, attention_pattern
from rgprobe.models.attention.common_frame import (
    CommonFrame,
    dense_common_frame,
    diagonal_common_frame,
    framed_blocks,
    isotropic_common_frame,
)
from rgprobe.models.attention.features import attention_features
from rgprobe.models.attention.group_frames import BlockFrames, so3_generators, so3_irreps
from rgprobe.models.attention.kernel import kl_attention
from rgprobe.models.attention.local_covariance import DiagonalCovariance, FullCovariance, LowRankCovariance
from rgprobe.models.attention.masking import Visibility
from rgprobe.models.attention.priors import KeyPrior, PairPrior, RelativePrior

__all__ = [
    "BlockFrames",
    "CommonFrame",
    "DiagonalCovariance",
    "FullCovariance",
    "KeyPrior",
    "LowRankCovariance",
    "PairPrior",
    "RelativePrior",
    "Visibility",
    "attend",
    "attention_features",
    "attention_pattern",
    "dense_common_frame",
    "diagonal_common_frame",
    "framed_blocks",
    "isotropic_common_frame",
    "kl_attention",
    "so3_generators",
    "so3_irreps",
]
