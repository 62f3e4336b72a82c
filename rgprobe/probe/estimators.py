"""What a token's belief is taken to be: one record per estimator, which all that depends on the choice reads."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from jaxtyping import Int
from torch import Tensor

from rgprobe.checks import is_whole, one_of
from rgprobe.errors import OptionError
from rgprobe.gaussian import Gaussian
from rgprobe.probe.attention import AttentionCollector
from rgprobe.probe.downstream import FLOOR, DownstreamCollector
from rgprobe.probe.ensemble import FLOORS_OF_CONSENSUS, EnsembleCollector, require_samples
from rgprobe.probe.fisher_belief import FisherBeliefCollector
from rgprobe.probe.model import Hook, Probe
from rgprobe.probe.native import NativeCollector, require_native
from rgprobe.probe.shrinkage import noise_floor
from rgprobe.probe.thermal import RIDGE, ThermalCollector

__all__ = ["ESTIMATORS", "Estimator", "GaussianCollector", "Pass", "estimator_of"]

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Pass:
    """One prompt on its way through a model: what a collector of beliefs may look at.

    Attributes:
        probe: the model.
        ids: token ids of the prompt.
        positions: indices of the recorded tokens.
        attention: collector whose listeners are given the recorded rows of attention.
        sink: policy for token 0.
        options: of the estimator, complete.
    """

    probe: Probe
    ids: Int[Tensor, " tokens"]
    positions: Int[Tensor, " positions"]
    attention: AttentionCollector
    sink: str
    options: Options


class GaussianCollector(Protocol):
    """Collects Gaussian beliefs of the recorded tokens while one prompt streams through."""

    def hooks(self) -> list[tuple[str, Hook]]:
        """What to attach."""

    def gaussians(self) -> tuple[Gaussian, ...]:
        """One Gaussian of batch shape (position, head) per block or state, after the pass; it may make more passes."""


@dataclass(frozen=True)
class Estimator:
    """A way to say what a token believes.

    Attributes:
        name: how it is chosen.
        assumption: what must hold for it to be the token's belief.
        depth_dim: what beliefs are indexed by: "state" (L + 1) or "block" (L).
        reads: collections whose hooks it needs, whether or not they are kept: "attention", "states".
        collector: of Gaussian beliefs; None for categorical beliefs, which are read out from the recorded states once the
            prompt has passed.
        families: model families that have such beliefs; empty means any.
        require: refuses a model of a supported family that still lacks these beliefs.
        options: what may be chosen, with defaults.
        choices: the words that an option takes; other options are positive numbers, of the type of their default.
        require_options: refuses options that do not go together.
        noise_floor: KL divergence, nats, between two estimates of one belief, for beliefs made from random draws.
    """

    name: str
    assumption: str
    depth_dim: str
    reads: frozenset[str] = frozenset()
    collector: Callable[[Pass], GaussianCollector] | None = None
    families: tuple[str, ...] = ()
    require: Callable[[Probe], None] | None = None
    options: Options = field(default_factory=dict, hash=False)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    require_options: Callable[[Options], None] | None = None
    noise_floor: Callable[[Options], float] | None = None

    @property
    def gaussian(self) -> bool:
        """Whether beliefs are Gaussians per head, whose divergences add, rather than categorical distributions."""
        return self.collector is not None

    def check(self, probe: Probe) -> None:
        """Refuse a model that has no such beliefs.

        Raises:
            OptionError: says why it has none.
        """
        if self.families and probe.family not in self.families:
            only = f"{self.name} beliefs exist in the {' and '.join(self.families)} family only"
            raise OptionError(
                f"belief {self.name}", expected=f"a {' or '.join(self.families)} model",
                received=f"{probe.name}, a {probe.family} model: {only}", remedy="choose lens or thermal beliefs",
            )  # fmt: skip
        if self.require is not None:
            self.require(probe)

    def complete(self, given: Options | None) -> dict[str, Any]:
        """The given options, and defaults for the others.

        Raises:
            OptionError: an unknown option, or a value that it does not take.
            NumericalRefusal: too few samples for what is to be estimated.

        Example:
            >>> estimator_of("fisher").complete({"rank": 4}), estimator_of("lens").complete(None)
            ({'rank': 4}, {})
        """
        if not isinstance(given, Mapping | None):
            raise OptionError("belief_options", expected="options by name", received=type(given).__name__,
                              remedy="pass a dict, or leave it out")  # fmt: skip
        for name, value in (given or {}).items():
            if name not in self.options:
                known = ", ".join(self.options) or f"none: {self.name} beliefs have no options"
                raise OptionError(f"belief_options[{name!r}]", expected=known, received="an unknown option",
                                  remedy="correct the name, or leave it out")  # fmt: skip
            if not self._takes(name, value):
                kind = "a whole number >= 1" if isinstance(self.options[name], int) else "a finite number > 0"
                raise OptionError(f"belief_options[{name!r}]", expected=" | ".join(self.choices.get(name, (kind,))),
                                  received=repr(value), remedy=f"use {self.options[name]!r}, the default")  # fmt: skip
        options = {**self.options, **{name: _plain(value) for name, value in (given or {}).items()}}
        if self.require_options is not None:
            self.require_options(options)
        return options

    def _takes(self, name: str, value: Any) -> bool:
        if name in self.choices:
            return value in self.choices[name]
        if isinstance(self.options[name], int):
            return is_whole(value) and value > 0
        return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")

    def noise(self, options: Options) -> dict[str, float] | None:
        """Nats: the KL divergence of two estimates of one belief, and below what two beliefs count as equal; None if exact."""
        if self.noise_floor is None:
            return None
        floor = self.noise_floor(options)
        return {"kl": floor, "consensus_threshold": FLOORS_OF_CONSENSUS * floor}


def _plain(value: Any) -> Any:
    return operator.index(value) if is_whole(value) else value


_KNOWN = (
    Estimator(
        name="lens",
        assumption="a token's belief is softmax(readout(state)): it measures predictions, not states",
        depth_dim="state",
        reads=frozenset({"states"}),
    ),
    Estimator(
        name="thermal",
        assumption="an attention row is a Boltzmann ensemble over values; "
        f"ridge {RIDGE:g} of the head's mean value variance",
        depth_dim="block",
        reads=frozenset({"attention"}),
        collector=lambda at: ThermalCollector(at.probe, at.positions, at.attention),
    ),
    Estimator(
        name="native",
        assumption="nothing is assumed: these are the model's own means and covariances per head as they enter each block, "
        "in the common frame of its tokens; the log-prior and the temperature of attention are not part of them",
        depth_dim="block",
        collector=lambda at: NativeCollector(at.probe, at.positions, at.attention),
        families=("gauge",),
        require=require_native,
    ),
    Estimator(
        name="fisher",
        assumption="Laplace's construction: the mean is the state, the precision that of the prompt's own states plus the "
        "Fisher information of the prediction read out there, both in the leading principal components of those states; the "
        "readout is blind to a state's length, and under LayerNorm to its mean: rank at most d - 1 or d - 2",
        depth_dim="state",
        collector=lambda at: FisherBeliefCollector(at.probe, at.positions, sink=at.sink, **at.options),
        options={"rank": 16},
    ),
    Estimator(
        name="downstream",
        assumption="the mean is the state, the precision the Fisher information that the outputs at the scored positions "
        "(those recorded, its own and later ones of a causal model, or the last alone) have of it, from sampled outputs; "
        "second order in the size of a merge; in the directions of the prompt's states that matter most to those outputs; "
        f"Ledoit-Wolf shrinkage, and a floor of {FLOOR:g} of the mean information",
        depth_dim="state",
        collector=lambda at: DownstreamCollector(at.probe, at.ids, at.positions, sink=at.sink, **at.options),
        options={"rank": 8, "samples": 32, "scored": "recorded"},
        choices={"scored": ("recorded", "last")},
        noise_floor=lambda options: noise_floor(options["rank"], options["samples"], mean=False),
    ),
    Estimator(
        name="ensemble",
        assumption="a token's belief is where its state lies while the input is perturbed, by Gaussian noise of a stated share "
        "of each embedding's root mean square or by dropout; Gaussian, Ledoit-Wolf shrinkage, in the leading principal "
        "components of the prompt's unperturbed states",
        depth_dim="state",
        collector=lambda at: EnsembleCollector(at.probe, at.ids, at.positions, sink=at.sink, **at.options),
        options={"rank": 8, "samples": 160, "source": "noise", "noise": 0.1},
        choices={"source": ("noise", "dropout")},
        require_options=lambda options: require_samples(options["samples"], options["rank"]),
        noise_floor=lambda options: noise_floor(options["rank"], options["samples"]),
    ),
)
ESTIMATORS = {estimator.name: estimator for estimator in _KNOWN}


def estimator_of(name: str) -> Estimator:
    """The estimator of this name.

    Raises:
        OptionError: an unknown name.

    Example:
        >>> estimator_of("thermal").depth_dim, estimator_of("lens").gaussian, estimator_of("native").families
        ('block', False, ('gauge',))
    """
    return ESTIMATORS[one_of("belief", name, ESTIMATORS)]
