"""Every kind of belief from end to end, for both families, through the diagnostics that read beliefs."""

import numpy as np
import pytest
import tiny_models
from gauge_models import tiny_gauge
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.condensation import condense
from rgprobe.errors import OptionError

PROMPTS = [*random_prompts(2, 12), random_prompts(1, 1)[0]]
OPTIONS = {
    "lens": {},
    "thermal": {},
    "native": {},
    "fisher": {"rank": 4},
    "downstream": {"rank": 2, "samples": 6},
    "ensemble": {"rank": 2, "samples": 40},
}
CASES = [(make, belief) for make in (tiny_models.llama, tiny_gauge) for belief in OPTIONS if (make, belief)
         != (tiny_models.llama, "native")]  # fmt: skip


@pytest.mark.parametrize(("make", "belief"), CASES)
def test_every_belief_runs_against_nulls_and_gives_trees(make, belief, tmp_path):
    options = {"belief": belief, "belief_options": OPTIONS[belief], "positions": 5}
    flow = rg.run(make(), PROMPTS, nulls=1, shuffles=0, diagnostics="consensus,condensation,plateau", **options)
    data = flow.to_xarray()
    depth = "block" if belief in ("thermal", "native") else "state"
    for name, quantity in (("consensus", "jeffreys"), ("condensation", "information")):
        entry = data[name].to_dataset().sel(quantity=quantity)
        assert entry["value"].dims == (depth,)
        assert (entry["value"] > 0).all(), name
        assert (entry["null"].sel(null_model="random_init") > 0).all(), name
    assert data["plateau"]["value"].sel(quantity="angle").notnull().all()
    assert data["consensus"]["per_prompt"].isel(prompt=2).isnull().all()  # a single token agrees with nobody
    flow.save(tmp_path / "flow.nc")
    trace = rg.trace(make(), PROMPTS, collect=["beliefs"], **options)
    beliefs = trace.beliefs(1, 1)
    tree = condense(np.exp(beliefs) if belief == "lens" else beliefs)
    np.testing.assert_array_equal(rg.open_flow(tmp_path / "flow.nc").tree(1, 1).parents, tree.parents)
    pooled = condense(np.exp(beliefs) if belief == "lens" else beliefs, centroid="pool")
    assert pooled.loss(1) > 0
    complete = flow.provenance["options"]["belief_options"]
    assert complete.items() >= OPTIONS[belief].items()


def test_runs_with_other_options_of_the_estimator_are_not_compared():
    flows = [
        rg.run(
            tiny_gauge(), PROMPTS[:2], nulls=0, diagnostics="consensus", belief="fisher", belief_options={"rank": rank}
        )
        for rank in (2, 3)
    ]
    with pytest.raises(OptionError, match="belief_options"):
        rg.compare({"a": flows[0], "b": flows[1]})
