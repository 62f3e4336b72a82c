"""The explorer: every part shows the same clusters, its controls do what they say, and both of its forms draw the same."""

import importlib.util

import numpy as np
import pytest
from synthetic_flow import synthetic_flow

from rgprobe.condensation import CondensationTree, condense
from rgprobe.errors import OptionError
from rgprobe.plots import explore
from rgprobe.plots import explorer as module
from rgprobe.plots.explorer_figure import PER_BUDGET
from rgprobe.plots.explorer_traces import text_places
from rgprobe.plots.explorer_view import FlowSource, TreeSource

LABELS = (" be", " not", "<i>", ",", " be")
TEXT, BOXES, BRANCHES, LEAVES, MERGES, CUT, OUTLINES = range(PER_BUDGET)


@pytest.fixture(scope="module")
def flow():
    return synthetic_flow()


@pytest.fixture
def five():
    """{0,4}, {2,3}, {1}+{0,4}, all; heights 0.1, 0.3, 0.35, 0.75."""
    return CondensationTree.from_parents([5, 7, 6, 6, 5, 7, 8, 8, -1], [0.1, 0.2, 0.05, 0.4], labels=LABELS)


def visible(figure):
    return [trace for trace in figure.data if trace.visible in (None, True)]


def cut(tree, budget, **options):
    """The traces that depend on the cut, of a plain figure of one tree."""
    return visible(explore(tree, budget=budget, widget=False, **options))[1:]


def test_clusters_are_those_of_the_cut(five):
    view = TreeSource("t", (five,)).view(0, 0)
    for budget in (0.0, 0.2, 0.4, 0.5, 1.0):
        labels = five.cut(height=budget * five.heights[-1])
        sets = {tuple(np.flatnonzero(labels == k)) for k in range(labels.max() + 1)}
        assert {view.table.leaves[k] for k in view.clusters(budget)} == sets


def test_text_tree_and_leaves_have_the_colours_of_their_clusters(five):
    traces = cut(five, 0.5)
    tokens, leaves = traces[TEXT].textfont.color, traces[LEAVES].textfont.color
    assert tokens[0] == tokens[1] == tokens[4] != tokens[2] == tokens[3]
    order = TreeSource("t", (five,)).view(0, 0).layout.order
    assert list(leaves) == [tokens[leaf] for leaf in order]
    assert set(traces[BOXES].marker.line.color) == set(tokens)


def test_boxes_are_as_long_as_their_merge_and_cover_their_rows(five):
    boxes = cut(five, 0.5)[BOXES]
    assert np.allclose(sorted(boxes.x), np.sqrt(np.array([0.3, 0.35]) / 0.75))
    assert np.allclose(sorted(boxes.width), [1.86, 2.86])


def test_hover_tells_tokens_loss_and_support(five):
    texts = [entry[0] for entry in cut(five, 0.5)[MERGES].customdata]
    assert any(
        "be · not · be<br>this merge loses 0.05 nats per token<br>so far 0.35<br>support 3 of 5" in t for t in texts
    )


def test_collapsing_leaves_out_what_lies_below_the_cut(five):
    open_, folded = cut(five, 0.5), cut(five, 0.5, collapse=True)
    assert len([x for x in folded[BRANCHES].x if x is not None]) == 4
    assert len([x for x in open_[BRANCHES].x if x is not None]) == 16
    assert sorted(entry[1] for entry in folded[MERGES].customdata) == [6, 7, 8]


def test_rows_of_the_matrix_are_rows_of_the_tree(flow):
    view = FlowSource("f", flow).view(0, 2)
    matrix = visible(explore(flow, depth=2, widget=False))[0]
    jeffreys = flow.to_xarray()["consensus"]["jeffreys_matrix"].values[0, 2]
    order = list(view.layout.order)
    low, high = view.limits
    assert np.allclose(matrix.z, np.log10(np.maximum(jeffreys[np.ix_(order, order)], low)), atol=1e-4)
    assert np.allclose((matrix.zmin, matrix.zmax), np.log10([low, high]))


def test_outlines_in_the_matrix_enclose_the_clusters(five):
    outlines = cut(five, 0.5)[OUTLINES]
    corners = [x for x in outlines.x if x is not None]
    assert sorted({min(corners[k : k + 5]) for k in (0, 5)}) == [-0.5, 2.5]


def test_trees_alone_show_where_two_tokens_join(five):
    view = TreeSource("t", (five,)).view(0, 0)
    assert view.matrix[0, 4] == pytest.approx(0.1)
    assert view.matrix[1, 4] == pytest.approx(0.35)
    assert view.matrix[0, 3] == pytest.approx(0.75)
    assert view.matrix_title == "joined at (nats per token)"


def test_a_frame_per_depth_holds_what_that_depth_draws(flow):
    figure = explore(flow, depth=1, widget=False)
    assert [frame.name for frame in figure.frames] == ["0", "1", "2", "3", "4", "5"]
    assert [step.args[0][0] for step in figure.layout.sliders[0].steps] == ["0", "1", "2", "3", "4", "5"]
    assert figure.layout.sliders[0].active == 1
    for other in (0, 4):
        drawn = explore(flow, depth=other, widget=False)
        assert all(len(frame.data) == len(drawn.data) for frame in figure.frames)
        for mine, theirs in zip(figure.frames[other].data, drawn.data, strict=True):
            assert mine.to_json() == theirs.update(visible=None).to_json()


def test_the_menu_shows_one_budget_and_always_the_matrix(flow):
    figure = explore(flow, budget=0.1, widget=False)
    menu = figure.layout.updatemenus[0]
    assert menu.buttons[menu.active].label == "lose at most 10%"
    for button in menu.buttons:
        shown = button.args[0]["visible"]
        assert len(shown) == len(figure.data)
        assert shown[0]
        assert sum(shown) == 1 + PER_BUDGET
    assert [trace.visible is not False for trace in figure.data] == list(menu.buttons[menu.active].args[0]["visible"])


def test_two_families_stand_side_by_side_at_equal_relative_depth(flow):
    short = synthetic_flow(seed=1, name="gauge-small", blocks=2)
    figure = explore({"a": flow, "b": short}, depth=5, widget=False)
    assert [note.text for note in figure.layout.annotations] == ["<b>a, state 5 of 5</b>", "<b>b, state 2 of 2</b>"]
    assert len(visible(figure)) == 2 * (1 + PER_BUDGET)
    assert figure.layout.xaxis4.domain[0] > figure.layout.xaxis3.domain[1] - 1e-9


def test_two_depths_stand_side_by_side(flow):
    figure = explore(flow, depth=(0, 3), widget=False)
    assert [note.text[-15:-4] for note in figure.layout.annotations] == ["tate 0 of 5", "tate 3 of 5"]
    assert figure.layout.sliders == ()


def test_hostile_tokens_are_text():
    tree = condense(np.array([[0.9, 0.1], [0.2, 0.8]]), labels=("<b>x</b>", "\u202e%{y}"))
    assert not any("<b>x" in str(trace.to_plotly_json()) for trace in explore(tree, widget=False).data)


def test_a_single_token_and_ties_are_drawn():
    single = cut(CondensationTree.from_parents([-1], [], labels=["x"]), 0.5)
    assert single[TEXT].text == single[LEAVES].text == ("x",)
    assert len(single[MERGES].x) == len(single[BOXES].x) == 0
    tied = cut(condense(np.full((4, 3), 1 / 3)), 0.5)
    assert tied[TEXT].text == tied[LEAVES].text == ("0", "1", "2", "3")
    assert len(tied[MERGES].x) == 3
    assert tied[BOXES].x == (0.0,)  # nothing is lost by any merge, so one cluster holds all


def test_lines_are_broken_between_tokens_and_wide_characters_take_two_columns():
    column, line, _ = text_places(("天地", " ab", "c"), columns=7)
    assert (column.tolist(), line.tolist()) == ([0, 5, 0], [0, 0, 1])


@pytest.mark.parametrize(
    ("options", "culprit"),
    [({"budget": 1.5}, "budget"), ({"prompt": 3}, "prompt"), ({"depth": 6}, "depth"), ({"depth": ()}, "depth")],
)
def test_what_cannot_be_shown_is_refused(flow, options, culprit):
    with pytest.raises(OptionError) as raised:
        explore(flow, widget=False, **options)
    assert raised.value.culprit == culprit


def test_a_widget_without_its_libraries_is_refused_and_a_figure_drawn_instead(five, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match="no ipywidgets and no anywidget"):
        explore(five, widget=True)
    assert len(explore(five).layout.updatemenus) == 1


WIDGETS = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("ipywidgets", "anywidget")), reason="ipywidgets, anywidget"
)


def explorer(shown, **options):
    from rgprobe.plots.explorer_view import sources_of
    from rgprobe.plots.explorer_widgets import Explorer

    settings = {"prompt": 0, "depth": 1, "budget": 0.25, "collapse": False, "width": 900} | options
    return Explorer(sources_of(shown), **settings)


@WIDGETS
def test_the_widget_draws_what_the_plain_figure_draws_wherever_it_is_set(flow):
    live = explorer(flow)
    for prompt, depth, budget in ((0, 1, 0.25), (2, 4, 0.5)):
        live.prompt.value, live.depths[0].value, live.budget.value = prompt, depth, budget
        plain = visible(explore(flow, prompt=prompt, depth=depth, budget=budget, widget=False, width=900))
        for mine, theirs in zip(live.figure.data, plain, strict=False):
            assert np.array_equal(mine.x, theirs.x)
            assert mine.customdata is None or np.array_equal(mine.customdata, theirs.customdata)
    assert live.figure.layout.annotations[0].text == "<b>standard-small, state 4 of 5</b>"


@WIDGETS
def test_pointing_lights_a_merge_and_clicking_cuts_there(five):
    live = explorer(five, depth=0)
    place = [entry[1] for entry in live.figure.data[1 + MERGES].customdata].index(6)
    live.light(0, [place])
    assert live.figure.data[1 + TEXT].selectedpoints == (2, 3)
    assert min(x for x in live.figure.data[-1].x if x is not None) == 2.5
    live.light(0, [])
    assert live.figure.data[1 + TEXT].selectedpoints is None
    assert live.figure.data[-1].x == ()
    live.cut_at(0, [place])
    assert live.budget.value == pytest.approx(0.4)


@WIDGETS
def test_each_depth_side_by_side_has_a_slider_of_its_own(flow):
    live = explorer(flow, depth=(0, 3))
    live.depths[1].value = 5
    assert [note.text[3:-4] for note in live.figure.layout.annotations] == [
        "standard-small, state 0 of 5",
        "standard-small, state 5 of 5",
    ]
