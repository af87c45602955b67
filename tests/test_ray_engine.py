"""Runs on a real Ray cluster of two nodes on this machine, one of which is lost on the way."""

from __future__ import annotations

import dataclasses
import json
import time
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from experiments.errors import UserError
from training import ray_engine
from training.plan import make_plan

ray = pytest.importorskip("ray", reason="needs Ray: pip install -r requirements-ray.txt")

pytestmark = [pytest.mark.slow, pytest.mark.longest, pytest.mark.filterwarnings("ignore")]


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


@pytest.fixture(scope="module")
def cluster():
    """A head without cores and two nodes of one core."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # else other work here may starve the runs
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


def test_a_lost_nodes_run_is_retried_and_ends_the_same(tmp_path, cluster):  # last: one node is left
    """Beside the same run on the other node, on as many cores: sums are made in the same order."""
    plans = [small_plan(tmp_path / name) for name in ("lost", "kept")]
    lost, kept = (dataclasses.replace(plan, runs=plan.runs[:1]) for plan in plans)
    victim, unharmed = (plan.folder(plan.runs[0]) for plan in (lost, kept))

    def lose_a_node():
        deadline = time.monotonic() + 600  # the pool would wait for ever
        while not list(victim.glob("checkpoints-first/*.index")):
            assert time.monotonic() < deadline, "the run came to no checkpoint"
            time.sleep(0.1)
        (name,) = nodes_of(victim)
        for node in cluster.nodes:
            if node.node_id == name:
                cluster.remove_node(node, allow_graceful=False)
        return name

    with ThreadPoolExecutor() as pool:
        loss = pool.submit(lose_a_node)
        for ended in [pool.submit(ray_engine.run_plan, plan, cores=1) for plan in (lost, kept)]:
            _, page = ended.result()
            assert page.exists()
    (other,) = nodes_of(unharmed)
    assert nodes_of(victim) == [loss.result(), other]
    for plan in (lost, kept):
        found = json.loads((plan.out / "results.json").read_text())
        assert {(r["trial"], r["status"]) for r in found} == {(0, "ok")}
    for a, b in zip(weights(victim), weights(unharmed), strict=True):
        np.testing.assert_array_equal(a, b)
