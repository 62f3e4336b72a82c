import numpy as np
import pytest
from synthetic_flow import synthetic_flow

from rgprobe.errors import OptionError
from rgprobe.plots import consensus


@pytest.fixture(scope="module")
def made_up_flow():
    return synthetic_flow()


def test_cells_are_the_matrix_on_a_log_scale_common_to_all_states(made_up_flow):
    matrices = made_up_flow.to_xarray()["consensus"]["jeffreys_matrix"].values[0]
    figure = consensus(made_up_flow, prompt=0, state=2)
    off = ~np.eye(7, dtype=bool)
    assert np.allclose(10 ** np.array(figure.data[0].z)[off], matrices[2][off], rtol=1e-12)
    assert np.isclose(10**figure.layout.coloraxis.cmax, matrices.max(), rtol=1e-12)
    assert np.isclose(10**figure.layout.coloraxis.cmin, matrices[matrices > 0].min(), rtol=1e-12)
    assert figure.layout.coloraxis.colorbar.title.text == "Jeffreys (nats)"


def test_ragged_prompt_shows_its_own_tokens_only(made_up_flow):
    figure = consensus(made_up_flow, prompt=2, state=0)
    assert np.array(figure.data[0].z).shape == (6, 6)
    assert figure.layout.xaxis.ticktext == ("be", ",", "or", "not", "to", "be")


def test_markup_in_tokens_is_literal():
    figure = consensus(synthetic_flow(tokens=("x", "<b>", "$$", "%{y}", "\x00", "\ud800", " a", "b", "c")))
    assert figure.layout.xaxis.ticktext[:5] == ("&lt;b&gt;", "&#36;&#36;", "%&#123;y}", "␀", "\\ud800")


@pytest.mark.parametrize("choice", [{"prompt": 3}, {"state": 6}, {"prompt": -1}])
def test_out_of_range_is_refused(made_up_flow, choice):
    with pytest.raises(OptionError, match="expected a whole number from 0 to"):
        consensus(made_up_flow, **choice)
