import numpy as np
import plotly.graph_objects as go

from rgprobe.plots.scales import fit_values
from rgprobe.plots.style import new_figure


def figure(line, low, high):
    drawn = new_figure()
    drawn.update_yaxes(title="x<br>(nats)")
    for values in (low, high):
        drawn.add_trace(go.Scatter(y=np.array(values), line={"width": 0}))
    drawn.add_trace(go.Scatter(y=np.array(line), line={"width": 2}))
    fit_values(drawn)
    return drawn


def test_values_over_decades_get_a_log_axis_and_bands_stay_positive():
    drawn = figure([0.5, 5.0, 50.0], [-3.0, 1.0, 1.0], [1.0, 10.0, 90.0])
    assert drawn.layout.yaxis.type == "log"
    assert drawn.layout.yaxis.title.text == "x<br>(nats, log)"
    assert np.array_equal(drawn.data[0].y, [0.05, 1.0, 1.0])
    assert np.array_equal(drawn.data[2].y, [0.5, 5.0, 50.0])


def test_an_enormous_band_does_not_flatten_the_line():
    drawn = figure([1.0, 2.0], [-500.0, 0.0], [500.0, 3.0])
    low, high = drawn.layout.yaxis.range
    assert -1 < low < 1
    assert 2 < high < 4
    assert drawn.data[0].y[0] == -500.0


def test_a_modest_band_leaves_the_axis_alone():
    assert figure([1.0, 2.0], [0.9, 1.9], [1.1, 2.1]).layout.yaxis.range is None
