"""One run on several devices: tf.distribute's data parallelism, by Keras's fit.

Every batch is divided among the replicas, the devices that take part. What they compute together
is what one device would: the loss is the mean over the whole batch, batch normalisation takes its
moments over the whole batch, and every example has the noise it would have on one device.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import data
from experiments.errors import UserError
from experiments.settings import RunSettings
from models.vae import copied

OF_WHOLE_BATCHES = ("wae-mmd",)  # models whose objective is no mean over examples


def strategy_of(name: str) -> tf.distribute.Strategy | None:
    """The strategy of a name, to be made before anything else is done with TensorFlow.

    Args:
        name: "mirrored" for all GPUs of this machine (its CPUs' logical devices if it has none),
            "multi-worker" for the machines that TF_CONFIG lists, "none" for None.

    Raises:
        UserError: if TF_CONFIG is not there.
    """
    if name == "none":
        return None
    if name == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        return tf.distribute.MirroredStrategy(
            [d.name for d in tf.config.list_logical_devices(kind)]
        )
    try:
        config = json.loads(os.environ.get("TF_CONFIG", ""))
        (job,), task = config["cluster"], config["task"]  # a chief of its own would be a second one
        known = job == task["type"] == "worker" and 0 <= task["index"] < len(config["cluster"][job])
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise UserError(
            "--distribute multi-worker needs TF_CONFIG, with the addresses of all workers, no "
            'other jobs, and this one\'s index: {"cluster": {"worker": ["host1:2222", '
            '"host2:2222"]}, "task": {"type": "worker", "index": 0}}; the first worker is the '
            "chief."
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


def check(settings: RunSettings, strategy: tf.distribute.Strategy | None) -> None:
    """Refuses what can't be divided.

    Raises:
        UserError: if the batch is no multiple of the replicas, or the model's objective depends on
            the batch as a whole.
    """
    if strategy is None:
        return
    replicas = strategy.num_replicas_in_sync
    if settings.batch_size % replicas:
        raise UserError(
            f"{settings.name}: a batch of {settings.batch_size} can't be divided among {replicas} "
            "devices."
        )
    if settings.model in OF_WHOLE_BATCHES:
        raise UserError(
            f"{settings.name}: the objective of {settings.model} depends on the batch as a whole; "
            "run it on one device, without --distribute."
        )
    if settings.gamma == "optimal":
        raise UserError(
            f"{settings.name}: the optimal gamma is a statistic of whole batches; run it on one "
            "device, without --distribute."
        )


def several_workers(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether other processes take part."""
    return strategy is not None and strategy.cluster_resolver is not None and _workers(strategy) > 1


def _workers(strategy: tf.distribute.Strategy) -> int:
    return len(strategy.cluster_resolver.cluster_spec().as_dict().get("worker", [0]))


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether this process writes the results: the first worker, or the only process."""
    return not several_workers(strategy) or strategy.cluster_resolver.task_id == 0


def scope(strategy: tf.distribute.Strategy | None) -> contextlib.AbstractContextManager:
    """Where models and their optimisers are made."""
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def prepare(model: keras.Model, strategy: tf.distribute.Strategy | None) -> None:
    """Makes a model, built in the strategy's scope, compute over whole batches.

    Keras 3.15's fit takes the mean of each metric over several workers along an axis that scalars
    do not have (keras-team/keras#20585); as vectors of one number they come through.
    """
    if strategy is None:
        return
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
    if several_workers(strategy):
        step = model.train_step

        def train_step(batch):
            return {name: tf.reshape(value, (1,)) for name, value in step(batch).items()}

        model.train_step = train_step


def batches(strategy, array: np.ndarray, batch_size: int, seed: int, start_step: int):
    """:func:`data.batches`, each divided among the replicas in the order of its examples."""
    if strategy is None:
        return data.batches(array, batch_size, seed, start_step)

    def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas = context.num_replicas_in_sync
        local = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * local
        part = (first, first + local, replicas)
        made = data.batches(array, batch_size, seed, start_step, part)
        if context.num_input_pipelines > 1 and array.dtype == np.uint8:
            # Keras adds up one batch over the workers to learn its shape, which TensorFlow can't
            # do with bytes.
            made = made.map(lambda images: tf.cast(images, tf.int32))
        return made

    return strategy.distribute_datasets_from_function(make)


def plain(model: keras.Model) -> keras.Model:
    """A copy on this process's first device alone, for what is not training."""
    copy = copied(model)
    for layer in copy._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = False  # see prepare; other backends have no such layer
    return copy


def own_folder(folder: Path, strategy: tf.distribute.Strategy | None) -> Path:
    """Where a process saves what all have to save together: the chief's copy is the one kept."""
    if is_chief(strategy):
        return folder
    made = tempfile.mkdtemp(prefix="worker-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made) / folder.name


def wait_for_all(strategy: tf.distribute.Strategy | None) -> None:
    """Returns when every worker has come here: none may leave while another still works."""
    if several_workers(strategy):
        one = strategy.run(lambda: tf.ones((1,)))
        strategy.reduce(tf.distribute.ReduceOp.SUM, one, axis=None)
