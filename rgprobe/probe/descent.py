"""One step of plain gradient descent on a prompt's own loss: where the weights would go, taken back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Int
from torch import Tensor, nn

from rgprobe.errors import OptionError
from rgprobe.probe.model import Probe
from rgprobe.probe.patterns import next_token_loss

__all__ = ["gradient_step"]


@contextmanager
def gradient_step(probe: Probe, ids: Int[Tensor, " n"], *, relative: float = 1e-3) -> Iterator[Probe]:
    """The same model, its weights moved along minus the gradient of the prompt's mean next-token loss, inside the block.

    The weights are put back bit for bit, whatever happens. Nothing else may use the model meanwhile.

    Args:
        probe: a causal model.
        ids: token ids of one prompt, at least 2.
        relative: length of the step over the norm of all weights together.

    Raises:
        OptionError: a shorter prompt, or a length that is not positive.

    Example:
        >>> from rgprobe.probe.loading import load
        >>> probe, ids = load("gauge-small", device="cpu"), torch.arange(5, 12)
        >>> before = probe.loss(ids, bos="never")
        >>> with gradient_step(probe, ids) as moved:
        ...     after = moved.loss(ids, bos="never")
        >>> after < before == probe.loss(ids, bos="never")
        True
    """
    if len(ids) < 2 or not relative > 0:
        raise OptionError("ids" if len(ids) < 2 else "relative", expected="at least 2 tokens, and a positive length",
                          received=f"{len(ids)} tokens, {relative}", remedy="lengthen the prompt or the step")  # fmt: skip
    weights = _floating(probe)
    wanted = [weight.requires_grad for weight in weights]
    kept = [weight.detach().clone() for weight in weights]
    try:
        gradients = _gradients(probe, weights, ids.to(probe.device))
        size = _norm(kept) / max(_norm(gradients), torch.finfo(torch.float64).tiny)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.sub_(gradient * (relative * size))
        yield probe
    finally:
        with torch.no_grad():
            for weight, old, learns in zip(weights, kept, wanted, strict=True):
                weight.copy_(old)
                weight.requires_grad_(learns)


def _floating(probe: Probe) -> list[nn.Parameter]:
    """Every weight once; a bridge may hold copies of some, which compute in their place."""
    found = {
        id(weight): weight for module in (probe.bridge, probe.bridge.original_model) for weight in module.parameters()
    }
    return [weight for weight in found.values() if weight.is_floating_point()]


def _gradients(probe: Probe, weights: list[nn.Parameter], ids: Int[Tensor, " n"]) -> list[Tensor]:
    with torch.inference_mode(False), torch.enable_grad(), probe.evaluating():
        for weight in weights:
            weight.requires_grad_(True)
        logits = probe.bridge(ids.clone()[None], return_type="logits")[0]
        loss = next_token_loss(logits, ids)
        return list(torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True))


def _norm(tensors: list[Tensor]) -> float:
    return float(sum(float(tensor.double().square().sum()) for tensor in tensors) ** 0.5)
