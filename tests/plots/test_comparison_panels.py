from itertools import pairwise

import numpy as np
import pytest
from planted_flows import planted_flow, random_values

import rgprobe as rg
from rgprobe.errors import OptionError
from rgprobe.plots import side_by_side
from rgprobe.plots.scales import fitted_axis


def compared(*, nulls=5, depths=(4, 4)):
    rng = np.random.default_rng(0)
    runs = {}
    for name, count, shift in zip(("standard", "gauge"), depths, (0.0, 2.0), strict=True):
        values = random_values(rng, 2, depths=count, shift=shift)
        runs[name] = planted_flow(values, nulls=[random_values(rng, 2, depths=count) for _ in range(nulls)])
    return rg.compare(runs)


def traces(figure):
    return {trace.name: trace for trace in figure.data}


def test_the_rows_are_the_arrays():
    comparison = compared()
    figure = side_by_side(comparison, "fake", "q1")
    arrays = comparison.to_xarray()["fake"].to_dataset().sel(quantity="q1")
    drawn = traces(figure)
    for name in comparison.names:
        here = arrays.sel(run=name)
        assert np.array_equal(drawn[name].y, here["value"])
        assert np.array_equal(drawn[f"{name} low"].y, here["value_low"])
        null = here.sel(null_model="random_init")
        assert np.array_equal(drawn[f"{name}: random init"].y, null["null"])
        assert np.array_equal(drawn[f"{name}: random init high"].y, null["null_high"])
    for label, kind in (("gauge − standard", ""), ("gauge − standard beyond their nulls", "excess_")):
        here = arrays.sel(null_model="random_init") if kind else arrays
        assert np.array_equal(drawn[label].y, here[f"{kind}difference"])
        assert np.array_equal(drawn[f"{label} low"].y, here[f"{kind}low"])
        filled = [symbol == "circle" for symbol in drawn[label].marker.symbol]
        assert filled == [word == "gauge above standard" for word in here[f"{kind}verdict"].values]
    assert figure.layout.yaxis.title.text.endswith("(nats)")
    assert figure.layout.yaxis3.title.text == "difference<br>beyond null"


def test_without_nulls_there_is_one_row_less():
    layout = side_by_side(compared(nulls=0), "fake", "q0").layout
    assert layout.yaxis2.title.text == "difference"
    assert "yaxis3" not in layout


def test_rows_do_not_overlap_and_zero_is_in_the_frame_of_differences():
    layout = side_by_side(compared(), "fake", "q0").layout
    domains = [axis.domain for axis in (layout.yaxis, layout.yaxis2, layout.yaxis3)]
    assert domains[0][1] == 1
    assert all(upper[0] > lower[1] for upper, lower in pairwise(domains))
    for axis in (layout.yaxis2, layout.yaxis3):
        assert axis.zeroline
        assert axis.type != "log"
        assert axis.range is None or axis.range[0] <= 0 <= axis.range[1]


def test_unequal_depths_share_a_relative_axis():
    layout = side_by_side(compared(depths=(4, 7)), "fake", "q0").layout
    assert layout.xaxis.title.text == "relative depth"
    assert layout.xaxis.ticktext == ("0<br>input end", "0.5", "1<br>output end")


def test_nothing_drawn_leaves_the_axis_alone():
    assert fitted_axis([], title="x<br>(nats)") == {"title": {"text": "x<br>(nats)"}}


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(OptionError, match="diagnostic: expected fake, received"):
        side_by_side(compared(), "missing", "q0")
    with pytest.raises(OptionError, match=r"quantity: expected q0 \| q1, received"):
        side_by_side(compared(), "fake", "missing")
