"""Does one map carry a few variables from layer to layer? Fitted on some layers and prompts, tested on the others.

A flow of couplings is closed if what they are at the next layer follows from what they are at this one, by the same map at
every layer: g_(l+1) = M g_l + c. The map is fitted without the layer and without the prompts that it is tested on. It is
compared with persistence, g_(l+1) = g_l, and with a constant, g_(l+1) = c: numbers that merely scatter about a mean return to
it, which beats persistence by a factor of two and is no flow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex128, Float, Float64, Int

from rgprobe.diagnostics.pooling import Estimates
from rgprobe.errors import NumericalRefusal

__all__ = ["FlowMap", "HeldOut", "fit_flow", "held_out"]

FOLDS = 5
RIDGE = 1e-3  # of the number of rows, on variables of unit variance


@dataclass(frozen=True, eq=False)
class FlowMap:
    """g -> M g + c.

    Attributes:
        matrix: M.
        offset: c.
    """

    matrix: Float64[np.ndarray, "k k"]
    offset: Float64[np.ndarray, " k"]

    @property
    def fixed_point(self) -> Float64[np.ndarray, " k"]:
        """g* = M g* + c; least squares where 1 is an eigenvalue of M."""
        return np.linalg.lstsq(np.eye(len(self.matrix)) - self.matrix, self.offset, rcond=None)[0]

    @property
    def eigenvalues(self) -> Complex128[np.ndarray, " k"]:
        """Eigenvalues of M by falling modulus: above 1 a direction leaves the fixed point (relevant), below it returns."""
        values = np.linalg.eigvals(self.matrix).astype(complex)
        return values[np.argsort(-np.abs(values), kind="stable")]

    def beta(self, g: Float[np.ndarray, "*batch k"]) -> Float64[np.ndarray, "*batch k"]:
        """Beta function dg / d layer = (M - 1) g + c."""
        return g @ self.matrix.T + self.offset - g


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Mean squared errors of prediction, in variances of the variables, by prompt and layer; NaN where there was no row.

    Attributes:
        flow: of the map fitted without that prompt's fold and without that layer.
        persistence: of taking the variables for unchanged.
        constant: of the mean that the variables have after other layers, in other prompts.
    """

    flow: Float64[np.ndarray, "prompt layer"]
    persistence: Float64[np.ndarray, "prompt layer"]
    constant: Float64[np.ndarray, "prompt layer"]

    def ratio(self, of: str = "flow") -> Estimates:
        """Error of the map, or of the constant, over that of persistence, layer by layer, from all prompts and without each.

        Example:
            >>> one, two = np.array([[1.0], [3.0]]), np.array([[4.0], [4.0]])
            >>> HeldOut(one, two, two).ratio().full, HeldOut(one, two, two).ratio("constant").full
            (array([0.5]), array([1.]))
        """
        guess = getattr(self, of)
        known = np.isfinite(guess) & np.isfinite(self.persistence)
        flow, still = (np.where(known, each, 0.0) for each in (guess, self.persistence))

        def divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0)

        return Estimates(
            divided(flow.sum(0), still.sum(0)), divided(flow.sum(0) - flow, np.maximum(still.sum(0) - still, 0.0))
        )


def fit_flow(before: Float[np.ndarray, "row k"], after: Float[np.ndarray, "row k"], *, ridge: float = RIDGE) -> FlowMap:
    """The map by least squares on the change after - before, shrunk a little towards a constant change.

    Args:
        before, after: variables at one layer and the next, row by row.
        ridge: times the number of rows, on variables of unit variance.

    Raises:
        NumericalRefusal: fewer than 2 rows per variable.

    Example:
        >>> g = np.random.default_rng(0).standard_normal((40, 2))
        >>> fit_flow(g, g @ np.diag([1.2, 0.5]) + 1.0, ridge=0.0).eigenvalues.real.round(6)
        array([1.2, 0.5])
    """
    if len(before) < 2 * before.shape[1]:
        raise NumericalRefusal(
            "flow map", expected=f"at least {2 * before.shape[1]} rows", received=f"{len(before)}",
            remedy="give more prompts or layers, or fewer variables",
        )  # fmt: skip
    scale = _scale(before)
    x, change = before / scale, (after - before) / scale
    products = _products(x, change)
    slope, offset = _solved(products, before.shape[1], ridge)
    matrix = np.eye(before.shape[1]) + scale[:, None] * slope.T / scale
    return FlowMap(matrix, scale * offset)


def held_out(
    before: Float[np.ndarray, "row k"],
    after: Float[np.ndarray, "row k"],
    *,
    prompt: Int[np.ndarray, "row"],
    layer: Int[np.ndarray, "row"],
    folds: int = FOLDS,
    ridge: float = RIDGE,
) -> HeldOut:
    """Errors of the map on each layer and fold of prompts, fitted on the other layers and the other prompts.

    Prompt p belongs to fold p mod `folds`. Sums of products are kept for each fold and layer, so that leaving some out costs a
    small linear system.

    Args:
        before, after: variables at a layer and the next, row by row; several rows of one prompt are its tokens.
        prompt, layer: which.
        folds: at least 2.
        ridge: see `fit_flow`.

    Raises:
        NumericalRefusal: fewer than two layers or fewer prompts than two.
    """
    prompts, layers = int(prompt.max()) + 1, int(layer.max()) + 1
    if len(np.unique(layer)) < 2 or len(np.unique(prompt)) < 2:
        raise NumericalRefusal(
            "flow map", expected="several layers and prompts, to fit on some and test on others",
            received=f"{len(np.unique(layer))} and {len(np.unique(prompt))}", remedy="give more prompts, or a deeper model",
        )  # fmt: skip
    scale, k = _scale(before), before.shape[1]
    x, change = before / scale, (after - before) / scale
    fold = prompt % min(folds, prompts)
    cells = np.zeros((fold.max() + 1, layers, 2 * k + 1, 2 * k + 1))
    for f in range(len(cells)):
        for l in range(layers):
            cells[f, l] = _products(*(each[(fold == f) & (layer == l)] for each in (x, change)))
    left = cells.sum((0, 1)) - cells.sum(1)[:, None] - cells.sum(0)[None] + cells
    missed, about_mean = np.full(len(x), np.nan), np.full(len(x), np.nan)
    for f in range(len(cells)):
        for l in range(layers):
            mine = (fold == f) & (layer == l)
            if mine.any() and left[f, l][0, 0] >= 2 * k:
                slope, offset = _solved(left[f, l], k, ridge)
                missed[mine] = ((change[mine] - x[mine] @ slope - offset) ** 2).mean(1)
                total = left[f, l][0]
                usual = (total[1 : k + 1] + total[k + 1 :]) / total[0]
                about_mean[mine] = ((x[mine] + change[mine] - usual) ** 2).mean(1)
    stayed = (change**2).mean(1)
    return HeldOut(*(_mean(each, prompt, layer, prompts, layers) for each in (missed, stayed, about_mean)))


def _scale(values: np.ndarray) -> Float64[np.ndarray, " k"]:
    spread = values.std(0)
    return np.where(spread > 0, spread, 1.0)


def _products(x: np.ndarray, change: np.ndarray) -> Float64[np.ndarray, "m m"]:
    rows = np.column_stack([np.ones(len(x)), x, change])
    return rows.T @ rows


def _solved(products: np.ndarray, k: int, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (from, to) and offset of the regression of changes on variables."""
    count, mean = products[0, 0], products[0] / products[0, 0]
    centred = products / count - np.outer(mean, mean)
    spread, shared = centred[1 : k + 1, 1 : k + 1], centred[1 : k + 1, k + 1 :]
    slope = np.linalg.lstsq(spread + ridge * np.eye(k), shared, rcond=None)[0]
    return slope, mean[k + 1 :] - mean[1 : k + 1] @ slope


def _mean(values: np.ndarray, prompt: np.ndarray, layer: np.ndarray, prompts: int, layers: int) -> np.ndarray:
    total, count = np.zeros((prompts, layers)), np.zeros((prompts, layers))
    known = np.isfinite(values)
    np.add.at(total, (prompt[known], layer[known]), values[known])
    np.add.at(count, (prompt[known], layer[known]), 1.0)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
