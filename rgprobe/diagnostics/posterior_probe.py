r"""D16: how much of an exact posterior can be read off the states by an affine map, layer by layer.

Where the process behind the tokens is known, so is what an ideal observer believes after each token. The affine map that
predicts this belief b from the state x, fitted on some sequences and scored on the others, gives

    R^2 = 1 - sum |b - (W x + c)|^2 / sum |b - mean b|^2,

sums over held-out sequences, their tokens and the entries of b; the mean is that of the sequences the map was fitted to.
R^2 alone shows little: states of an untrained network hold the last tokens, and those go far towards the posterior (0.895
before training, 0.921 after). What counts is R^2 minus that of random initialisations, with an interval over sequences and
seeds: hand `pseudo_values` of both to `rgprobe.nulls.compare_with_seeds`.

The posterior is not part of a trace, so this diagnostic is called by hand, on arrays or with `probe_trace`.

Source: Shai et al., NeurIPS 2024 (arXiv:2405.15943), for affine maps from residual states to belief states.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64, Int

from rgprobe.diagnostics.pooling import Estimates
from rgprobe.errors import NumericalRefusal, OptionError
from rgprobe.tracing import BeliefTrace

__all__ = ["PosteriorFit", "posterior_probe", "probe_trace"]

MINIMUM_SEQUENCES = 5


@dataclass(frozen=True, eq=False)
class PosteriorFit:
    """An affine probe, scored on sequences that it was not fitted to.

    Attributes:
        r2: share of the posterior's variance that is explained; at most 1, negative where a constant does better.
        pseudo_values: jackknife over sequences of r2, the held-out predictions kept; their mean is r2.
        predicted: held-out predictions of the posterior.
    """

    r2: float
    pseudo_values: Float64[np.ndarray, " sequences"]
    predicted: Float64[np.ndarray, "sequences tokens classes"]


def posterior_probe(
    states: Float[np.ndarray, "sequences tokens width"],
    posterior: Float[np.ndarray, "*sequences_tokens classes"],
    *,
    folds: int = 5,
    ridge: float = 1e-8,
    seed: int = 0,
) -> PosteriorFit:
    """Cross-validated R^2 of the affine map from states to an exact posterior.

    Whole sequences are held out: tokens of one sequence share a history, so a map that is tested on tokens of the sequences
    it was fitted to looks better than it is.

    Args:
        states: one vector per token, any scale.
        posterior: what an ideal observer believes after that token; rows need not be normalised.
        folds: parts that the sequences are divided into, 2 to their number.
        ridge: penalty on the coefficients, as a multiple of the states' mean variance per dimension; above 0, because
            states of finite width may be collinear.
        seed: of the division.

    Returns:
        R^2, its pseudo-values over sequences, and the held-out predictions.

    Raises:
        OptionError: sizes that do not match, folds or ridge outside their domain.
        NumericalRefusal: fewer than 5 sequences, a value that is not finite, or a posterior that never changes.

    Example:
        >>> from rgprobe.testbeds import mess3
        >>> tokens = mess3.sample(length=32, rows=40).tokens
        >>> found = posterior_probe(np.eye(3)[tokens], mess3.beliefs(tokens)[:, 1:])
        >>> round(found.r2, 2), bool(np.isclose(found.pseudo_values.mean(), found.r2))
        (0.8, True)
    """
    _check(states, posterior, folds, ridge)
    fold = np.random.default_rng(seed).permutation(len(states)) % folds
    x, b = states.astype(np.float64), posterior.astype(np.float64)
    predicted, mean = np.empty_like(b), np.empty((len(b), 1, b.shape[2]))
    for held in range(folds):
        inside = fold != held
        mean[~inside] = b[inside].mean((0, 1))
        predicted[~inside] = _affine(x[inside], b[inside], x[~inside], ridge)
    left, total = (((b - guess) ** 2).sum((1, 2)) for guess in (predicted, mean))
    if not total.sum() > 0:
        raise NumericalRefusal("posterior", expected="one that changes from token to token", received="a constant",
                               remedy="take more or longer sequences")  # fmt: skip
    estimate = Estimates(np.asarray(1 - left.sum() / total.sum()),
                         1 - (left.sum() - left) / (total.sum() - total))  # fmt: skip
    return PosteriorFit(float(estimate.full), estimate.pseudo_values(), predicted)


def probe_trace(
    trace: BeliefTrace, posterior: Float[np.ndarray, "prompts tokens classes"], *, folds: int = 5, ridge: float = 1e-8
) -> xr.DataArray:
    """Pseudo-values of R^2 by prompt and state, (prompt, state), from the recorded tokens of a trace.

    Args:
        trace: of prompts of one length, with states.
        posterior: after every token of every prompt, in the order of `trace.token_ids`.
        folds, ridge: see `posterior_probe`.

    Raises:
        OptionError: no states in the trace, prompts with different recorded tokens, or a posterior of another shape.
        NumericalRefusal: as `posterior_probe`.
    """
    at = _common_positions(trace)
    if posterior.shape[:2] != trace.token_ids.shape:
        raise OptionError("posterior", expected=f"one row per token, {trace.token_ids.shape} of them",
                          received=str(posterior.shape[:2]), remedy="include the row of the first token")  # fmt: skip
    columns = [
        posterior_probe(trace.states.values[:, state], posterior[:, at], folds=folds, ridge=ridge).pseudo_values
        for state in range(trace.states.sizes["state"])
    ]
    return xr.DataArray(np.stack(columns, 1), dims=("prompt", "state"), name="posterior_r2")


def _affine(x: np.ndarray, b: np.ndarray, new: np.ndarray, ridge: float) -> np.ndarray:
    """Ridge regression of b on x with a free intercept, evaluated at new states."""
    x, b = x.reshape(-1, x.shape[-1]), b.reshape(-1, b.shape[-1])
    centre, mean = x.mean(0), b.mean(0)
    x = x - centre
    gram = x.T @ x
    penalty = ridge * np.trace(gram) / len(gram)
    # states that do not vary at all predict the mean
    weights = np.linalg.solve(gram + (penalty if penalty > 0 else 1.0) * np.eye(len(gram)), x.T @ (b - mean))
    return np.asarray(mean + (new - centre) @ weights)


def _common_positions(trace: BeliefTrace) -> Int[np.ndarray, "position"]:
    if trace.states.ndim != 4 or not (trace.positions == trace.positions[:1]).all():
        raise OptionError("trace", expected="states at the same tokens of every prompt",
                          received="none" if trace.states.ndim != 4 else "prompts of different lengths",
                          remedy='trace prompts of one length, with "states" among what is collected')  # fmt: skip
    return np.asarray(trace.positions[0])


def _check(states: np.ndarray, posterior: np.ndarray, folds: int, ridge: float) -> None:
    if states.shape[:2] != posterior.shape[:2]:
        raise OptionError("posterior", expected=f"a row for each of {states.shape[:2]} tokens",
                          received=str(posterior.shape[:2]), remedy="leave out the row before the first token")  # fmt: skip
    if len(states) < MINIMUM_SEQUENCES:
        raise NumericalRefusal("states", expected=f"at least {MINIMUM_SEQUENCES} sequences", received=f"{len(states)}",
                               remedy="sample more: they are what is held out")  # fmt: skip
    if not 2 <= folds <= len(states):
        raise OptionError("folds", expected=f"2 to {len(states)}", received=f"{folds}", remedy="use 5")
    if not 0 < ridge < np.inf:
        raise OptionError("ridge", expected="a positive number", received=f"{ridge}", remedy="use 1e-8")
    for name, array in (("states", states), ("posterior", posterior)):
        if not np.isfinite(array).all():
            row = int((~np.isfinite(array)).any((1, 2)).argmax())
            raise NumericalRefusal(f"{name}[{row}]", expected="finite numbers", received="NaN or infinity",
                                   remedy="leave that sequence out")  # fmt: skip
