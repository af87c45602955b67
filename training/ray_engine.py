"""The runs of a plan on a Ray cluster: one GPU each, or a stated number of cores.

The output folder, the data folder and this project lie where every node sees them. A run writes
into its own folder there, so that a run whose node is lost goes on elsewhere from its last
checkpoint. The process that started it all, and no other, writes results.json and the report.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import uuid
from pathlib import Path

from experiments import environment
from experiments.errors import UserError
from experiments.settings import RunSettings
from training import shards
from training.failures import explained
from training.plan import Plan, check_room, load_extractor

RETRIES = 3  # of a run whose worker or node is lost
LOG_FILE = "log.txt"
ROOT = Path(__file__).resolve().parent.parent
HANDED_ON = (
    environment.CACHE_VARIABLE,
    environment.INCEPTION_VARIABLE,
    environment.HUB_CACHE_VARIABLE,
)


def _ray():
    try:
        import ray
    except ImportError as error:
        raise UserError("--engine ray needs Ray: pip install -r requirements-ray.txt.") from error
    return ray


def _absolute(plan: Plan) -> Plan:
    """The plan with paths that mean the same in every process."""

    def resolved(path):
        return None if path is None else str(environment.user_path(path).resolve())

    return dataclasses.replace(
        plan,
        out=plan.out.resolve(),
        data_dir=resolved(plan.data_dir),
        inception=resolved(plan.inception),
    )


def _environment(gpus: int) -> dict[str, str]:
    """Environment variables of the workers."""
    # Where there are GPUs Ray shares them out.
    names = HANDED_ON if gpus else (*HANDED_ON, "CUDA_VISIBLE_DEVICES")
    return {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(":"),
        **{name: os.environ.get(name, value) for name, value in environment.DEFAULTS.items()},
        "KERAS_BACKEND": "tensorflow",
        **{name: os.environ[name] for name in names if name in os.environ},
    }


def _work(plan: Plan, settings: RunSettings, probe: Path, cores: int, node: str) -> str:
    """One run, in a process of its own on some node; the node's name.

    Its output goes to log.txt in the run's folder.
    """
    if not probe.exists():
        raise UserError(
            f"{platform.node()} does not see {plan.out}: --out has to be a folder that all nodes "
            "share."
        )
    folder = plan.folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / LOG_FILE).open("a", buffering=1, encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        print(f"\nNode {node}, {platform.node()}, {cores} cores")  # a lost run's last line is open
        import tensorflow as tf

        from training.run import execute

        tf.config.threading.set_intra_op_parallelism_threads(cores)
        tf.get_logger().setLevel("ERROR")
        if plan.deterministic:
            tf.config.experimental.enable_op_determinism()
        with explained(folder):
            execute(plan, settings, load_extractor(plan))
    return platform.node()


def _task(plan, settings, probe, cores):
    """What Ray calls: :func:`_work` with the id of the node it finds itself on."""
    import ray

    return _work(plan, settings, probe, cores, ray.get_runtime_context().get_node_id())


def _places(resources: dict[str, float], cores: int, gpus: int) -> int:
    """How many runs a node can do at a time."""
    places = int(resources.get("CPU", 0) // cores)
    return min(places, int(resources.get("GPU", 0) // gpus)) if gpus else places


def run_plan(plan: Plan, cores: int = 1) -> tuple[Path, Path] | None:
    """Does all runs of a plan on the Ray cluster that RAY_ADDRESS names, or on this machine.

    Args:
        plan: as for :func:`training.run.run_plan`; results and report are renewed after each run.
        cores: of each run. Where the cluster has GPUs a run has one of them, too.

    Returns:
        The paths of report.md and report.html; None for a shard.

    Raises:
        UserError: if Ray is missing, runs depend on each other, no node is large enough, the disk
            has too little room, or runs did not finish: after all others did, and naming them.
    """
    ray = _ray()
    shards.check_independent(plan, "--engine ray")
    from training.results import write_results

    plan = _absolute(plan)
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(log_to_driver=False)
        except (ConnectionError, ValueError) as error:
            where = os.environ.get("RAY_ADDRESS", "this machine")
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"no Ray cluster answers at {where} ({reason}): start it, or correct or unset "
                "RAY_ADDRESS."
            ) from error
    probe = plan.out / f".ray-{uuid.uuid4().hex}"  # not the process id: folders are shared
    try:
        gpus = 1 if ray.cluster_resources().get("GPU", 0) >= 1 else 0
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        at_once = sum(_places(node, cores, gpus) for node in nodes)
        if not at_once:
            raise UserError(
                f"no node of the Ray cluster has {cores} cores{' and a GPU' if gpus else ''}: "
                "choose fewer with --cores."
            )
        print(
            f"{len(plan.runs)} runs on a Ray cluster of {len(nodes)} nodes, each with {cores} "
            f"cores{' and a GPU' if gpus else ''}. Their output is in {LOG_FILE} of their folders.",
            flush=True,
        )
        plan.out.mkdir(parents=True, exist_ok=True)
        check_room(plan, at_once)
        probe.touch()
        if not plan.gathers:
            shards.keep_command(plan.out, plan.command)
        task = ray.remote(
            num_cpus=cores,
            num_gpus=gpus,
            max_retries=RETRIES,
            max_calls=1,  # a fresh process for each: TensorFlow gives no memory back
            runtime_env={"env_vars": _environment(gpus)},
        )(_task)
        pending = {task.remote(plan, s, probe, cores): s.name for s in plan.runs}
        return _collect(ray, plan, pending, write_results)
    finally:
        probe.unlink(missing_ok=True)
        if ours:
            ray.shutdown()  # and with it the runs, if this was interrupted


def _collect(ray, plan: Plan, pending: dict, write_results) -> tuple[Path, Path] | None:
    """Waits for the runs, whichever is first."""
    paths, failed, number = None, {}, 0
    while pending:
        (done,), _ = ray.wait(list(pending), num_returns=1)
        name = pending.pop(done)
        number += 1
        try:
            said = f"done on {ray.get(done)}"
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            lines = str(cause).strip().splitlines() or ["no reason given"]
            failed[name] = f"{type(cause).__name__}: {lines[0]}"
            said = f"failed, {failed[name]}"
        print(f"Run {number} of {len(plan.runs)}: {name}, {said}", flush=True)
        if plan.gathers and name not in failed:
            paths = write_results(plan.out, plan.command)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(plan.runs)} runs did not finish: "
            + "; ".join(f"{name} ({reason})" for name, reason in failed.items())
            + ". The others' results are written; the same command goes on with these."
        )
    return paths
