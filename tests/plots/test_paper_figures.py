"""Every figure for papers: it builds, nothing in it overlaps or is clipped, and it shows the arrays of the flow."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from ladder_cases import made_up_result
from matplotlib.text import Text
from paper_flow import HOSTILE, drawn_texts, misplaced, paper_flow

import rgprobe as rg
from rgprobe.errors import BadInput, OptionError
from rgprobe.models.bench.result import LadderResult
from rgprobe.plots import paper
from rgprobe.plots.arrays import select
from rgprobe.plots.paper.catalogue import FIGURES
from rgprobe.plots.paper.style import DOUBLE, SINGLE
from rgprobe.rate_distortion import RateDistortion

DOCS = Path(__file__).parents[2] / "docs"
NAMES = [entry.name for entry in FIGURES]
DRAW = {entry.name: entry.draw for entry in FIGURES}


@pytest.fixture(scope="module")
def flow():
    return paper_flow()


@pytest.fixture(scope="module")
def figures(flow):
    """Every figure of the flow, drawn once."""
    return {entry.name: entry.draw(flow) for entry in FIGURES}


@pytest.fixture(scope="module")
def hostile_flow():
    return paper_flow(tokens=HOSTILE, positions=12, name="$evil$_\\name 你", blocks=2)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_overlaps_or_is_clipped(name, figures):
    assert misplaced(figures[name]) == []
    assert figures[name].get_figwidth() in (SINGLE, DOUBLE)


@pytest.mark.parametrize("name", ["flow-summary", "temperature-map", "genealogy"])
def test_deep_models_fit(name):
    figure = DRAW[name](paper_flow(blocks=29, heads=9, prompts=2, nulls=0))
    assert misplaced(figure) == []


@pytest.mark.parametrize("name", NAMES)
def test_no_mathematics_wherever_a_figure_is_saved(name, figures):
    assert {text.get_parse_math() for text in figures[name].findobj(Text)} == {False}


@pytest.mark.parametrize("name", ["consensus-tree", "genealogy"])
def test_hostile_tokens_are_shown_as_text(name, hostile_flow):
    # a glyph that the font lacks is a warning, and warnings are errors here
    figure = DRAW[name](hostile_flow)
    assert misplaced(figure) == []
    words = " ".join(text for text, _ in drawn_texts(figure))
    assert [token for token in ("U+1F99C", "$x_1^2$", "$$", "\\frac{a}{b}", "<b>&") if token not in words] == []


@pytest.mark.parametrize("name", ["consensus-tree", "genealogy"])
def test_long_token_lists_are_thinned(name):
    words = tuple(f" w{k}ongish" for k in range(91))
    figure = DRAW[name](paper_flow(tokens=words, positions=90, blocks=2, heads=1, prompts=1))
    assert misplaced(figure) == []
    assert len(drawn_texts(figure)) < 70


@pytest.mark.parametrize("name", NAMES)
def test_every_axis_has_its_label_and_values_their_units(name, figures):
    panels = [axes for axes in figures[name].axes if axes.get_visible() and axes.axison]
    labels = [label for axes in panels for label in (axes.get_xlabel(), axes.get_ylabel()) if label]
    units = ("(nats", "(bits", "(dimensionless", "(tokens", "(degrees", "(input → output)")
    named = ("head", "tangent", "token, in", "component", "7 tokens")
    assert labels
    assert [label for label in labels if not any(unit in label for unit in (*units, *named))] == []


def test_the_line_and_the_bands_are_the_arrays(flow, figures):
    arrays = select(flow, "elimination", "entropy")
    axes = figures["elimination"].axes[1]
    drawn = [line.get_ydata() for line in axes.lines]
    assert any(np.array_equal(y, arrays["value"]) for y in drawn)
    for null in ("random_init", "shuffled_tokens"):
        assert any(np.array_equal(y, arrays["null"].sel(null_model=null)) for y in drawn)
    edges = {round(float(y), 9) for band in axes.collections for y in band.get_paths()[0].vertices[:, 1]}
    low = arrays["null_low"].sel(null_model="random_init").values
    assert {round(float(y), 9) for y in low} <= edges


def test_filled_dots_are_what_beats_the_null(flow, figures):
    arrays = select(flow, "elimination", "entropy")
    dots = [line for line in figures["elimination"].axes[1].lines if line.get_marker() == "o"]
    filled = [line for line in dots if line.get_markerfacecolor() != "white"]
    beats = arrays["verdict"].values == "beats null"
    assert sum(len(line.get_xdata()) for line in filled) == int(beats.sum()) > 0


def test_refused_states_are_crossed(figures):
    axes = figures["correlation-length"].axes[0]
    (crosses,) = [line for line in axes.lines if line.get_marker() == "x"]
    assert crosses.get_xdata().tolist() == [0.0, 1.0]


@pytest.mark.parametrize(("law", "words"), [("power", "undefined at every state"), ("floored exponential", "a floor")])
def test_a_length_that_is_undefined_everywhere_says_so(flow, law, words):
    tree = flow.to_xarray().copy()
    arrays = tree["correlation_length"].to_dataset()
    arrays["value"][0] = np.nan
    arrays["law"] = ("state", np.full(arrays.sizes["state"], law))
    tree["correlation_length"] = xr.DataTree(arrays)
    figure = paper.correlation_length(rg.RGFlow(tree))
    assert any(words in text for text, _ in drawn_texts(figure))
    assert misplaced(figure) == []


def test_matrix_and_tree_share_their_rows(flow):
    figure = paper.consensus_tree(flow, prompt=1, state=2)
    left, right = figure.axes[:2]
    assert left.get_ylim() == right.get_ylim()
    rows = sorted({float(y) for line in left.lines for y in line.get_ydata()})
    assert set(np.arange(7) + 0.5) <= set(rows)
    assert right.collections[0].get_array().mask.sum() == 7


def test_phase_words_are_beside_the_scale_of_the_temperature_that_they_are_of(flow, figures):
    words = {text for text, _ in drawn_texts(figures["temperature-map"])}
    assert "crossover" in words
    tree = flow.to_xarray()
    without = tree["temperature"].to_dataset().sel(quantity=["theta", "beta_sigma"])
    tree["temperature"] = xr.DataTree(without)
    assert "crossover" not in {text for text, _ in drawn_texts(paper.temperature_map(rg.RGFlow(tree)))}


def test_a_comparison_of_two_families_is_named_and_nothing_is_misplaced(flow):
    comparison = rg.compare({"standard": flow, "$other$_": paper_flow(seed=1)})
    figure = paper.families_compared(comparison)
    assert misplaced(figure) == []
    assert any("$other$_ − standard" in text for text, _ in drawn_texts(figure))


def test_families_of_different_depth_share_relative_depth(flow):
    figure = paper.families_compared(rg.compare({"a": flow, "b": paper_flow(blocks=7)}))
    assert "relative depth" in figure.axes[-1].get_xlabel()
    assert misplaced(figure) == []


@pytest.mark.parametrize("result", [made_up_result(), "shipped"], ids=["made up", "measured"])
def test_nothing_is_misplaced_in_the_ladder(result):
    if result == "shipped":
        result = LadderResult.from_json((DOCS / "attention-ladder.json").read_text("utf-8"))
    assert misplaced(paper.attention_ladder(result)) == []


def test_nothing_is_misplaced_in_faithfulness_by_depth():
    assert misplaced(paper.faithfulness_by_depth(json.loads((DOCS / "faithfulness.json").read_text("utf-8")))) == []


def test_faithfulness_rows_of_another_form_are_refused():
    with pytest.raises(BadInput, match="share"):
        paper.faithfulness_by_depth([{"model": "m", "layer": 1, "relative": {"tree": [0.1]}}])


def rate_distortion_curve():
    clusters = np.array([1, 2, 4, 8, 16])
    distortion = np.array(
        [[1.0, 0.3, 0.1, 0.03, 0.0], [1.0, 0.7, 0.5, 0.2, 0.0], [np.nan, np.nan, 0.4, np.nan, np.nan]]
    )
    arrays = {"distortion": (("partition", "clusters"), distortion)}
    coords = {"partition": ["tree", "random", "sentences_given"], "clusters": clusters}
    return RateDistortion(xr.Dataset(arrays, coords, attrs={"provenance": json.dumps({"source": "made up"})}))


def test_rate_distortion_curve():
    figure = paper.rate_distortion(rate_distortion_curve())
    assert misplaced(figure) == []
    assert {"tree", "random", "sentences given"} <= {text for text, _ in drawn_texts(figure)}


def test_unknown_prompt_is_refused(flow):
    for draw in (paper.consensus_tree, paper.cross_layer_genealogy, paper.energy_landscape):
        with pytest.raises(OptionError, match="prompt"):
            draw(flow, prompt=9)
