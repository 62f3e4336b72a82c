"""The landscape figure of a measured flow: its panels, one colour scale, empty panels, errors that say what there is."""

import numpy as np
import pytest
import tiny_models

import rgprobe as rg
from rgprobe.errors import OptionError
from rgprobe.plots import energy_landscape
from rgprobe.report.sections import section


@pytest.fixture(scope="module")
def flow():
    return rg.run(
        tiny_models.gpt2(), tiny_models.random_prompts(2, 24), nulls=0, diagnostics="energy_landscape", positions=16
    )


def test_one_panel_per_block_on_one_scale(flow):
    figure = energy_landscape(flow, 1)
    slices = [trace for trace in figure.data if trace.type == "contour"]
    assert len(slices) == 3
    assert all(trace.coloraxis == "coloraxis" for trace in slices)
    node = flow.to_xarray()["energy_landscape"]
    np.testing.assert_allclose(slices[2].z, node["slice_free_energy"].values[1, 2])
    for block, title in enumerate(figure.layout.annotations):
        count = int(node["basin_of_token"].values[1, block].max()) + 1
        assert title.text == f"block {block}: {count} basin{'s' * (count != 1)} of 16 tokens"
    crosses = [trace for trace in figure.data if trace.name == "minimum"]
    assert sum(crosses[0].customdata) == 16
    np.testing.assert_allclose(figure.layout.coloraxis.cmin, 0.0)


def test_blocks_can_be_chosen_and_others_are_refused(flow):
    assert len([trace for trace in energy_landscape(flow, blocks=[2]).data if trace.type == "contour"]) == 1
    with pytest.raises(OptionError, match="prompt: expected a whole number from 0 to 1, received 2"):
        energy_landscape(flow, 2)
    with pytest.raises(OptionError, match=r"blocks\[1\]: expected a whole number from 0 to 2, received 3"):
        energy_landscape(flow, blocks=[0, 3])


def test_a_prompt_without_a_landscape_has_empty_panels(flow):
    empty = flow.to_xarray().copy(deep=True)
    empty["energy_landscape"]["slice_free_energy"].values[:] = np.nan
    empty["energy_landscape"]["basin_of_token"].values[:] = -1
    figure = energy_landscape(rg.RGFlow(empty))
    assert len(figure.data) == 0
    assert figure.layout.annotations[0].text == "block 0: undefined"


def test_the_report_leads_its_section_with_the_landscape(flow):
    figures = {}
    text = section({"tiny": flow}, "energy_landscape", figures)
    assert "energy_landscape/slices/0" in figures
    assert "data-figure='energy_landscape/slices/0'" in text
    assert "a hollow of the slice need not be a minimum" in text
