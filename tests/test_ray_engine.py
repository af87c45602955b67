"""Runs on a real Ray cluster of two nodes on this machine, one of which is lost on the way."""

from __future__ import annotations

import dataclasses
import json
import threading
import time

import keras
import numpy as np
import pytest

from experiments.errors import UserError
from training import ray_engine
from training.plan import make_plan

ray = pytest.importorskip("ray", reason="needs Ray: pip install -r requirements-ray.txt")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def small_plan(out):
    """Two runs of one short stage."""
    return make_plan(
        preset="quick",
        datasets=["mnist"],
        methods=["vae-learned-gamma"],
        out=out,
        command="python reproduce_paper.py",
        trials=2,
        epochs=2,
        second_epochs=1,
        images=32,
        features="random",
        deterministic=True,
        checkpoint_seconds=0.2,
    )


@pytest.fixture
def cluster(monkeypatch):
    """A head without cores and two nodes of one core."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_worker_niceness", "0")  # else other work here may starve the runs
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    made.nodes = [made.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def nodes_of(folder):
    """The ids of the nodes that a run was on, from its log."""
    log = folder / ray_engine.LOG_FILE
    lines = log.read_text().splitlines() if log.exists() else []
    return [line.split()[1].rstrip(",") for line in lines if line.startswith("Node ")]


def weights(folder):
    return keras.saving.load_model(folder / "model" / "first.keras").get_weights()


def test_a_lost_nodes_run_is_retried_and_ends_the_same(tmp_path, cluster):
    plan = small_plan(tmp_path / "ray")
    victim = plan.folder(plan.runs[0])
    lost = []

    def lose_a_node():
        while not list(victim.glob("checkpoints-first/*.index")):
            time.sleep(0.1)
        lost.extend(nodes_of(victim))
        for node in cluster.nodes:
            if node.node_id == lost[0]:
                cluster.remove_node(node, allow_graceful=False)

    threading.Thread(target=lose_a_node, daemon=True).start()
    _, page = ray_engine.run_plan(plan, cores=1)
    assert page.exists()
    visited = nodes_of(victim)
    assert len(visited) == 2
    assert visited[0] == lost[0] != visited[1]
    found = json.loads((plan.out / "results.json").read_text())
    assert {(r["trial"], r["status"]) for r in found} == {(0, "ok"), (1, "ok")}

    # On as many cores, which decide in what order sums are made.
    straight = small_plan(tmp_path / "straight")
    straight = dataclasses.replace(straight, runs=straight.runs[:1])
    ray_engine.run_plan(straight, cores=1)
    assert len(nodes_of(straight.folder(straight.runs[0]))) == 1
    for a, b in zip(weights(victim), weights(straight.folder(straight.runs[0])), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_can_not_be_done_is_said(tmp_path, cluster):
    with pytest.raises(UserError, match="no node of the Ray cluster has 64 cores: choose fewer"):
        ray_engine.run_plan(small_plan(tmp_path), cores=64)


def test_a_run_that_fails_does_not_keep_the_others(tmp_path, cluster):
    plan = small_plan(tmp_path)
    (tmp_path / plan.runs[0].name).write_text("a file in the way of the folder")
    with pytest.raises(UserError, match=r"1 of 2 runs did not finish: mnist-infogan.*File exists"):
        ray_engine.run_plan(plan, cores=1)
    found = json.loads((plan.out / "results.json").read_text())
    assert {r["trial"] for r in found} == {1}
