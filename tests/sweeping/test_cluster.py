"""Workers of a Dask scheduler on the loopback interface; skipped without the extra."""

import sys
from functools import partial

import numpy as np
import pytest
import xarray as xr
from sweep_fates import attempts, items, made_up

from rgprobe.errors import EnvironmentFault
from rgprobe.storage import read_tree, write_tree
from rgprobe.sweeping.cluster import DaskWorkers, connect
from rgprobe.sweeping.driving import drive
from rgprobe.sweeping.ledger import read_entry


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(EnvironmentFault, match=r"pip install \"rgprobe\[cluster\]\""):
        connect("tcp://127.0.0.1:8786")


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", protocol="tcp", dashboard_address=None,
        worker_dashboard_address=None, resources={"GPU": 1}, silence_logs=50,
    ) as cluster:  # fmt: skip
        yield cluster


def test_items_go_to_the_workers_of_the_scheduler_and_a_dead_one_is_replaced(cluster, tmp_path):
    notes = tmp_path / "notes"
    notes.touch()
    client = connect(cluster.scheduler_address)
    client.wait_for_workers(2)
    pool = DaskWorkers(client, partial(made_up, notes=notes), resources={"GPU": 1})
    try:
        ended = drive(items([], ["slow"], ["die once"], ["bad input"], [], ["disk once"]), pool, tmp_path, retries=1)
    finally:
        pool.close()
        client.close()
    assert ended == {"done": 5, "failed": 1}
    # an outcome that only the dead worker knew is asked for again; an item that has its result by then is not run again
    tried = attempts(notes)
    assert (tried["item2"], tried["item5"]) == (2, 2)
    assert max(tried.values()) == 2
    assert read_entry(tmp_path / "item3--prompts.json").failure.kind == "CheckpointError"


def test_a_result_is_written_and_read_while_a_cluster_is_connected(cluster, tmp_path):
    """xarray would ask the cluster for a lock, by a name that cannot travel."""
    path, tree = tmp_path / "result.nc", xr.DataTree.from_dict({"node": xr.Dataset({"x": ("i", np.arange(5.0))})})
    client = connect(cluster.scheduler_address)
    try:
        write_tree(tree, path)
        assert read_tree(path)["node"]["x"].values.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    finally:
        client.close()


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("rgprobe.sweeping.cluster.TIMEOUT", "0.2s")
    with pytest.raises(EnvironmentFault, match=r"tcp://127.0.0.1:9: expected a Dask scheduler that answers"):
        connect("tcp://127.0.0.1:9")
