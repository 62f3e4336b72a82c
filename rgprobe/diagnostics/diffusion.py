"""D22: attention as diffusion: how fast each block's map, and their product, makes tokens alike.

Head-averaged attention A is row-stochastic. Under a causal mask it is triangular, its eigenvalues are its diagonal, and no
spectral gap is reported; singular values, Dobrushin's coefficient and the spread of the rows of the rollout
R_l = (A_l + 1)/2 ... (A_1 + 1)/2 are. A bidirectional map is an irreducible chain: the second eigenvalue of its additive
reversibilisation gives a gap and a relaxation time; nearly decomposable chains have as many eigenvalues near 1 as blocks, and
`metastable_memberships` finds them.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float64

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, reduction, sink_order
from rgprobe.errors import OptionError
from rgprobe.probe.mixing import LONGEST, reversible_form
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "diffusion", "metastable_memberships", "slow_eigenvectors"]


def diffusion(trace: BeliefTrace) -> Measurement:
    """Dobrushin's coefficient, participation of singular values, rollout spread and its rate, gap and relaxation time.

    mixing_rate_l = ln(spread of R_(l-1) / spread of R_l), R_0 = 1, whose spread is 1 - 1/N.

    Raises:
        OptionError: a trace that did not collect mixing.
    """
    found = reduction(trace, "mixing").sel(sink=sink_order(trace))
    spread = found["rollout_spread"]
    before = spread.shift(block=1)
    before = before.where(before["block"] > 0 if "block" in before.coords else _later(before), 1 - 1 / found["tokens"])
    before = before.where(spread.notnull())
    second = found["lambda_2"]
    # an eigenvalue at or below 0 is forgotten within a step
    slow = second.where((second > 0) & (second < 1))
    values = {
        "dobrushin": found["dobrushin"],
        "singular_participation": found["singular_participation"],
        "rollout_spread": spread,
        "mixing_rate": np.log(before) - np.log(spread.where(spread > 0)),
        "gap": 1 - second,
        "relaxation_time": -1 / np.log(slow),
    }
    singular = found["singular_values"].isel(sink=0).drop_vars("sink").mean("prompt").astype("float32")
    dims = ("sink", "prompt", "block")
    return Measurement(xr.Dataset(values).transpose(*dims), xr.Dataset({"singular_values": singular}))


def slow_eigenvectors(
    transition: Float64[np.ndarray, "n n"], count: int
) -> tuple[Float64[np.ndarray, " count"], Float64[np.ndarray, "n count"]]:
    """Largest eigenvalues and right eigenvectors of the additive reversibilisation of an irreducible chain, descending.

    Eigenvectors have unit norm in the stationary law, and the first one is constant.

    Example:
        >>> values, vectors = slow_eigenvectors(np.array([[0.9, 0.1], [0.1, 0.9]]), 2)
        >>> values.round(12), np.abs(vectors).round(12)
        (array([1. , 0.8]), array([[1., 1.], [1., 1.]]))
    """
    form, law = reversible_form(torch.from_numpy(np.array(transition, dtype=np.float64)))
    values, vectors = np.linalg.eigh(form.numpy())
    right = vectors[:, ::-1][:, :count] / np.sqrt(law.numpy())[:, None]
    right[:, 0] = 1.0
    return values[::-1][:count].copy(), right


def metastable_memberships(transition: Float64[np.ndarray, "n n"], blocks: int) -> Float64[np.ndarray, "n blocks"]:
    """Fuzzy memberships of states in metastable blocks: rows sum to 1 (inner simplex algorithm of PCCA+).

    The slow right eigenvectors of a nearly decomposable chain are nearly constant on blocks, so the states, drawn in their
    coordinates, lie in a simplex whose corners are the blocks. The states farthest apart are taken for the corners.

    Args:
        transition: a row-stochastic, irreducible chain.
        blocks: how many, at least 2.

    Source: Weber and Galliat, ZIB report 02-12 (2002); Deuflhard and Weber, Linear Algebra Appl. 398, 161 (2005).

    Raises:
        OptionError: fewer than two blocks, or more than states.
    """
    if not 2 <= blocks <= len(transition):
        raise OptionError("blocks", expected=f"between 2 and {len(transition)}", received=str(blocks),
                          remedy="ask for fewer")  # fmt: skip
    points = slow_eigenvectors(transition, blocks)[1]
    corners = [int(np.argmax(np.linalg.norm(points, axis=1)))]
    rest = points - points[corners[0]]
    for _ in range(blocks - 1):
        farthest = int(np.argmax(np.linalg.norm(rest, axis=1)))
        corners.append(farthest)
        direction = rest[farthest] / np.linalg.norm(rest[farthest])
        rest = rest - np.outer(rest @ direction, direction)
    return points @ np.linalg.inv(points[corners])


def _later(values: xr.DataArray) -> xr.DataArray:
    return xr.DataArray(np.arange(values.sizes["block"]) > 0, dims="block")


DIAGNOSTIC = Diagnostic(
    name="diffusion",
    catalogue="D22",
    title="Attention as diffusion",
    depth="block",
    quantities=(
        Quantity(
            "dobrushin", "1", "largest total variation between two rows: how much disagreement one step may leave"
        ),
        Quantity("singular_participation", "1", "(sum s^2)^2 / sum s^4: singular directions that pass through the map"),
        Quantity(
            "rollout_spread",
            "1",
            "mean total variation of the rollout's rows from their mean; 0 when all tokens are one",
        ),
        Quantity("mixing_rate", "1/block", "fall of the logarithm of that spread in this block"),
        Quantity("gap", "1", "1 - second eigenvalue of the reversibilised map; bidirectional models only"),
        Quantity(
            "relaxation_time", "steps", "-1 / ln(second eigenvalue): steps of this map until blocks of tokens are one"
        ),
    ),
    requires=frozenset({"mixing"}),
    measure=diffusion,
    assumption="heads are averaged; values and the feed-forward layers are left out; rollout takes half of each step for the "
    "residual stream",
    reading="Causal attention mixes towards its first tokens by its mask alone: compare with the null. A causal map has no "
    "spectral gap to speak of.",
    undefined=f"prompts of fewer than two tokens or more than {LONGEST}; gap and relaxation time of causal models",
    default=False,
)
