"""The ladder: every rung, from the slowest form to the floor."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from rgprobe.models.bench.diagonal import prepare_projection, projected
from rgprobe.models.bench.pairs import cached, first_order, prepare_algebra, prepare_exponentials, repeated
from rgprobe.models.bench.problem import Problem
from rgprobe.models.bench.result import EXACT_FORM, SAME_DIM, SAME_WIDTH
from rgprobe.models.bench.rung import Claim, RowRung, Rung, WholeRung
from rgprobe.models.bench.whole import (
    common_frame,
    dot_product,
    given_frames,
    loop,
    low_rank,
    unchecked_parts,
    windowed,
)

__all__ = ["LADDER", "rung"]


def _from_phi(problem: Problem) -> tuple[Tensor, ...]:
    return problem.mean, problem.covariance, problem.phi, problem.values


def _from_frames(problem: Problem) -> tuple[Tensor, ...]:
    return problem.mean, problem.covariance, problem.frames, problem.values


def _from_factors(problem: Problem) -> tuple[Tensor, ...]:
    return problem.mean, *problem.low_rank, problem.phi, problem.values


def _wide(problem: Problem) -> tuple[Tensor, ...]:
    return *problem.wide_features, problem.wide_values


def _narrow(problem: Problem) -> tuple[Tensor, ...]:
    return *problem.narrow_features, problem.values


def _loop_work(n: int, k: int) -> float:
    """Some forty calls per pair, whose overhead outweighs small matrices."""
    return n * n * (k**3 + 3e4)


def _pair_work(n: int, k: int) -> float:
    return n * n * (k**3 + 2e3)


def _square(k: int) -> int:
    return k * k


LADDER: tuple[Rung, ...] = (
    WholeRung(
        Claim("loop", "textbook double loop over transported beliefs", True, _loop_work, profiled=32),
        _from_phi,
        lambda problem, *leaves: loop(problem, *leaves)[0],
        lambda problem, *leaves: loop(problem, *leaves)[1],
    ),
    RowRung(
        Claim("pairs", "batched pairs, exponentials per pair", True, _pair_work), prepare_algebra, repeated, _square
    ),
    RowRung(
        Claim("cached", "batched pairs, exponentials cached per token", True, _pair_work),
        prepare_exponentials,
        cached,
        _square,
    ),
    RowRung(
        Claim("first-order", "batched pairs, transport to first order in phi", False, _pair_work),
        prepare_algebra,
        first_order,
        _square,
    ),
    RowRung(
        Claim("diagonal", "batched pairs, diagonal of the transported covariance", False, _pair_work),
        prepare_projection,
        projected,
        lambda k: k,
    ),
    RowRung(
        Claim("window-pairs", "batched pairs within a window, exponentials cached", False),
        prepare_exponentials,
        cached,
        _square,
        windowed=True,
    ),
    WholeRung(
        Claim("low-rank", "common frame, covariances of rank K/4 plus diagonal", False),
        _from_factors,
        low_rank,
        partial(low_rank, pattern=True),
    ),
    WholeRung(
        Claim("window", "common frame within a window", False), _from_phi, windowed, partial(windowed, pattern=True)
    ),
    WholeRung(
        Claim(EXACT_FORM, "exact common frame, from phi", True),
        _from_phi,
        common_frame,
        partial(common_frame, pattern=True),
    ),
    WholeRung(
        Claim("frames-given", "exact common frame, group elements given", True),
        _from_frames,
        given_frames,
        partial(given_frames, pattern=True),
    ),
    WholeRung(
        Claim("parts", "exact common frame, group elements given, unchecked parts", True),
        _from_frames,
        unchecked_parts,
        partial(unchecked_parts, pattern=True),
    ),
    WholeRung(Claim(SAME_WIDTH, "dot-product attention of equal feature width", None), _wide, dot_product),
    WholeRung(Claim(SAME_DIM, "dot-product attention of width K", None), _narrow, dot_product),
)


def rung(name: str) -> Rung:
    """The rung of that name."""
    return next(found for found in LADDER if found.name == name)
