"""D31: running couplings: do a few numbers of a layer say what they will be at the next, by one map for all layers?

Renormalization describes a system by a few couplings and their flow, dg / d layer = beta(g). Two effective descriptions of the
forward pass are tried: the couplings theta, entropy, participation and xi of a prompt, and the leading coordinates of its
tokens. Either is closed if its map, fitted on other layers and other prompts, predicts better than saying that nothing changes,
and better than saying what is usual.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64

from rgprobe.diagnostics.closed_flow import HeldOut, fit_flow, held_out
from rgprobe.diagnostics.pooling import MINIMUM_POOLED
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.tracing import BeliefTrace

__all__ = ["COUPLINGS", "DIAGNOSTIC", "couplings", "leading_coordinates", "neighbour_length", "running_couplings"]

COUPLINGS = ("theta", "entropy", "participation", "xi")
RATIOS = ("coupling_error", "coordinate_error")
COORDINATES = 8
FEWEST_LAYERS = 4  # leave one out, and there are still some to fit a map to
SMALLEST, LARGEST = 0.01, 0.999  # correlation of neighbours; beyond them a length cannot be told


def running_couplings(trace: BeliefTrace) -> Measurement:
    """Beta functions, and held-out errors of both closed flows over that of persistence, by block."""
    g = couplings(trace)
    prompts, blocks, _ = g.shape
    change = np.full(g.shape, np.nan)
    change[:, 1:] = g[:, 1:] - g[:, :-1]
    arrays = {f"beta_{name}": change[..., index] for index, name in enumerate(COUPLINGS)}
    arrays |= {name: np.full((prompts, blocks), np.nan) for name in RATIOS}
    constant = {name: array.copy() for name, array in arrays.items() if name in RATIOS}
    details = xr.Dataset({"log_coupling": (("prompt", "block", "coupling"), g)}, {"coupling": list(COUPLINGS)})
    if prompts >= MINIMUM_POOLED and blocks >= FEWEST_LAYERS:
        arrays["coordinate_error"], constant["coordinate_error"] = _ratios(_coordinate_rows(trace), prompts, blocks)
        rows = _coupling_rows(g)
        if len(rows[0]) >= 2 * len(COUPLINGS) * FEWEST_LAYERS:
            arrays["coupling_error"], constant["coupling_error"] = _ratios(rows, prompts, blocks)
            details = details.merge(_map_of(rows))
    dims = ("prompt", "block")
    values = xr.Dataset({name: (dims, array) for name, array in arrays.items()})
    still = {name: (("draw", *dims), np.where(np.isfinite(arrays[name]), 1.0, np.nan)[None]) for name in RATIOS}
    usual = {name: (("draw", *dims), array[None]) for name, array in constant.items()}
    nulls = {"persistence": xr.Dataset(still), "constant": xr.Dataset(usual)}
    return Measurement(values, details, internal_nulls=nulls)


def couplings(trace: BeliefTrace) -> Float64[np.ndarray, "prompt block coupling"]:
    """Logarithms of theta, S / ln n, participation ratio and xi of each prompt where it enters a block.

    theta and the entropy are means over heads, the former of its logarithm; participation is that of the states, xi the
    correlation length of neighbouring tokens, see `neighbour_length`. All under the sink policy of the trace.
    """
    attention = trace.attention.isel(sink=0)
    reduced, entropy = attention["reduced_variance"], attention["normalised_entropy"]
    dims = ("prompt", "block")
    blocks = attention.sizes["block"]
    participation = trace.geometry["participation_ratio"].isel(sink=0).transpose("prompt", "state").values[:, :blocks]
    sketches = trace.sketches.values[:, :blocks]
    lengths = np.array([[neighbour_length(state) for state in prompt] for prompt in sketches])
    values = [
        -0.5 * _log(reduced.transpose(*dims, "head").values).mean(-1),
        _log(entropy.transpose(*dims, "head").values.mean(-1)),
        _log(participation),
        _log(lengths),
    ]
    return np.stack(values, -1)


def neighbour_length(states: Float[np.ndarray, "site coordinate"]) -> float:
    """xi = -1 / ln C(1), tokens, C(1) the correlation of neighbouring tokens about the prompt's mean token.

    C(1) is clipped to 0.01 ... 0.999. One distance only: as a coupling it need not be the length of the decay, but the same
    function of the state at every layer.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((3000, 1))
        >>> for t in range(1, 3000):
        ...     x[t] = np.exp(-1 / 4) * x[t - 1] + np.sqrt(1 - np.exp(-1 / 2)) * x[t]
        >>> round(neighbour_length(x))
        4
    """
    present = states[np.isfinite(states).all(1)].astype(np.float64)
    if len(present) < 8:
        return float("nan")
    centred = present - present.mean(0)
    power = (centred**2).sum() / len(centred)
    if not power > 1e-12:
        return float("nan")
    correlation = (centred[1:] * centred[:-1]).sum() / (len(centred) - 1) / power
    return float(-1 / np.log(np.clip(correlation, SMALLEST, LARGEST)))


def leading_coordinates(
    states: Float[np.ndarray, "prompt state position width"], count: int
) -> Float64[np.ndarray, "prompt state position coordinate"]:
    """States of unit length in one basis for all layers: the leading principal components of all of them together."""
    unit = states / np.linalg.norm(states, axis=-1, keepdims=True)
    flat = unit.reshape(-1, unit.shape[-1])
    points = flat[np.isfinite(flat).all(1)].astype(np.float64)
    centre = points.mean(0)
    vectors = np.linalg.eigh((points - centre).T @ (points - centre))[1][:, ::-1][:, :count]
    return (unit - centre) @ vectors


Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _coupling_rows(g: np.ndarray) -> Rows:
    """Couplings before and after, prompt and block of the later one."""
    known = np.isfinite(g[:, 1:]).all(-1) & np.isfinite(g[:, :-1]).all(-1)
    prompt, block = np.nonzero(known)
    return g[:, :-1][known], g[:, 1:][known], prompt, block + 1


def _coordinate_rows(trace: BeliefTrace) -> Rows:
    """Coordinates of each recorded token before and after a block."""
    y = leading_coordinates(trace.states.transpose("prompt", "state", "position", "width").values, COORDINATES)
    known = np.isfinite(y[:, 1:]).all(-1) & np.isfinite(y[:, :-1]).all(-1)
    prompt, block, _ = np.nonzero(known)
    return y[:, :-1][known], y[:, 1:][known], prompt, block


def _ratios(rows: Rows, prompts: int, blocks: int) -> Float64[np.ndarray, "2 prompt block"]:
    """Pseudo-values of the error of the map, and of a constant, over persistence, by the block that the prediction is about."""
    before, after, prompt, block = rows
    found = held_out(before, after, prompt=prompt, layer=block)
    out = np.full((2, prompts, blocks), np.nan)
    took_part = np.unique(prompt)
    if len(took_part) >= MINIMUM_POOLED:
        kept = HeldOut(found.flow[took_part], found.persistence[took_part], found.constant[took_part])
        layers = kept.flow.shape[1]
        for index, of in enumerate(("flow", "constant")):
            out[index, took_part, :layers] = kept.ratio(of).pseudo_values()
    return out


def _map_of(rows: Rows) -> xr.Dataset:
    found = fit_flow(rows[0], rows[1])
    names = list(COUPLINGS)
    return xr.Dataset(
        {
            "flow_matrix": (("coupling", "coupling_before"), found.matrix),
            "fixed_point": ("coupling", found.fixed_point),
            "eigenvalue_modulus": ("mode", np.abs(found.eigenvalues)),
        },
        {"coupling": names, "coupling_before": names},
    )


def _log(values: np.ndarray) -> Float64[np.ndarray, "*shape"]:
    return np.log(np.where(values > 0, values, np.nan))


DIAGNOSTIC = Diagnostic(
    name="running_couplings",
    catalogue="D31",
    title="Running couplings",
    depth="block",
    quantities=(
        *(
            Quantity(f"beta_{name}", "1", f"beta function: change of ln {text} from the block before")
            for name, text in zip(
                COUPLINGS,
                ("theta", "S / ln n", "participation ratio of the states", "xi between neighbouring tokens"),
                strict=True,
            )
        ),
        Quantity("coupling_error", "1", "held-out error of the closed flow of the four couplings, over persistence"),
        Quantity(
            "coordinate_error", "1", f"the same for {COORDINATES} leading coordinates of the tokens, through the block"
        ),
    ),
    requires=frozenset({"attention", "states", "sketches"}),
    measure=running_couplings,
    assumption="one affine map for all layers, fitted without the layer and without the prompts (five folds) that it is tested "
    "on; the basis of the coordinates is that of all states together; ratios per prompt are jackknife pseudo-values",
    reading="Below 1, and below what a constant reaches, the description closes: the same map serves a layer that it never "
    "saw. Above 1 layers do different things. A random network, whose layers are alike by construction, is the bar: compare "
    "with it before speaking of a flow.",
    undefined="beta of the first block; couplings where no row sees 8 keys or fewer than 8 tokens stand in line; ratios with "
    f"fewer than 5 prompts or {FEWEST_LAYERS} blocks",
    default=False,
)
