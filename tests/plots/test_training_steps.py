"""Quantities against training step: lines per run with the null's band, and maps of depth by step."""

import numpy as np
import pytest
import xarray as xr

from rgprobe.errors import OptionError
from rgprobe.plots import over_steps, step_map

STEPS = [0, 1, 4, 16, 64, 256, 1000, 4000, 16000, 64000, 143000]


def node(dims, sizes, *, nulls=True):
    rng = np.random.default_rng(0)
    shape = [sizes[dim] for dim in dims]
    value = rng.normal(size=shape) + 3
    verdict = np.where(value > 3.5, "beats null", "within null")
    data = {
        "value": (dims, value),
        "value_low": (dims, value - 1),
        "value_high": (dims, value + 1),
        "verdict": (dims, verdict),
    }
    if nulls:
        wide = ("null_model", *dims)
        data |= {
            name: (wide, np.full((1, *shape), level))
            for name, level in (("null", 1.0), ("null_low", 0), ("null_high", 2.0))
        }
    coords = {"quantity": ["theta"], "units": ("quantity", ["1"]), "meaning": ("quantity", ["reduced temperature"])}
    coords |= {"null_model": ["random_init"]} if nulls else {}
    coords |= {"step": STEPS[: sizes["step"]]} if "step" in dims else {}
    coords |= {"run": ["a", "b"]} if "run" in dims else {}
    return xr.Dataset(data, coords)


SIZES = {"run": 2, "step": 11, "quantity": 1, "sink": 2, "block": 3, "head": 4}
DIMS = ("run", "step", "quantity", "sink", "block", "head")


def tree(dims=DIMS, **options):
    return xr.DataTree.from_dict({"temperature": node(dims, SIZES, **options)})


def test_lines_are_means_over_depth_and_heads_at_even_places():
    data = tree()
    figure = over_steps(data, "temperature", "theta")
    lines = {trace.name: trace for trace in figure.data if trace.mode == "lines+markers"}
    assert list(lines) == ["a", "b"]
    expected = data["temperature"]["value"].sel(run="b").isel(sink=0).mean(("block", "head")).values[:, 0]
    np.testing.assert_allclose(lines["b"].y, expected)
    assert lines["a"].x.tolist() == list(range(11))
    assert figure.layout.xaxis.ticktext[0] == "0"
    assert figure.layout.xaxis.ticktext[-1] == "143,000"
    assert [trace.name for trace in figure.data if trace.line.dash] == ["a: random init", "b: random init"]


def test_maps_have_a_panel_per_run_and_dots_where_most_heads_beat_the_null():
    data = tree()
    figure = step_map(data, "temperature", "theta")
    maps = [trace for trace in figure.data if trace.type == "heatmap"]
    assert [each.z.shape for each in maps] == [(3, 11), (3, 11)]
    chosen = data["temperature"]["value"].isel(sink=0, quantity=0, run=1).mean("head")
    np.testing.assert_allclose(maps[1].z, chosen.transpose("block", "step").values)
    dots = [trace for trace in figure.data if trace.type == "scatter"][1]
    beating = (data["temperature"]["verdict"].isel(sink=0, quantity=0, run=1) == "beats null").mean("head") > 0.5
    assert {(int(x), int(y)) for x, y in zip(dots.x, dots.y, strict=True)} == {
        (step, block) for step, block in zip(*np.nonzero(beating.transpose("step", "block").values), strict=True)
    }


def test_one_run_without_nulls_or_heads():
    data = tree(("step", "quantity", "block"), nulls=False)
    assert [trace.name for trace in over_steps(data, "temperature", "theta").data if trace.mode == "lines+markers"] == [
        "measured"
    ]
    assert step_map(data, "temperature", "theta").data[0].z.shape == (3, 11)


def test_names_that_are_not_there_are_refused():
    with pytest.raises(OptionError, match="diagnostic: expected temperature"):
        over_steps(tree(), "plateau", "theta")
    with pytest.raises(OptionError, match="quantity: expected theta"):
        step_map(tree(), "temperature", "xi")
