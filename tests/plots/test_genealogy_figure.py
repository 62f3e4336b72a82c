import numpy as np
import pytest
from synthetic_flow import synthetic_flow

from rgprobe.condensation import CondensationTree, condense
from rgprobe.condensation.genealogy import genealogy as genealogy_of
from rgprobe.errors import OptionError
from rgprobe.plots import genealogy

LABELS = (" be", " not", "<i>", ",", " be")


def drawn_bars(figure):
    (bars,) = figure.select_traces({"type": "bar"})
    return bars


@pytest.fixture
def two_layers():
    """{0,4}, {1}, {2,3} and then {0,1,4}, {2,3}."""
    early = CondensationTree.from_parents([5, 7, 6, 6, 5, 7, 8, 8, -1], [0.1, 0.2, 0.05, 0.4], labels=LABELS)
    return genealogy_of([early, early], n_clusters=3), genealogy_of([early, early], n_clusters=2)


def test_bars_are_clusters_as_high_as_their_weight(two_layers):
    bars = drawn_bars(genealogy(two_layers[0]))
    assert sorted(np.round(bars.y, 9)) == [0.2, 0.2, 0.4, 0.4, 0.4, 0.4]
    assert list(bars.x) == [0, 0, 0, 1, 1, 1]


def test_colours_are_names_of_colours_for_plotly_warns_of_numbers_in_bars(two_layers):
    figure = genealogy(two_layers[0])
    assert all(colour.startswith("rgb(") for colour in drawn_bars(figure).marker.color)
    (key,) = figure.select_traces({"mode": "markers"})
    assert (key.marker.coloraxis, list(key.x)) == ("coloraxis", [None])


def test_bars_of_a_layer_do_not_overlap(two_layers):
    bars = drawn_bars(genealogy(two_layers[0]))
    for layer in (0, 1):
        here = np.flatnonzero(np.array(bars.x) == layer)
        low, high = np.array(bars.base)[here], (np.array(bars.base) + np.array(bars.y))[here]
        order = np.argsort(low)
        assert (low[order][1:] > high[order][:-1]).all()


def test_links_leave_and_arrive_within_the_bars_of_the_clusters_they_join():
    rng = np.random.default_rng(0)
    found = genealogy_of([condense(rng.dirichlet(np.ones(6), size=17)) for _ in range(3)], n_clusters=5)
    figure = genealogy(found)
    bars, links = drawn_bars(figure), list(figure.select_traces({"fill": "toself"}))
    assert len(links) == sum((passage.overlap > 0).sum() for passage in found.passages)
    filled = {}
    for link in links:
        x, y = np.array(link.x), np.array(link.y)
        for end in (x.min(), x.max()):
            layer, (low, high) = round(end), sorted(y[x == end])
            inside = [k for k in range(len(bars.x)) if bars.x[k] == layer and bars.base[k] - 1e-9 <= low
                      and high <= bars.base[k] + bars.y[k] + 1e-9]  # fmt: skip
            assert len(inside) == 1
            side = (inside[0], end > layer)
            filled[side] = filled.get(side, 0.0) + high - low
    for (bar, _), total in filled.items():
        assert total == pytest.approx(bars.y[bar])  # what is shared adds up to the cluster


def test_hover_tells_tokens_loss_and_fate(two_layers):
    figure = genealogy(two_layers[1])
    texts = drawn_bars(figure).customdata
    assert texts[0] == "be, not, be<br>3 of 5 tokens<br>loses 0.15 of the 0.35 nats per token lost here"
    assert texts[1].startswith("&lt;i&gt;, ,<br>2 of 5 tokens<br>loses 0.2 of")
    assert figure.data[0].text.endswith("part of a cluster that persists")


def test_a_flow_is_cut_as_asked():
    flow = synthetic_flow()
    assert len(drawn_bars(genealogy(flow, 1, n_clusters=3)).x) == 3 * 6
    assert genealogy(flow).layout.xaxis.title.text == "state"
    with pytest.raises(OptionError, match="n_clusters and loss"):
        genealogy(flow, n_clusters=2, loss=0.1)
    with pytest.raises(OptionError, match="expected a whole number from 0 to 2"):
        genealogy(flow, 3)
