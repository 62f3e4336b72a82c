import numpy as np
import pytest
from parsed_page import ParsedPage
from synthetic_flow import synthetic_flow

from rgprobe.plots.arrays import named_flows, select
from rgprobe.report.page import page


@pytest.fixture(scope="module")
def made_up_flow():
    return synthetic_flow()


@pytest.fixture(scope="module")
def report(made_up_flow):
    return page(named_flows(made_up_flow))


def test_every_quantity_of_every_diagnostic_has_its_figure(report, made_up_flow):
    figures = ParsedPage(report).data["figures"]
    for name in made_up_flow.diagnostics:
        arrays = made_up_flow.to_xarray()[name]
        for quantity in arrays["quantity"].values:
            lead = name == "elimination" and quantity in ("kl_to_output", "entropy")
            assert ("elimination" if lead else f"{name}/{quantity}") in figures
            assert (f"{name}/{quantity}/heads" in figures) == ("head" in arrays["value"].dims)
    assert all(f"data-figure='{key}'" in report for key in figures)


def test_figures_hold_the_arrays(report, made_up_flow):
    drawn = ParsedPage(report).data["figures"]["invented_later/surprise"]["data"]
    line = next(trace["y"] for trace in drawn if trace["name"] == "standard-small")
    value = select(made_up_flow, "invented_later", "surprise")["value"].sel(sink="excluded").values
    assert np.allclose(line, value, rtol=1e-5)


def test_undefined_values_are_null():
    flow = synthetic_flow()
    flow.to_xarray()["plateau"]["value"][0, 2] = np.nan
    drawn = ParsedPage(page({"x": flow})).data["figures"]["plateau/angle"]["data"]
    assert next(trace["y"] for trace in drawn if trace["name"] == "x")[2] is None


def test_both_templates_stand_once_and_figures_carry_none(report):
    data = ParsedPage(report).data
    assert set(data["templates"]) == {"light", "dark"}
    assert not any("template" in figure["layout"] for figure in data["figures"].values())


def test_axes_of_all_figures_carry_units(report):
    for key, figure in ParsedPage(report).data["figures"].items():
        layout = figure["layout"]
        title = layout["coloraxis"]["colorbar"]["title"] if key.endswith("/heads") else layout["yaxis"]["title"]
        assert title["text"].endswith(")"), key


def test_two_flows_share_the_figures(made_up_flow):
    other = synthetic_flow(seed=1, name="gauge-small")
    data = ParsedPage(page({"a": made_up_flow, "b": other})).data
    assert [source["name"] for source in data["sources"]] == ["a", "b"]
    assert {"a", "b"} <= {trace["name"] for trace in data["figures"]["plateau/angle"]["data"]}


def test_a_diagnostic_that_one_flow_lacks_is_drawn_for_the_other(made_up_flow):
    tree = synthetic_flow(seed=1).to_xarray()
    del tree["plateau"]
    text = page({"less": type(made_up_flow)(tree), "more": made_up_flow})
    names = {trace["name"] for trace in ParsedPage(text).data["figures"]["plateau/angle"]["data"]}
    assert "more" in names
    assert "less" not in names
