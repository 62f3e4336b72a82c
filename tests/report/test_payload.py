import numpy as np
import pytest
from synthetic_flow import synthetic_flow

from rgprobe.report.payload import prompt_views


@pytest.fixture(scope="module")
def made_up_flow():
    return synthetic_flow()


def test_trees_and_matrices_are_those_of_the_flow(made_up_flow):
    views = prompt_views(made_up_flow, budget=10**7)
    assert len(views) == 3
    for prompt, view in enumerate(views):
        n = len(view["recorded"])
        assert [view["tokens"][position].strip() for position in view["recorded"]] == [
            token.strip() for token in made_up_flow.recorded_tokens(prompt)
        ]
        for state, (parents, costs) in enumerate(view["trees"]):
            tree = made_up_flow.tree(prompt, state)
            assert np.array_equal(parents, tree.parents)
            assert np.allclose(costs, tree.merge_costs, rtol=1e-3)
        jeffreys = made_up_flow.to_xarray()["consensus"]["jeffreys_matrix"].values[prompt, 1, :n, :n]
        assert np.allclose(view["jeffreys"][1], jeffreys[np.triu_indices(n, k=1)], rtol=6e-3)


def test_the_first_prompt_is_always_there(made_up_flow):
    assert len(prompt_views(made_up_flow, budget=0)) == 1


def test_a_flow_without_trees_has_none(made_up_flow):
    tree = made_up_flow.to_xarray().copy()
    del tree["condensation"], tree["consensus"]
    view = prompt_views(type(made_up_flow)(tree), budget=10**6)[0]
    assert view["trees"] is None
    assert view["jeffreys"] is None
