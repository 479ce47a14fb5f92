"""The Ray backend on three nodes of which one goes away in the middle of a run."""

import os

import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'ivg-harness[ray]'")

from test_ray import SMALL, differences, rows, swept  # noqa: E402

from harness.backends.ray import Ray  # noqa: E402
from harness.sweep.recorder import Recorder  # noqa: E402


@pytest.fixture
def cluster():
    """A head without room for a worker, and two nodes of one core each."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.nodes_to_lose = [made.add_node(num_cpus=1), made.add_node(num_cpus=1)]
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_node_removed_in_the_middle_of_a_run_changes_no_record(cluster, tiny, tmp_path, monkeypatch):
    add, start, lost, workers = Recorder.add, Ray._start, [], []

    def added(self, block, generations):
        new = add(self, block, generations)
        if not lost:
            lost.append(cluster.nodes_to_lose.pop())
            cluster.remove_node(lost[0], allow_graceful=False)
        return new

    def started(self):
        start(self)
        workers.append(len(self._hands))

    monkeypatch.setattr(Recorder, "add", added)
    monkeypatch.setattr(Ray, "_start", started)
    assert swept(tmp_path / "nodes", *tiny, *SMALL, "backend=ray", "block=1") == 0
    assert workers[0] == 2
    assert lost
    monkeypatch.undo()
    assert swept(tmp_path / "serial", *tiny, *SMALL, "block=1") == 0
    assert not differences(rows(tmp_path / "nodes"), rows(tmp_path / "serial"))
