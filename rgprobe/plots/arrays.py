"""What the drawings read: one quantity of one diagnostic of one flow, by name, with errors that list the names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import xarray as xr

from rgprobe.checks import one_of
from rgprobe.errors import OptionError
from rgprobe.rg_flow import RGFlow

__all__ = [
    "DEPTH_DIMS",
    "Flows",
    "depth_dim",
    "items",
    "named_flows",
    "node",
    "policy_sink",
    "quantity_label",
    "select",
    "unit_label",
]

DEPTH_DIMS = ("state", "block", "transition")


Flows = RGFlow | Sequence[RGFlow] | Mapping[str, RGFlow]


def named_flows(flows: Flows) -> dict[str, RGFlow]:
    """One or several flows by the name that a legend shows; equal names get a number.

    Raises:
        OptionError: no flow, or something else.
    """
    if isinstance(flows, RGFlow):
        flows = [flows]
    given = list(flows.values() if isinstance(flows, Mapping) else flows if isinstance(flows, Iterable) else [flows])
    if others := [type(flow).__name__ for flow in given if not isinstance(flow, RGFlow)]:
        raise OptionError("flows", expected="an RGFlow, a list of them, or a dict by name", received=others[0],
                          remedy="pass what rgprobe.run or rgprobe.open_flow gave")  # fmt: skip
    pairs = (
        flows.items() if isinstance(flows, Mapping) else [(flow.provenance["source"]["name"], flow) for flow in given]
    )
    named: dict[str, RGFlow] = {}
    for name, flow in pairs:
        copies = sum(other == name or other.startswith(f"{name} (") for other in named)
        named[f"{name} ({copies + 1})" if copies else name] = flow
    if not named:
        raise OptionError("flows", expected="at least one flow", received="none", remedy="pass what rgprobe.run gave")
    return named


def node(flow: RGFlow, diagnostic: str) -> xr.Dataset:
    """Arrays of one diagnostic.

    Raises:
        OptionError: the flow holds no such diagnostic.
    """
    one_of("diagnostic", diagnostic, flow.diagnostics, remedy="run it, or correct the name")
    return flow.to_xarray()[diagnostic].to_dataset()


def select(flow: RGFlow, diagnostic: str, quantity: str) -> xr.Dataset:
    """Arrays of one quantity, the dimension `quantity` dropped.

    Raises:
        OptionError: the flow or the diagnostic holds no such name.
    """
    arrays = node(flow, diagnostic)
    one_of("quantity", quantity, items(arrays, "quantity"), remedy=f"see {diagnostic}")
    return arrays.sel(quantity=quantity)


def policy_sink(arrays: xr.Dataset) -> str | None:
    """The sink policy of the run, which is the first one listed; None where the sink makes no difference."""
    return str(arrays["sink"].values[0]) if "sink" in arrays.coords else None


def depth_dim(arrays: xr.Dataset) -> str:
    """`state`, `block` or `transition`."""
    return next(dim for dim in DEPTH_DIMS if dim in arrays["value"].dims)


def items(arrays: xr.Dataset, dim: str) -> list[str]:
    """Labels along a dimension, none where it is absent."""
    return [str(label) for label in np.atleast_1d(arrays[dim].values)] if dim in arrays.coords else []


def quantity_label(quantity: str) -> str:
    """Name of a quantity, or of a null model, as prose."""
    return quantity.replace("_", " ")


def unit_label(arrays: xr.Dataset) -> str:
    """Units of a selected quantity; a pure number says so."""
    units = str(arrays["units"].item()) if "units" in arrays.coords else ""
    return "dimensionless" if units in ("", "1") else units
