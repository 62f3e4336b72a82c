"""Downstream beliefs: what the rest of the network can see of a token, as a Fisher information.

    mu_i = x_(l,i),   Lambda_i = E[g_i g_i^T],   g_i = d log p(y) / d x_(l,i),   y sampled from the model's own predictions

The sum of log-probabilities runs over the scored positions. For a small displacement, half the quadratic form of Lambda_i is
the KL divergence of the predictions there, summed: to second order, what is lost downstream when the token is moved.

One forward pass holds the graph of the whole network; every draw of outputs is one backward pass through it, which gives the
gradients of all states and tokens at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from rgprobe.gaussian import Gaussian
from rgprobe.probe.coordinates import Coordinates, population_coordinates, without_sink
from rgprobe.probe.fisher_belief import belief_of_precision
from rgprobe.probe.model import Hook, Probe
from rgprobe.probe.prompts import prompt_seed
from rgprobe.probe.shrinkage import shrunk_covariance

__all__ = [
    "FLOOR",
    "DownstreamCollector",
    "active_coordinates",
    "prediction_gradients",
    "score_gradients",
    "score_information",
]

FLOOR = 1e-3


def score_gradients(
    log_probability: Callable[[torch.Generator], Tensor],
    leaves: Sequence[Tensor],
    *,
    draws: int,
    generator: torch.Generator,
    select: Callable[[Tensor], Tensor] = lambda gradient: gradient,
) -> tuple[Tensor, ...]:
    """Gradients of the log-probability of sampled outputs, (draws, *leaf) for each leaf.

    Args:
        log_probability: samples outputs and returns their log-probability, a scalar that depends on the leaves.
        leaves: with respect to which tensors of its graph.
        draws: how many samples, one backward pass each.
        generator: of the samples.
        select: what to keep of a gradient; all by default.

    Example:
        >>> x = torch.tensor([2.0], requires_grad=True)
        >>> coin = lambda g: (torch.rand(1, generator=g) < 0.5) * x.sum()
        >>> (slopes,) = score_gradients(coin, [x], draws=5, generator=torch.Generator().manual_seed(0))
        >>> slopes.shape, sorted(set(slopes.flatten().tolist()))
        (torch.Size([5, 1]), [0.0, 1.0])
    """
    found: list[tuple[Tensor, ...]] = []
    for _ in range(draws):
        score = log_probability(generator)
        gradients = torch.autograd.grad(score, list(leaves), retain_graph=True, materialize_grads=True)
        found.append(tuple(select(gradient) for gradient in gradients))
    return tuple(torch.stack(each) for each in zip(*found, strict=True))


def score_information(gradients: Float[Tensor, "*batch draws r"]) -> Float64[Tensor, "*batch r r"]:
    """E[g g^T] from sampled gradients of the log-probability, whose mean is zero, shrunk as Ledoit and Wolf do.

    Nats per squared unit of what the gradients are taken with respect to. Without shrinkage as many draws as directions leave
    directions of which no draw knows anything.

    Example:
        >>> import torch
        >>> score_information(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """
    return shrunk_covariance(gradients, centred=True)


def active_coordinates(
    population: Coordinates, gradients: Float[Tensor, "*batch d"], *, rank: int
) -> tuple[Coordinates, Float64[Tensor, "*batch r"]]:
    """The coordinates of the population that matter most downstream, and the gradients along them.

    Leading eigenvectors of the pooled E[g g^T] in units of the population's spread: where states differ and the outputs
    notice.

    Source: the active subspace of Constantine, Dow and Wang, SIAM J. Sci. Comput. 36 (2014) A1500.
    """
    pulled = population.pull_back(gradients)
    rows = pulled.reshape(-1, pulled.shape[-1])
    axes = torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1)[:, :rank].T
    return population.turned(axes), pulled @ axes.T


def prediction_gradients(
    probe: Probe,
    ids: Int[Tensor, " tokens"],
    positions: Int[Tensor, " positions"],
    *,
    scored: Int[Tensor, " scored"],
    draws: int,
) -> tuple[tuple[Float[Tensor, "tokens width"], ...], tuple[Float[Tensor, "draws positions width"], ...]]:
    """All states of a prompt, and at some tokens the gradients of the log-probability of outputs drawn at the scored ones.

    The draws depend on the prompt alone, not on its company.

    Raises:
        NumericalRefusal: no known readout reproduces this model's own logits.
    """
    with torch.inference_mode(False), torch.enable_grad():
        states = _states(probe, ids)
        log_p = probe.differentiable_readout(states[-1][0, scored]).double().log_softmax(-1)
        weights = log_p.detach().exp().cpu()

        def sampled(generator: torch.Generator) -> Tensor:
            outputs = torch.multinomial(weights, 1, generator=generator).to(log_p.device)
            return log_p.gather(-1, outputs).sum()

        generator = torch.Generator().manual_seed(prompt_seed(ids))
        gradients = score_gradients(
            sampled, states, draws=draws, generator=generator, select=lambda each: each[0, positions]
        )
    return tuple(state.detach()[0] for state in states), gradients


class DownstreamCollector:
    """Downstream beliefs of the recorded tokens at each state, for one prompt, from a pass of their own."""

    def __init__(
        self, probe: Probe, ids: Int[Tensor, " tokens"], positions: Int[Tensor, " positions"], *, sink: str, rank: int,
        samples: int, scored: str,
    ) -> None:  # fmt: skip
        self.probe, self.ids, self.sink, self.rank, self.samples = probe, ids, sink, rank, samples
        self.positions = positions.to(probe.device)
        self.scored = self.positions[-1:] if scored == "last" else self.positions

    def hooks(self) -> list[tuple[str, Hook]]:
        """None: it runs a pass of its own."""
        return []

    def gaussians(self) -> tuple[Gaussian, ...]:
        """One Gaussian of batch shape (position, 1) per state, float64."""
        states, gradients = prediction_gradients(
            self.probe, self.ids, self.positions, scored=self.scored, draws=self.samples
        )
        return tuple(self._belief(state, gradient) for state, gradient in zip(states, gradients, strict=True))

    def _belief(self, states: Tensor, gradients: Tensor) -> Gaussian:
        population = population_coordinates(without_sink(states, self.sink))
        coordinates, pulled = active_coordinates(population, gradients.transpose(0, 1), rank=self.rank)
        information = score_information(pulled)  # (positions, r, r)
        mean = information.diagonal(dim1=-2, dim2=-1).mean()
        floor = FLOOR * (mean if mean > 0 else torch.ones_like(mean))
        eye = torch.eye(information.shape[-1], dtype=torch.float64)
        return belief_of_precision(coordinates.of(states[self.positions]).cpu(), information + floor * eye)


def _states(probe: Probe, ids: Tensor) -> list[Tensor]:
    """All states of a prompt, (1, tokens, width) each, connected by the graph of the pass."""
    states: list[Tensor] = []

    def keep(tensor: Tensor, hook: object) -> None:
        if not tensor.requires_grad:  # a model whose weights are frozen
            tensor.requires_grad_()
        states.append(tensor)

    probe.rows_to_last_state(ids[None], [(probe.state_hook(state), keep) for state in range(probe.n_blocks + 1)])
    return states
