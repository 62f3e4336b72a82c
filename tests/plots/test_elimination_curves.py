import numpy as np
import pytest
from synthetic_flow import synthetic_flow

from rgprobe.plots import elimination
from rgprobe.plots.arrays import select


@pytest.fixture(scope="module")
def made_up_flow():
    return synthetic_flow()


def test_two_panels_in_bits_from_the_arrays(made_up_flow):
    figure = elimination(made_up_flow)
    assert figure.layout.yaxis.title.text == "kl to output<br>(bits)"
    assert figure.layout.yaxis2.title.text == "entropy<br>(bits)"
    lines = [trace for trace in figure.data if trace.name == "standard-small"]
    for line, quantity in zip(lines, ("kl_to_output", "entropy"), strict=True):
        assert np.array_equal(line.y, select(made_up_flow, "elimination", quantity)["value"])


def test_legend_names_everything_once(made_up_flow):
    shown = [trace.name for trace in elimination(made_up_flow).data if trace.showlegend]
    assert sorted(shown) == ["random init", "shuffled tokens", "standard-small"]
