"""What a network's own norm does to a state: does it take out the mean over coordinates, or only the length?"""

from __future__ import annotations

import torch

from rgprobe.probe.model import Probe

__all__ = ["norm_kind"]

LAYER_NORMS = ("LN", "LNPre")


@torch.inference_mode()
def norm_kind(probe: Probe) -> str:
    """ "layer" where the final norm ignores a shift of all coordinates, "rms" where it does not.

    It is tried on a state, as names differ between architectures; one without a final norm says it in its configuration.

    Example:
        >>> import rgprobe as rg
        >>> norm_kind(rg.load("standard-small", device="cpu"))
        'rms'
    """
    state = torch.linspace(-1, 1, probe.width, dtype=probe.dtype, device=probe.device)[None, None] ** 3
    try:
        plain, shifted = probe.bridge.ln_final(state), probe.bridge.ln_final(state + 1)
    except (AttributeError, TypeError, RuntimeError):
        return "layer" if getattr(probe.bridge.cfg, "normalization_type", None) in LAYER_NORMS else "rms"
    return "layer" if bool((plain - shifted).abs().max() <= 1e-2 * plain.abs().max()) else "rms"
