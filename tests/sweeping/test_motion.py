"""Distances from the first checkpoint, in weights and in attention."""

import numpy as np
import pytest
from safetensors.torch import load_file
from sweep_work import TEXTS, training_run

from rgprobe.errors import BadInput
from rgprobe.sweeping.motion import attention_displacement, weight_displacement


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return training_run(tmp_path_factory.mktemp("motion") / "seed-0", steps=(0, 3, 10))


def test_distances_are_those_of_the_tensors_in_the_files(run):
    found = weight_displacement(run)
    assert found["step"].values.tolist() == [0, 3, 10]
    first, last = (load_file(run / "checkpoints" / f"step-{step:06d}" / "model.safetensors") for step in (0, 10))
    assert found["tensor"].values.tolist() == sorted(first)
    for name in first:
        moved = ((last[name].double() - first[name].double()) ** 2).sum()
        assert float(found["squared"].sel(step=10, tensor=name)) == pytest.approx(float(moved), rel=1e-12)
        assert int(found["coordinates"].sel(tensor=name)) == first[name].numel()
    assert (found["squared"].sel(step=0) == 0).all()


def test_attention_moves_from_the_first_checkpoint_towards_independence(run):
    found = attention_displacement(run, list(TEXTS), device="cpu")
    assert found["squared"].dims == ("step", "block", "head")
    assert (found["squared"].sel(step=0) == 0).all()
    assert (found["squared"].sel(step=10) > 0).all()
    assert (found["independent"] > 0).all()
    assert np.isfinite(found["independent"]).all()


def test_checkpoints_of_several_runs_or_of_other_tensors_are_refused(run, tmp_path):
    other = training_run(tmp_path / "seed-1", steps=(0,))
    with pytest.raises(BadInput, match="of one run"):
        weight_displacement([run, other])
    with pytest.raises(BadInput, match="of one run"):
        weight_displacement("standard-small")
