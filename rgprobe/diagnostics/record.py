"""What a diagnostic is: a measurement on a trace, with its units, meaning, assumption and refusals written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import xarray as xr

from rgprobe.errors import OptionError
from rgprobe.probe.row_statistics import MINIMUM_KEYS
from rgprobe.tracing import BeliefTrace

__all__ = [
    "MINIMUM_KEYS",
    "Diagnostic",
    "Measurement",
    "Quantity",
    "keys_of_rows",
    "nearest_key",
    "of_every_token",
    "reduction",
    "sink_order",
]


@dataclass(frozen=True)
class Quantity:
    """One number that a diagnostic reports along depth.

    Attributes:
        name: how it is indexed.
        units: "nats", "bits", "tokens", ...; "1" for a pure number.
        meaning: one line.
        identity: true by construction, or read off the weights (claim level "identity"); it is checked, never tested
            against a null.
    """

    name: str
    units: str
    meaning: str
    identity: bool = False


@dataclass(frozen=True)
class Measurement:
    """What a diagnostic returns for one trace.

    Attributes:
        values: one variable per quantity, dims (prompt, [sink], depth, [head]); NaN where refused.
        details: further labelled arrays worth keeping.
        internal_nulls: null draws that need no second model, by name: variables as in `values`, dims (draw, prompt, ...).
        private: arrays that only calibration against nulls needs; never stored.
    """

    values: xr.Dataset
    details: xr.Dataset = field(default_factory=xr.Dataset)
    internal_nulls: dict[str, xr.Dataset] = field(default_factory=dict)
    private: xr.Dataset = field(default_factory=xr.Dataset)


@dataclass(frozen=True)
class Diagnostic:
    """A named measurement.

    Attributes:
        name: key of the result's node.
        catalogue: identifier in the catalogue of diagnostics, such as "D3".
        title: for people.
        depth: what it is indexed by: "block" (L), "state" (L + 1) or "transition" (L).
        quantities: what it reports.
        requires: collections of the trace that it reads.
        measure: the measurement.
        assumption: what must hold for the numbers to mean what they say.
        reading: one sentence on how to read them.
        undefined: when entries are NaN.
        beliefs: estimators that it can read; empty means any.
        families: model families for which it is defined; empty means any.
        calibrate: completes a measurement once the measurements of the random-initialisation null are known.
        default: whether it is measured unless names are given; what costs more than a few percent of a forward pass is not.
    """

    name: str
    catalogue: str
    title: str
    depth: str
    quantities: tuple[Quantity, ...]
    requires: frozenset[str]
    measure: Callable[[BeliefTrace], Measurement]
    assumption: str
    reading: str
    undefined: str
    beliefs: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    calibrate: Callable[[Measurement, Sequence[Measurement]], Measurement] | None = None
    default: bool = True

    def applies(self, *, belief: str, family: str) -> bool:
        """Whether it is defined for these beliefs of a model of this family.

        Example:
            >>> from rgprobe.diagnostics import available
            >>> d = available()
            >>> d["elimination"].applies(belief="thermal", family="gauge"), d["temperature"].applies(belief="lens", family="x")
            (False, True)
        """
        return (not self.beliefs or belief in self.beliefs) and (not self.families or family in self.families)


def reduction(trace: BeliefTrace, name: str) -> xr.Dataset:
    """What the collection of this name left in a trace.

    Raises:
        OptionError: the trace did not collect it.
    """
    if name not in trace.reductions:
        raise OptionError("trace", expected=f"the collection '{name}'", received="none in this trace",
                          remedy=f"have '{name}' among what it collects")  # fmt: skip
    return trace.reductions[name]


def sink_order(trace: BeliefTrace) -> list[str]:
    """Both sink policies, the one that is read first in front."""
    excluded = trace.provenance["options"]["sink"] == "exclude"
    return ["excluded", "included"] if excluded else ["included", "excluded"]


def nearest_key(attention: xr.Dataset) -> xr.DataArray:
    """Distance to the nearest key that a row of a causal model sees, (prompt, block): 0, or 1 where tokens skip themselves.

    Token 1 tells: it sees token 0 and, unless it skips itself, token 1. Prompts of one token get 0.
    """
    keys = attention["keys"].max("sink")
    if keys.sizes["token"] < 2:
        return xr.zeros_like(keys.isel(token=0), dtype=int)
    return (keys.isel(token=1) < 2).astype(int)


def keys_of_rows(attention: xr.Dataset) -> xr.DataArray:
    """How many keys each row sees that is averaged over, (sink, prompt, block, token); NaN for rows with fewer than
    `MINIMUM_KEYS`."""
    return attention["keys"].where(attention["keys"] >= MINIMUM_KEYS)


def of_every_token(attention: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """What results hold of single rows, `NAME_by_token`, under the policy that is read first."""
    return attention[[f"{name}_by_token" for name in names]].drop_vars("sink", errors="ignore")
