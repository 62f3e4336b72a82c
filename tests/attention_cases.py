"""Beliefs, frames and values with odd sizes, and the textbook double loop over a batch of them."""

import torch

from rgprobe.gaussian import Gaussian, frames
from rgprobe.models.attention import BlockFrames, Visibility, so3_irreps
from rgprobe.models.attention.reference import kl_attention_loop

KINDS = ("full", "scale_tril", "diagonal", "low_rank", "isotropic")
GROUPS = ("trivial", "so", "gl", "blocks", "irreps")


def leaves(kind, *batch, k=3, seed=0, dtype=torch.float64):
    """Tensors that a belief of this kind is built from, ready for gradients: mean, then covariance parameters."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    root = 0.4 * normal(*batch, k, k)
    parts = {
        "full": [root @ root.mT + 0.5 * torch.eye(k, dtype=dtype)],
        "scale_tril": [root.tril(-1) + torch.diag_embed(normal(*batch, k).exp())],
        "diagonal": [(0.7 * normal(*batch, k)).exp()],
        "low_rank": [normal(*batch, k, 2), (0.5 * normal(*batch, k)).exp()],
        "isotropic": [(0.7 * normal(*batch, 1)).exp()],
    }[kind]
    return [x.requires_grad_() for x in (normal(*batch, k), *parts)]


def build(kind, tensors):
    mean, *parts = tensors
    if kind == "full":
        return Gaussian.from_covariance(mean, parts[0])
    if kind == "scale_tril":
        return Gaussian(mean, parts[0])
    if kind == "low_rank":
        return Gaussian.from_low_rank(mean, *parts)
    return Gaussian.from_diagonal(mean, parts[0].expand(mean.shape))


def dense_covariance(kind, tensors):
    """Sigma from the same tensors, by the definition."""
    mean, *parts = tensors
    if kind == "full":
        return 0.5 * (parts[0] + parts[0].mT)
    if kind == "scale_tril":
        return parts[0] @ parts[0].mT
    if kind == "low_rank":
        return parts[0] @ parts[0].mT + torch.diag_embed(parts[1])
    return torch.diag_embed(parts[0].expand(mean.shape))


def group_elements(group, *batch, k=3, seed=1, dtype=torch.float64):
    """Frames for `kl_attention`, and the leaves they depend on."""
    g = torch.Generator().manual_seed(seed)
    if group == "trivial":
        return None, []
    if group == "irreps":
        phi = torch.randn(*batch, 3, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
        return so3_irreps(phi, (0, 1) if k == 4 else (1,)), [phi]
    if group == "blocks":
        sizes = (2, k - 2)
        blocks = [torch.eye(s) + 0.4 * torch.randn(*batch, s, s, generator=g, dtype=torch.float64) for s in sizes]
        blocks = [b.to(dtype).requires_grad_() for b in blocks]
        return BlockFrames(tuple(blocks)), blocks
    phi = 0.5 * torch.randn(*batch, k, k, generator=g, dtype=torch.float64)
    phi = phi - phi.mT if group == "so" else phi
    u = frames(phi, group=group).to(dtype).requires_grad_()
    return u, [u]


def dense_frames(elements):
    return elements.dense() if isinstance(elements, BlockFrames) else elements


def loop(kind, tensors, values, elements, *, rule=None, kappa=1.0, prior=None, transport_values=True):
    """The textbook loop over one sequence or a batch of them; kappa and prior are expanded over the batch."""
    mean, covariance, u = tensors[0], dense_covariance(kind, tensors), dense_frames(elements)
    n = mean.shape[-2]
    rule = rule or Visibility()
    visible = rule.between(torch.arange(n)[:, None], torch.arange(n))
    if mean.ndim == 2:
        return kl_attention_loop(
            mean,
            covariance,
            values,
            u,
            kappa=kappa,
            visible=visible,
            log_prior=prior,
            transport_values=transport_values,
        )
    both = []
    for b in range(mean.shape[0]):
        here = kl_attention_loop(
            mean[b],
            covariance[b],
            values[b],
            None if u is None else u[b],
            kappa=kappa[b] if isinstance(kappa, torch.Tensor) and kappa.ndim else kappa,
            visible=visible,
            log_prior=prior[b] if prior is not None and prior.ndim == 3 else prior,
            transport_values=transport_values,
        )
        both.append(here)
    return torch.stack([out for out, _ in both]), torch.stack([beta for _, beta in both])


def relative_error(got, expected):
    """Largest difference over the largest entry of what is expected."""
    return (got - expected).abs().max().item() / max(expected.abs().max().item(), 1e-300)
