"""Trains the project's own VAEs on vectors, with as little overhead as Keras allows.

Networks and data are so small that starting a step costs as much as computing it. Batches are cut
once and lie in memory; hundreds of steps run inside one call (``steps_per_execution``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np

from models.optimizer import adam
from models.vae import VAE

BATCH = 256
CHUNK = 200  # steps run in one call; callbacks see nothing smaller
POOL = 65_536  # training vectors: two orders of magnitude more than weights, so that what is
# learned is the population's optimum and not the sample's
LEARNING_RATE = 2e-3
LAST_LEARNING_RATE = 2e-5
HOLD = 0.6  # of the training goes by before the learning rate begins to fall
GAMMA_SPEED = 0.5  # log gamma falls by at most 0.001 a step. Faster, and superfluous dimensions are
# taken into use to make up for what the decoder has not learned yet.
SECOND_GAMMA_SPEED = 1.0  # the second stage has no superfluous dimensions to switch off
SECOND_LOG_GAMMA = -1.0  # below z's own unit variance: at 0 the cost is flat where all posteriors
# have collapsed onto N(0, I), and the second stage would stay there


def learning_rate(progress: float) -> float:
    """Adam's learning rate when the fraction ``progress`` of training is done.

    Constant at first, then falling by the same factor a step, down to a hundredth: a cost that is
    to be compared with an optimum, or a gamma that is to go to zero, must not be blurred by steps.
    """
    fall = max(0.0, progress - HOLD) / (1 - HOLD)
    return LEARNING_RATE * (LAST_LEARNING_RATE / LEARNING_RATE) ** fall


def level_rate(progress: float) -> float:
    """Likewise within one level of :func:`fit_levels`, from half: it starts near its end."""
    return learning_rate(progress) / 2


def _options():
    """One thread of its own for the pipeline: it only hands out slices of an array.

    Sharing TensorFlow's pool, whose only thread may be inside the training loop, it could wait for
    that thread for ever.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    return options


def fit(
    model: VAE,
    data: np.ndarray,
    steps: int,
    *,
    rate: Callable[[float], float] = learning_rate,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    chunk: int | None = None,
) -> dict[str, list[float]]:
    """Trains ``model`` for ``steps`` steps on batches of ``data`` ``(n, ...)``, in a fixed order.

    Args:
        steps: rounded up to whole chunks.
        rate: fraction of training done -> learning rate.
        callbacks: Keras callbacks, for which a chunk of steps is an epoch.
        chunk: steps run in one call; ``CHUNK`` if None.

    Returns:
        The history: "steps", and each quantity's mean over the chunk ("loss", "kl",
        "reconstruction", ...); log gamma is the value at its end.

    Raises:
        FloatingPointError: if the loss is no longer finite.
    """
    import tensorflow as tf

    chunk = CHUNK if chunk is None else chunk
    chunks = math.ceil(steps / chunk)
    whole = len(data) // BATCH * BATCH
    batches = np.asarray(data[:whole], dtype="float32").reshape(-1, BATCH, *data.shape[1:])
    dataset = tf.data.Dataset.from_tensor_slices(batches).repeat().with_options(_options())
    model.compile(optimizer=adam(rate(0.0)), steps_per_execution=chunk, jit_compile=False)
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, _: rate(epoch / chunks))
    history = model.fit(
        dataset,
        steps_per_epoch=chunk,
        epochs=chunks,
        shuffle=False,
        verbose=0,
        callbacks=[schedule, *callbacks],
    ).history
    if not math.isfinite(history["loss"][-1]):
        raise FloatingPointError(f"the loss is {history['loss'][-1]} after {steps} steps")
    found = {name: [float(v) for v in values] for name, values in history.items()}
    return {"steps": [chunk * (i + 1) for i in range(chunks)], **found}


class GammaLevels(keras.callbacks.Callback):
    """Holds gamma at each of some levels in turn, and measures the cost at the end of each.

    Args:
        model: with ``learn_gamma=False``.
        log_gammas: the levels, in the order of training.
        chunks: of training at each level.
        held_out: ``(n, d)`` vectors on which the cost is measured.
    """

    def __init__(self, model: VAE, log_gammas: Sequence[float], chunks: int, held_out: np.ndarray):
        super().__init__()
        self.vae, self.log_gammas, self.chunks = model, list(log_gammas), chunks
        self.held_out = held_out
        self.costs: list[dict[str, float]] = []

    def on_epoch_begin(self, epoch, logs=None):
        if epoch % self.chunks == 0:
            level = self.log_gammas[epoch // self.chunks]
            self.vae.log_gamma_weight.assign(level / self.vae.gamma_speed)

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.chunks == 0:
            self.costs.append(cost(self.vae, self.held_out))


def fit_levels(
    model: VAE,
    data: np.ndarray,
    log_gammas: Sequence[float],
    steps: int,
    held_out: np.ndarray,
    chunk: int = 50,
) -> list[dict[str, float]]:
    """The cost after ``steps`` steps at each fixed gamma, each level starting from the one before.

    Every level has the whole fall of the learning rate. From large gamma to small, as a learned
    gamma goes: a network thrown at a small gamma would first have to find the manifold under a
    cost of which the KL term is a negligible part.

    Returns:
        For each level, :func:`cost` on ``held_out``.
    """
    chunks = math.ceil(steps / chunk)
    levels = GammaLevels(model, log_gammas, chunks, held_out)
    fit(
        model,
        data,
        chunk * chunks * len(log_gammas),
        rate=lambda progress: level_rate(progress * len(log_gammas) % 1.0),
        callbacks=[levels],
        chunk=chunk,
    )
    return levels.costs


def cost(model: VAE, x: np.ndarray, repeats: int = 4, seed: int = 0) -> dict[str, float]:
    """The mean negative ELBO on ``x`` ``(n, d)`` and its terms, ``repeats`` draws of z each.

    Computed by the model's own ``negative_elbo``, in nats a vector: "loss", "kl", "reconstruction".
    """
    mu_z, sd_z = (keras.ops.convert_to_numpy(part) for part in model.encoder(x.astype("float32")))
    rng = np.random.default_rng(seed)
    totals = []
    for _ in range(repeats):
        z = mu_z + sd_z * rng.standard_normal(mu_z.shape).astype("float32")
        terms = model.negative_elbo(x.astype("float32"), model.decoder(z), mu_z, sd_z)
        totals.append([float(np.mean(np.asarray(term, dtype="float64"))) for term in terms])
    return dict(
        zip(("loss", "kl", "reconstruction"), np.mean(totals, axis=0).tolist(), strict=True)
    )
