"""Ensemble beliefs: where a token's state lies while the input is perturbed.

    mu_i, Sigma_i = mean and covariance of x_(l,i) over an ensemble of passes

The ensemble is made by Gaussian noise on the input embeddings, or by the model's own dropout. Covariances are shrunk as Ledoit
and Wolf do. Two estimates of one Gaussian from n passes each differ by r (r + 3) / (2n) nats; tokens closer than three times
that agree as far as the ensemble can tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

from rgprobe.errors import NumericalRefusal, OptionError
from rgprobe.gaussian import Gaussian
from rgprobe.probe.coordinates import PopulationCollector
from rgprobe.probe.model import Hook, Probe
from rgprobe.probe.prompts import prompt_seed
from rgprobe.probe.shrinkage import shrunk_covariance

__all__ = [
    "FLOORS_OF_CONSENSUS",
    "RIDGE",
    "SAMPLES_PER_DIMENSION",
    "EnsembleCollector",
    "ensemble_belief",
    "require_samples",
]

SAMPLES_PER_DIMENSION = 20
FLOORS_OF_CONSENSUS = 3
RIDGE = 1e-6
TOKENS_AT_ONCE = 2048


def require_samples(samples: int, rank: int) -> None:
    """Refuse an ensemble too small for its covariance.

    Raises:
        NumericalRefusal: fewer than `SAMPLES_PER_DIMENSION` samples per dimension.
    """
    if samples < SAMPLES_PER_DIMENSION * rank:
        raise NumericalRefusal(
            "covariance of ensemble beliefs",
            expected=f"at least {SAMPLES_PER_DIMENSION} samples for each of {rank} dimensions", received=str(samples),
            remedy=f"use samples={SAMPLES_PER_DIMENSION * rank}, or a smaller rank",
        )  # fmt: skip


def ensemble_belief(samples: Float[Tensor, "*batch n r"]) -> Gaussian:
    """N(mean, shrunk covariance) of n samples.

    Raises:
        NumericalRefusal: fewer than 20 r samples, or samples without any spread.

    Example:
        >>> import torch
        >>> draws = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> ensemble_belief(draws).dim
        2
    """
    require_samples(samples.shape[-2], samples.shape[-1])
    samples = samples.double().cpu()
    return Gaussian.from_covariance(samples.mean(-2), shrunk_covariance(samples))


class EnsembleCollector:
    """Ensemble beliefs of the recorded tokens at each state, for one prompt: the clean pass gives the coordinates."""

    def __init__(
        self, probe: Probe, ids: Int[Tensor, " tokens"], positions: Int[Tensor, " positions"], *, sink: str, rank: int,
        samples: int, source: str, noise: float,
    ) -> None:  # fmt: skip
        self.probe, self.ids, self.samples, self.source, self.noise = probe, ids, samples, source, noise
        self.population = PopulationCollector(probe, positions, sink=sink, rank=rank)
        if source == "dropout" and not list(_dropouts(probe)):
            raise OptionError("source", expected="noise, for a model without dropout", received="'dropout'",
                              remedy=f"leave it out: {probe.name} has no dropout layer of positive rate")  # fmt: skip

    def hooks(self) -> list[tuple[str, Hook]]:
        """What to attach to the clean pass."""
        return self.population.hooks()

    def gaussians(self) -> tuple[Gaussian, ...]:
        """One Gaussian of batch shape (position, 1) per state, float64, after the clean pass."""
        return tuple(_belief(samples) for samples in self._samples())

    @torch.inference_mode()
    def _samples(self) -> list[Float64[Tensor, "position n r"]]:
        """Coordinates of the recorded states in every pass of the ensemble, by state."""
        generator = torch.Generator().manual_seed(prompt_seed(self.ids))
        found: list[list[Tensor]] = [[] for _ in self.population.coordinates]
        at_once = max(1, TOKENS_AT_ONCE // len(self.ids))
        for start in range(0, self.samples, at_once):
            copies = min(at_once, self.samples - start)
            with self._perturbed(generator) as hooks:
                self.probe.rows_to_last_state(self.ids.repeat(copies, 1), [*hooks, *self._keep(found)])
        return [torch.cat(parts).transpose(0, 1) for parts in found]

    def _keep(self, found: list[list[Tensor]]) -> list[tuple[str, Hook]]:
        def keeper(state: int) -> Hook:
            def keep(tensor: Tensor, hook: object) -> None:
                rows = self.population.coordinates[state].of(tensor[:, self.population.positions])
                found[state].append(rows.cpu())

            return keep

        return [(self.probe.state_hook(state), keeper(state)) for state in range(self.probe.n_blocks + 1)]

    @contextmanager
    def _perturbed(self, generator: torch.Generator) -> Iterator[list[tuple[str, Hook]]]:
        """Hooks for one pass; dropout layers are active inside."""
        if self.source == "dropout":
            with ExitStack() as stack:
                for module in _dropouts(self.probe):
                    stack.callback(module.register_forward_hook(_dropping(module.p, generator)).remove)
                yield []
            return
        where = "hook_embed" if "hook_embed" in self.probe.bridge.hook_dict else self.probe.state_hook(0)

        def disturb(tensor: Tensor, hook: object) -> Tensor:
            size = self.noise * tensor.double().square().mean(-1, keepdim=True).sqrt()
            # copy by copy, so that the draws do not depend on how many pass at once
            draws = [torch.randn(each.shape, generator=generator, dtype=torch.float64) for each in tensor]
            return (tensor + size * torch.stack(draws).to(tensor.device)).to(tensor.dtype)

        yield [(where, disturb)]


def _belief(samples: Float64[Tensor, "position n r"]) -> Gaussian:
    """As `ensemble_belief`, with a ridge: dropout leaves the states before it as they are."""
    samples = samples.clone()  # what was made in inference mode cannot be worked on in place later
    eye = torch.eye(samples.shape[-1], dtype=torch.float64)
    return Gaussian.from_covariance(samples.mean(-2)[:, None], (shrunk_covariance(samples) + RIDGE * eye)[:, None])


def _dropouts(probe: Probe) -> Iterator[nn.Dropout]:
    return (m for m in probe.bridge.original_model.modules() if isinstance(m, nn.Dropout) and m.p > 0)


def _dropping(rate: float, generator: torch.Generator) -> Hook:
    """A forward hook that drops entries although the model is not in training."""

    def drop(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept = torch.rand(output.shape, generator=generator).to(output.device) >= rate
        return output * kept / (1 - rate)

    return drop
