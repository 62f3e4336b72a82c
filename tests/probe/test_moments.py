"""Row moments against a plain loop, and merging over splits of the keys against the whole."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rgprobe.probe.attention import attention_moments
from rgprobe.probe.moments import RowMoments, merge_moments, row_moments

SIZES = (1, 2, 63, 128, 129, 300)


def naive(scores, distances):
    """One row, key by key, in Python's own floats."""
    s, r = scores.tolist(), distances.tolist()
    if not s:
        return {
            name: -math.inf if name == "log_partition" else math.nan for name in RowMoments.__dataclass_fields__
        } | {"keys": 0.0}
    top = max(s)
    weights = [math.exp(x - top) for x in s]
    z = math.fsum(weights)
    alpha = [w / z for w in weights]
    gibbs = math.fsum(a * x for a, x in zip(alpha, s, strict=True))
    mean = math.fsum(s) / len(s)
    return {
        "keys": float(len(s)),
        "log_partition": top + math.log(z),
        "gibbs_mean": gibbs,
        "gibbs_variance": math.fsum(a * (x - gibbs) ** 2 for a, x in zip(alpha, s, strict=True)),
        "uniform_mean": mean,
        "uniform_variance": math.fsum((x - mean) ** 2 for x in s) / len(s),
        "purity": math.fsum(a * a for a in alpha),
        "distance": math.fsum(a * x for a, x in zip(alpha, r, strict=True)),
        "log_distance": math.fsum(a * math.log1p(x) for a, x in zip(alpha, r, strict=True)),
    }


def assert_row(moments, index, expected, **tolerance):
    for name, value in moments.as_dict().items():
        assert value.dtype == torch.float64
        torch.testing.assert_close(
            value[index], torch.tensor(expected[name], dtype=torch.float64), equal_nan=True, msg=name, **tolerance
        )


def causal_scores(size, heads=2, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(heads, size, size, generator=generator, dtype=torch.float64)
    hidden = torch.ones(size, size, dtype=torch.bool).triu(1)
    return scores.to(dtype).masked_fill(hidden, torch.finfo(dtype).min), ~hidden


def assert_matches_naive(moments, scores, allowed, *, sink, **tolerance):
    size = scores.shape[-1]
    positions = torch.arange(size, dtype=torch.float64)
    rows = sorted({0, 1, size // 2, 126, 127, 128, size - 1} & set(range(size)))
    for head in range(len(scores)):
        for row in rows:
            seen = allowed[row].clone()
            seen[0] &= sink
            expected = naive(scores[head, row][seen].double(), (row - positions[seen]).abs())
            assert_row(moments, (head, row), expected, **tolerance)


@pytest.mark.parametrize("size", SIZES)
def test_a_causal_layer_equals_the_plain_loop_with_and_without_the_sink(size):
    scores, allowed = causal_scores(size)
    excluded, included = attention_moments(scores)
    assert included.keys.shape == (2, size)
    assert_matches_naive(excluded, scores, allowed, sink=False, rtol=1e-10, atol=1e-10)
    assert_matches_naive(included, scores, allowed, sink=True, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [2, 129])
def test_a_bidirectional_layer_equals_the_plain_loop(size):
    scores = torch.randn(3, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    excluded, included = attention_moments(scores, causal=False)
    everything = torch.ones(size, size, dtype=torch.bool)
    assert_matches_naive(excluded, scores, everything, sink=False, rtol=1e-10, atol=1e-10)
    assert_matches_naive(included, scores, everything, sink=True, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("floor", [torch.finfo(torch.float64).min, -torch.inf])
def test_a_sliding_window_is_read_from_the_mask(floor):
    size, window = 140, 9
    scores, allowed = causal_scores(size)
    allowed &= torch.ones(size, size, dtype=torch.bool).triu(1 - window)
    excluded, included = attention_moments(scores.masked_fill(~allowed, floor))
    assert_matches_naive(excluded, scores, allowed, sink=False, rtol=1e-10, atol=1e-10)
    assert_matches_naive(included, scores, allowed, sink=True, rtol=1e-10, atol=1e-10)
    assert included.keys[0, -1] == window


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_scores_are_upcast_before_anything_is_summed(dtype):
    scores, allowed = causal_scores(300, dtype=dtype)
    same = scores.double().masked_fill(~allowed, torch.finfo(torch.float64).min)
    for low, high in zip(attention_moments(scores), attention_moments(same), strict=True):
        for name, value in low.as_dict().items():
            torch.testing.assert_close(value, high.as_dict()[name], rtol=1e-5, atol=1e-5, equal_nan=True, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_only_the_reference_energy_moves_with_a_shift_of_the_row(dtype):
    # multiples of 2^-10 below 2^13: the shift itself is exact in float32
    scores = (causal_scores(40, seed=3)[0].clamp(-8, 8) * 1024).round() / 1024
    moved = scores + 4096.0
    allowed = torch.ones(40, 40, dtype=torch.bool).tril()
    floor = torch.finfo(dtype).min
    here, there = (attention_moments(s.to(dtype).masked_fill(~allowed, floor)) for s in (scores, moved))
    for before, after in zip(here, there, strict=True):
        for name in ("gibbs_variance", "uniform_variance", "purity", "distance", "log_distance"):
            torch.testing.assert_close(
                getattr(after, name), getattr(before, name), rtol=1e-6, atol=1e-6, equal_nan=True, msg=name
            )
        for name in ("log_partition", "gibbs_mean", "uniform_mean"):
            expected = getattr(before, name) + 4096.0
            torch.testing.assert_close(getattr(after, name), expected, rtol=0, atol=1e-6, equal_nan=True, msg=name)


def parts_of(scores, distances, labels, count):
    return [row_moments(scores, labels == part, distances) for part in range(count)]


@settings(max_examples=40, deadline=None)
@given(
    size=st.sampled_from((1, 2, 7, 63)),
    count=st.integers(2, 4),
    seed=st.integers(0, 10**6),
    sink=st.sampled_from((0.0, 30.0, 500.0)),
)
def test_moments_of_a_union_follow_from_those_of_any_split(size, count, seed, sink):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, 3, size, generator=generator, dtype=torch.float64)
    scores[..., 0] += sink  # exp(500) against order one: the others survive in the variance only
    distances = torch.rand(3, size, generator=generator, dtype=torch.float64) * size
    labels = torch.randint(0, count, (3, size), generator=generator)  # small sizes leave sets empty
    whole = row_moments(scores, torch.ones(3, size, dtype=torch.bool), distances)
    first, *others = parts_of(scores, distances, labels, count)
    for other in others:
        first = merge_moments(first, other)
    for name, value in first.as_dict().items():
        torch.testing.assert_close(value, whole.as_dict()[name], rtol=1e-12, atol=1e-12, msg=name)


def test_merging_is_commutative_and_the_empty_set_is_its_identity():
    scores, distances = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64), torch.tensor([[2.0, 1.0, 0.0]]).double()
    some = row_moments(scores, torch.tensor([[True, True, False]]), distances)
    none = row_moments(scores, torch.zeros(1, 3, dtype=torch.bool), distances)
    for merged in (merge_moments(some, none), merge_moments(none, some)):
        for name, value in merged.as_dict().items():
            assert torch.equal(value, some.as_dict()[name]), name
    nothing = merge_moments(none, none)
    assert nothing.keys.item() == 0
    assert nothing.log_partition.item() == -math.inf
    assert all(v.isnan().all() for name, v in nothing.as_dict().items() if name not in ("keys", "log_partition"))


def test_a_common_level_of_the_scores_costs_merged_moments_no_more_than_its_own_rounding():
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(4, 65, generator=generator, dtype=torch.float64)
    # shifts that a float64 score holds exactly
    scores = (scores * 2**20).round() / 2**20
    first, distances = torch.arange(65) < 30, torch.zeros(4, 65, dtype=torch.float64)

    def merged(level):
        parts = (row_moments(scores + level, (first == side).expand(4, 65), distances) for side in (True, False))
        return merge_moments(*parts)

    low, high = merged(0.0), merged(2.0**17)
    for name in ("gibbs_variance", "purity"):
        torch.testing.assert_close(getattr(high, name), getattr(low, name), rtol=1e-9, atol=0)
    deficit_low, deficit_high = (m.gibbs_mean - m.log_partition for m in (low, high))
    torch.testing.assert_close(deficit_high, deficit_low, rtol=0, atol=1e-10)
