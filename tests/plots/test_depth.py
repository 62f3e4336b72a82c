import numpy as np
import pytest
from synthetic_flow import synthetic_flow

from rgprobe.errors import OptionError
from rgprobe.plots import flow_over_depth
from rgprobe.plots.arrays import select


@pytest.fixture(scope="module")
def made_up_flow():
    return synthetic_flow()


@pytest.fixture(scope="module")
def flow_without_nulls():
    return synthetic_flow(nulls=0)


def traces(figure):
    return {trace.name: trace for trace in figure.data}


def test_line_and_bands_are_the_arrays(made_up_flow):
    arrays = select(made_up_flow, "plateau", "angle")
    drawn = traces(flow_over_depth(made_up_flow, "plateau", "angle"))
    assert np.array_equal(drawn["standard-small"].y, arrays["value"])
    assert np.array_equal(drawn["standard-small low"].y, arrays["value_low"])
    assert np.array_equal(drawn["standard-small high"].y, arrays["value_high"])
    for null in ("random_init", "shuffled_tokens"):
        here, name = arrays.sel(null_model=null), null.replace("_", " ")
        assert np.array_equal(drawn[name].y, here["null"])
        assert np.array_equal(drawn[f"{name} low"].y, here["null_low"])
        assert np.array_equal(drawn[f"{name} high"].y, here["null_high"])


def test_heads_are_dots_and_their_mean_the_line(made_up_flow):
    value = select(made_up_flow, "temperature", "theta")["value"]
    drawn = traces(flow_over_depth(made_up_flow, "temperature", "theta"))
    assert np.allclose(drawn["standard-small"].y, value.sel(sink="excluded").mean("head"), rtol=1e-14)
    assert np.allclose(drawn["standard-small, sink included"].y, value.sel(sink="included").mean("head"), rtol=1e-14)
    assert np.array_equal(drawn["standard-small, heads"].y, value.sel(sink="excluded").values.ravel())


def test_axes_carry_units_and_name_both_ends(made_up_flow):
    layout = flow_over_depth(made_up_flow, "plateau", "angle").layout
    assert layout.yaxis.title.text == "angle<br>(degrees)"
    assert layout.xaxis.ticktext[0] == "0<br>input end"
    assert layout.xaxis.ticktext[-1] == "4<br>output end"


def test_no_band_without_nulls(flow_without_nulls):
    names = traces(flow_over_depth(flow_without_nulls, "plateau", "angle"))
    assert list(names) == ["standard-small low", "standard-small high", "standard-small"]


def test_flows_of_different_depth_share_relative_depth(made_up_flow):
    deeper = synthetic_flow(blocks=9, name="deep")
    figure = flow_over_depth([made_up_flow, deeper], "plateau", "angle")
    assert figure.layout.xaxis.title.text == "relative depth"
    drawn = traces(figure)
    assert len(drawn["deep"].x) == 9
    assert (
        (drawn["deep"].x[0], drawn["deep"].x[-1])
        == (drawn["standard-small"].x[0], drawn["standard-small"].x[-1])
        == (0, 1)
    )


def test_several_flows_share_the_legend_of_what_is_drawn_alike(made_up_flow):
    drawn = flow_over_depth([made_up_flow, synthetic_flow(seed=1, name="other")], "temperature", "theta").data
    listed = {trace.name for trace in drawn if trace.showlegend is not False}
    assert listed == {"standard-small", "other", "random init", "shuffled tokens", "sink included"}
    groups = {trace.legendgroup for trace in drawn if trace.name.endswith(("random init", "random init low"))}
    assert groups == {"random init"}


def test_equal_names_stay_apart(made_up_flow):
    assert "standard-small (2)" in traces(flow_over_depth([made_up_flow, made_up_flow], "plateau", "angle"))


@pytest.mark.parametrize(
    ("diagnostic", "quantity", "culprit"), [("heat", "theta", "temperature"), ("plateau", "x", "angle")]
)
def test_unknown_names_are_refused_with_the_known_ones(made_up_flow, diagnostic, quantity, culprit):
    with pytest.raises(OptionError, match=culprit):
        flow_over_depth(made_up_flow, diagnostic, quantity)
