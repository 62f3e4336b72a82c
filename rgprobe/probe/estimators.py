"""What a token's belief is taken to be: one record per estimator, which all that depends on the choice reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from rgprobe.errors import OptionError
from rgprobe.gaussian import Gaussian
from rgprobe.probe.attention import AttentionCollector
from rgprobe.probe.model import Hook, Probe
from rgprobe.probe.native import NativeCollector, require_native
from rgprobe.probe.thermal import RIDGE, ThermalCollector

__all__ = ["ESTIMATORS", "Estimator", "GaussianCollector", "estimator_of"]


class GaussianCollector(Protocol):
    """Collects Gaussian beliefs of the recorded tokens while one prompt streams through."""

    def hooks(self) -> list[tuple[str, Hook]]:
        """What to attach."""

    def gaussians(self) -> tuple[Gaussian, ...]:
        """One Gaussian of batch shape (position, head) per block, after the pass."""


@dataclass(frozen=True)
class Estimator:
    """A way to say what a token believes.

    Attributes:
        name: how it is chosen.
        assumption: what must hold for it to be the token's belief.
        depth_dim: what beliefs are indexed by: "state" (L + 1) or "block" (L).
        reads: collections whose hooks it needs, whether or not they are kept: "attention", "states".
        collector: of Gaussian beliefs, called with (probe, recorded positions, attention collector); None for categorical
            beliefs, which are read out from the recorded states once the prompt has passed.
        families: model families that have such beliefs; empty means any.
        require: refuses a model of these families that has no such beliefs all the same.
    """

    name: str
    assumption: str
    depth_dim: str
    reads: frozenset[str] = frozenset()
    collector: Callable[[Probe, Tensor, AttentionCollector], GaussianCollector] | None = None
    families: tuple[str, ...] = ()
    require: Callable[[Probe], None] | None = None

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
        collector=ThermalCollector,
    ),
    Estimator(
        name="native",
        assumption="nothing is assumed: these are the model's own means and covariances per head as they enter each block, "
        "in the common frame of its tokens; the log-prior and the temperature of attention are not part of them",
        depth_dim="block",
        collector=NativeCollector,
        families=("gauge",),
        require=require_native,
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
    if name not in ESTIMATORS:
        raise OptionError("belief", expected=" | ".join(ESTIMATORS), received=repr(name), remedy="choose one of these")
    return ESTIMATORS[name]
