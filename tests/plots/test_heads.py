import re

import numpy as np
import pytest
from synthetic_flow import synthetic_flow

from rgprobe.errors import OptionError
from rgprobe.plots import head_map
from rgprobe.plots.arrays import select


@pytest.fixture(scope="module")
def made_up_flow():
    return synthetic_flow()


@pytest.fixture(scope="module")
def flow_without_nulls():
    return synthetic_flow(nulls=0)


@pytest.mark.parametrize("sink", ["excluded", "included"])
def test_cells_are_the_array(made_up_flow, sink):
    cells, marks = head_map(made_up_flow, "temperature", "theta", sink=sink, midpoint=1.0).data
    here = select(made_up_flow, "temperature", "theta").sel(sink=sink)
    assert np.array_equal(cells.z, here["value"].transpose("head", "block"))
    assert len(marks.x) == (here["verdict"] == "beats null").sum()


def test_neutral_colour_sits_at_the_midpoint(made_up_flow):
    axis = head_map(made_up_flow, "temperature", "theta", midpoint=1.0).layout.coloraxis
    share = (1.0 - axis.cmin) / (axis.cmax - axis.cmin)
    positions = np.array([stop[0] for stop in axis.colorscale])
    neutral = axis.colorscale[np.abs(positions - share).argmin()][1]
    red, green, blue = (int(level) for level in re.findall(r"\d+", neutral))
    assert max(red, green, blue) - min(red, green, blue) < 70


def test_colour_bar_has_units_and_cells_tell_phase_and_null(made_up_flow):
    figure = head_map(made_up_flow, "temperature", "theta")
    assert figure.layout.coloraxis.colorbar.title.text == "theta<br>(dimensionless)"
    assert "phase_by_entropy: exploration" in figure.data[0].customdata[0][0]
    assert "random init" in figure.data[0].customdata[0][0]


def test_two_flows_share_one_colour_scale(made_up_flow, flow_without_nulls):
    figure = head_map({"a": made_up_flow, "b": flow_without_nulls}, "temperature", "theta")
    maps = [trace for trace in figure.data if trace.type == "heatmap"]
    assert [trace.coloraxis for trace in maps] == ["coloraxis", "coloraxis"]
    assert [note.text for note in figure.layout.annotations] == ["a", "b"]


def test_refuses_what_has_no_heads(made_up_flow):
    with pytest.raises(OptionError, match="flow_over_depth"):
        head_map(made_up_flow, "plateau", "angle")
    with pytest.raises(OptionError, match=r"excluded \| included"):
        head_map(made_up_flow, "temperature", "theta", sink="both")
