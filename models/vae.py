"""The VAE with Gaussian encoder and decoder whose decoder noise gamma is learned."""

from __future__ import annotations

import contextlib
import math
import operator
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from keras import ops

from experiments.files import sweep, sync
from models import jax_steps, losses
from models.layers import PACKAGE, GaussianSampler
from models.networks import part_seeds

LIKELIHOODS = ("gaussian", "cross-entropy")
ERROR_DECAY = 0.99  # of the running mean that optimal_gamma keeps, a memory of about 100 steps
SMALLEST_ERROR = 1e-12  # whose root is optimal_gamma's least value
PREDICT_BATCH = 500
MAX_IMAGES = 1024  # in one request to an exported model, whatever the signature


def _fresh_seed() -> int:
    return int(np.random.default_rng().integers(2**31 - 1))


def standard_normal(n: int, dim: int, seed: int | None) -> np.ndarray:
    """``(n, dim)`` float32 draws from N(0, I); the same for the same seed, fresh for None.

    Raises:
        ValueError: if n is below 1, or the seed below 0.
    """
    seed = _fresh_seed() if seed is None else operator.index(seed)
    check_count(n)
    if seed < 0:
        raise ValueError(f"a seed is None or not negative, got {seed}.")
    return ops.convert_to_numpy(keras.random.normal((n, dim), seed=seed))


def check_count(n: int) -> None:
    """Raises ValueError for a number of samples that can't be drawn."""
    if n < 1:
        raise ValueError(f"at least one sample can be drawn, got n = {n}.")


def predict(model, array, scale=None, progress=None):
    """``model``'s output for a long NumPy array, in inference mode: an array or a tuple of arrays.

    ``scale`` is applied to one batch at a time, so that large uint8 arrays stay uint8. Batch by
    batch rather than by Keras's ``predict``, which builds an input pipeline a call: for a grid of
    images that costs more than the images. ``progress(done, total)`` is called after each.

    Raises:
        ValueError: for an empty array.
        RuntimeError: for a model of several devices, each of which would answer the whole batch.
    """
    if not len(array):
        raise ValueError(f"expected at least one example, got an array of shape {array.shape}.")
    pieces = []
    with _without_xla(model):
        for start in range(0, len(array), PREDICT_BATCH):
            batch = array[start : start + PREDICT_BATCH]
            out = model.predict_on_batch(batch if scale is None else scale(batch))
            pieces.append(out if isinstance(out, (list, tuple)) else (out,))
            if progress is not None:
                progress(start + len(batch), len(array))
    columns = tuple(np.concatenate(column) for column in zip(*pieces, strict=True))
    if len(columns[0]) != len(array):
        raise RuntimeError(
            f"{len(columns[0])} answers for {len(array)} examples: the model was built in the scope"
            " of a strategy with several devices. Use it outside: training.distribution.plain."
        )
    return columns if len(columns) > 1 else columns[0]


@contextlib.contextmanager
def _without_xla(model) -> Iterator[None]:
    """XLA, which Keras takes on a GPU of TensorFlow's, rounds otherwise than exports do."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    chosen, model.jit_compile = model.jit_compile, False
    try:
        yield
    finally:
        model.jit_compile = chosen


def check_latents(z, dim: int) -> np.ndarray:
    """``z`` as ``(n, dim)`` float32; ValueError if its shape is another."""
    z = np.asarray(z, dtype="float32")
    if z.ndim != 2 or z.shape[1] != dim:
        raise ValueError(f"latent vectors must have shape (n, {dim}), got {z.shape}.")
    return z


@keras.saving.register_keras_serializable(PACKAGE)
class VAE(keras.Model):
    """A variational autoencoder: an encoder q(z|x), a decoder p(x|z) and a likelihood.

    The objective is the negative ELBO of :mod:`models.losses`: ``kl + reconstruction``, summed over
    pixels and latent dimensions, averaged over the batch. With the Gaussian likelihood the decoder
    noise gamma (a standard deviation, one scalar for all pixels) is a weight like any other,
    trained by the same optimiser on its logarithm; with ``learn_gamma=False`` it is frozen.

    With ``optimal_gamma=True`` no gradient trains it: the gamma that minimises the objective for
    given reconstructions is known, their root mean squared error (Asperti and Trentin 2020, Rybkin
    et al. 2021). gamma^2 is then the running mean of the squared error per pixel over training
    batches,

        gamma^2 <- (1 - w) gamma^2 + w mean_i (x_i - x_hat_i)^2,    w = 0.01 / (1 - 0.99^t)

    at step t, renewed before the step uses it, its gradient stopped. This is an exponential moving
    average of decay 0.99, Asperti and Trentin's: one batch's error is noisy, and some 100 steps
    follow a falling error closely. The denominator makes it the mean of the errors seen so far,
    where theirs begins at 1 and takes hundreds of steps to arrive. Their code lets the average only
    fall, so that chance pulls it below the error; ours may rise again. Evaluation uses the stored
    value.

    Args:
        encoder: model, x ``(batch, ...)`` -> ``mu_z``, ``sd_z``, each ``(batch, kappa)``.
        decoder: model, z ``(batch, kappa)`` -> ``x_hat`` in [0, 1], shaped like x.
        likelihood: "gaussian" or "cross-entropy" (which ignores gamma).
        learn_gamma: whether gamma is trained.
        initial_log_gamma: its start, the paper's being 0; where it stays if it is not trained, and
            until the first training step if it is optimal.
        gamma_speed: how many times faster than other weights log gamma moves. Adam moves a weight
            by at most about the learning rate a step, so that from 0 log gamma needs some 28,000
            steps to arrive; short schedules raise this, the paper's leaves it at 1.
        seed: for the noise of training.
        optimal_gamma: whether gamma is the running root mean squared error, see above;
            ``gamma_speed`` makes no difference then.

    Raises:
        ValueError: for an unknown likelihood, a gamma_speed that is not above 0, or optimal_gamma
            where there is no gamma to be learned.
    """

    NOISES = 1  # draws from N(0, I) that make one sample, see prior_draw

    def __init__(
        self,
        encoder,
        decoder,
        likelihood="gaussian",
        learn_gamma=True,
        initial_log_gamma=0.0,
        gamma_speed=1.0,
        seed=None,
        optimal_gamma=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if likelihood not in LIKELIHOODS:
            raise ValueError(f"likelihood must be one of {LIKELIHOODS}, got {likelihood!r}.")
        if not gamma_speed > 0:
            raise ValueError(f"gamma_speed must be above 0, got {gamma_speed!r}.")
        if optimal_gamma and not (learn_gamma and likelihood == "gaussian"):
            raise ValueError(
                "optimal_gamma needs the Gaussian likelihood and learn_gamma=True, got "
                f"{likelihood!r} and learn_gamma={learn_gamma!r}."
            )

        for part in (self, encoder, decoder):
            if part.dtype_policy.name != "float32":
                raise ValueError(
                    f"{part.name} has the dtype policy {part.dtype_policy.name}: these models are "
                    "float32 throughout, build them under keras.config.set_dtype_policy('float32')."
                )

        # === Layers ===
        self.encoder = encoder
        self.decoder = decoder
        self.sampler = GaussianSampler(seed=seed)
        self.log_gamma_weight = self.add_weight(
            name="log_gamma",
            shape=(),
            initializer=keras.initializers.Constant(initial_log_gamma / gamma_speed),
            trainable=learn_gamma and likelihood == "gaussian" and not optimal_gamma,
            autocast=False,
        )
        if optimal_gamma:
            self.errors_seen = self.add_weight(
                name="errors_seen", shape=(), initializer="zeros", trainable=False, autocast=False
            )
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.kl_tracker = keras.metrics.Mean(name="kl")
        self.reconstruction_tracker = keras.metrics.Mean(name="reconstruction")

        # === Config ===
        self.likelihood = likelihood
        self.learn_gamma = learn_gamma
        self.initial_log_gamma = initial_log_gamma
        self.gamma_speed = gamma_speed
        self.seed = seed
        self.optimal_gamma = optimal_gamma
        self.built = True  # encoder and decoder come built

    # --- the objective -------------------------------------------------------------------------

    @property
    def latent_dim(self) -> int:
        """kappa, the number of latent dimensions."""
        return self.decoder.input_shape[-1]

    @property
    def log_gamma(self):
        """log gamma, a scalar tensor."""
        return self.log_gamma_weight * self.gamma_speed

    @property
    def gamma(self) -> float:
        """The decoder's noise, a standard deviation in units of x."""
        return math.exp(float(self.log_gamma))

    @property
    def observed_rank(self) -> int:
        """Number of axes of a batch as :meth:`observe` takes it."""
        return len(self.encoder.input_shape)

    def scale(self, images):
        """Images ``(batch, h, w, c)``, uint8 0 to 255, as x in [0, 1].

        Raises:
            ValueError: for floats, which may be scaled already.
        """
        dtype = keras.backend.standardize_dtype(images.dtype)
        if "float" in dtype:
            raise ValueError(f"expected images as integers from 0 to 255, got {dtype}.")
        return ops.cast(images, self.compute_dtype) / 255.0

    def observe(self, images):
        """What one training step models, from what the data pipeline gives."""
        return self.scale(images)

    def forward(self, x, training=False):
        """Encodes x, draws one z ~ q(z|x) and decodes it: ``mu_z``, ``sd_z``, ``x_hat``."""
        mu_z, sd_z = self.encoder(x, training=training)
        z = self.sampler(mu_z, sd_z)
        return mu_z, sd_z, self.decoder(z, training=training)

    def code(self, x):
        """Without noise, in inference mode: ``mu_z``, ``sd_z``, and the z that x_hat is made of.

        Each ``(batch, kappa)``; that z is mu_z here.
        """
        mu_z, sd_z = self.encoder(x, training=False)
        return mu_z, sd_z, mu_z

    def prior_draw(self, z):
        """z ``(batch, kappa)`` as samples have it, from ``NOISES`` draws of N(0, I): the draw."""
        return z

    def renew_gamma(self, x, x_hat) -> None:
        """One step of ``optimal_gamma``'s running mean, from a training batch; else nothing."""
        if not self.optimal_gamma:
            return
        self.errors_seen.assign_add(1.0)
        error = ops.mean(ops.square(ops.stop_gradient(ops.cast(x - x_hat, "float32"))))
        weight = (1.0 - ERROR_DECAY) / (1.0 - ERROR_DECAY**self.errors_seen)
        weight = ops.minimum(weight, 1.0)  # of the first step: rounding takes it above
        squared = (1.0 - weight) * ops.exp(2.0 * self.log_gamma) + weight * error
        squared = ops.maximum(squared, SMALLEST_ERROR)
        self.log_gamma_weight.assign(0.5 * ops.log(squared) / self.gamma_speed)

    def negative_elbo(self, x, x_hat, mu_z, sd_z) -> losses.Objective:
        """-ELBO, the evidence lower bound, and its terms, for one z ~ q(z|x): each ``(batch,)``."""
        kl = losses.kl_divergence(mu_z, sd_z)
        if self.likelihood == "gaussian":
            reconstruction = losses.gaussian_reconstruction(x, x_hat, self.log_gamma)
        else:
            reconstruction = losses.cross_entropy_reconstruction(x, x_hat)
        return losses.Objective(kl + reconstruction, kl, reconstruction)

    def objective(self, x, training=False) -> losses.Objective:
        """What is minimised, for x ``(batch, ...)``: each term ``(batch,)``."""
        mu_z, sd_z, x_hat = self.forward(x, training=training)
        if training:
            self.renew_gamma(x, x_hat)
        return self.negative_elbo(x, x_hat, mu_z, sd_z)

    # --- Keras ---------------------------------------------------------------------------------

    def call(self, inputs, training=False):
        """Reconstruction of ``inputs`` from a sampled z, shaped like x."""
        return self.forward(self.observe(inputs), training=training)[-1]

    @property
    def metrics(self):
        return [self.loss_tracker, self.kl_tracker, self.reconstruction_tracker]

    def make_train_function(self, force=False):
        """Keras's; the optimizer's variables are made first, or the step would be traced twice."""
        if keras.backend.backend() == "tensorflow" and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        super().make_train_function(force)

    def unweighted(self, data):
        """The images, or what else a step trains on, of what ``fit`` gives it.

        Raises:
            ValueError: if it comes with weights, which the objective has no place for.
        """
        x, _, weights = keras.utils.unpack_x_y_sample_weight(data)
        if weights is not None:
            raise ValueError(
                "the objective weighs all examples alike: call fit and evaluate without "
                "sample_weight and class_weight."
            )
        return x

    def step_objective(self, data, training) -> losses.Objective:
        """:meth:`objective` of what ``fit`` or ``evaluate`` gives a step.

        Raises:
            ValueError: for weights of examples, and for losses that layers add, as regularisers do:
                what is minimised is the objective alone.
        """
        terms = self.objective(self.observe(self.unweighted(data)), training=training)
        if self.losses:
            raise ValueError(
                "the encoder or the decoder adds losses of its own (a regulariser, add_loss), "
                "which are no part of the objective: build it without."
            )
        return terms

    def train_step(self, *state_and_data):
        """One step down the gradient of the batch's mean negative ELBO, on Keras's backend.

        On TensorFlow the argument is the batch alone; on several devices each has its share of the
        batch, and their gradients are summed. On JAX see :mod:`models.jax_steps`.
        """
        if keras.backend.backend() == "jax":
            return jax_steps.train_step(self, *state_and_data)
        import tensorflow as tf

        (data,) = state_and_data
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape() as tape:
            terms = self.step_objective(data, training=True)
            loss = ops.mean(terms.loss) / replicas
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return self._logs(terms)

    def test_step(self, *state_and_data):
        """The terms in inference mode, without a step."""
        if keras.backend.backend() == "jax":
            return jax_steps.test_step(self, *state_and_data)
        (data,) = state_and_data
        return self._logs(self.step_objective(data, training=False))

    def _logs(self, terms: losses.Objective) -> dict:
        self.loss_tracker.update_state(terms.loss)
        self.kl_tracker.update_state(terms.kl)
        self.reconstruction_tracker.update_state(terms.reconstruction)
        return {**{m.name: m.result() for m in self.metrics}, "log_gamma": self.log_gamma}

    def get_config(self):
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "likelihood": self.likelihood,
            "learn_gamma": self.learn_gamma,
            "initial_log_gamma": self.initial_log_gamma,
            "gamma_speed": self.gamma_speed,
            "seed": self.seed,
            "optimal_gamma": self.optimal_gamma,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        for part in ("encoder", "decoder"):
            config[part] = keras.saving.deserialize_keras_object(config[part])
        return cls(**config)

    # --- use: NumPy arrays in, NumPy arrays out -------------------------------------------------

    def encode(self, images, progress=None) -> tuple[np.ndarray, np.ndarray]:
        """``mu_z``, ``sd_z``, each ``(n, kappa)`` float32, of images ``(n, h, w, c)`` uint8.

        ``progress(done, total)`` is called after each batch.
        """
        images = self.check_images(images)
        return predict(self.encoder, images, self.scale, progress)

    def decode(self, z) -> np.ndarray:
        """x_hat in [0, 1], ``(n, h, w, c)`` float32, of ``z`` ``(n, kappa)``."""
        z = check_latents(z, self.latent_dim)
        return predict(self.decoder, z)

    def reconstruct(self, images, seed: int | None = None) -> np.ndarray:
        """x_hat ``(n, h, w, c)`` from one z ~ q(z|x) each: the paper samples z here as well."""
        mu_z, sd_z = self.encode(images)
        return self.decode(mu_z + sd_z * standard_normal(*mu_z.shape, seed))

    def sample(self, n: int, seed: int | None = None) -> np.ndarray:
        """x_hat ``(n, h, w, c)`` in [0, 1] of z ~ N(0, I); no pixel noise is added."""
        return self.decode(standard_normal(n, self.latent_dim, seed))

    def export(self, folder, max_images: int = MAX_IMAGES) -> None:
        """Writes a TensorFlow SavedModel for serving; see :mod:`models.export`.

        In the place of ``keras.Model.export``, whose SavedModel would have none of the signatures.
        """
        from models.export import export_saved_model

        export_saved_model(self, folder, max_images)

    def check_images(self, images) -> np.ndarray:
        """``images`` if they are uint8 and of the encoder's shape; ValueError otherwise."""
        images = np.asarray(images)
        expected = tuple(self.encoder.input_shape[1:])
        if images.dtype != np.uint8 or images.shape[1:] != expected:
            raise ValueError(
                f"images must be uint8 with shape (n, {', '.join(map(str, expected))}), got "
                f"{images.dtype} {images.shape}."
            )
        return images


def build(
    parts,
    image_shape,
    latent_dim: int = 64,
    *,
    momentum: float = 0.999,
    seed: int = 0,
    name: str = "vae",
    **arguments,
) -> VAE:
    """A fresh VAE on a network, ``parts``, a module of :mod:`models.networks`.

    Arguments as :func:`models.build`'s; ``arguments`` are the VAE's own.
    """
    seeds = part_seeds(seed, 3)
    return VAE(
        parts.encoder(image_shape, latent_dim, momentum=momentum, seed=seeds[0]),
        parts.decoder(image_shape, latent_dim, momentum=momentum, seed=seeds[1]),
        seed=seeds[2],
        name=name,
        **arguments,
    )


def copied(model: keras.Model) -> keras.Model:
    """A copy with the model's weights and the state of its noise, and without its optimiser."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    for ours, theirs in zip(_samplers(copy), _samplers(model), strict=True):
        ours.seed_generator.state.assign(theirs.seed_generator.state)
    return copy


def _samplers(model: keras.Model) -> list[GaussianSampler]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, GaussianSampler)]


def save(model: keras.Model, path) -> None:
    """Writes a model as a .keras file, whole or not at all, without its optimiser's state.

    The optimiser's two moments would treble the file; training resumes from checkpoints instead.
    """
    with written(model, path) as temporary:
        os.replace(temporary, path)


@contextlib.contextmanager
def written(model: keras.Model, path) -> Iterator[Path]:
    """A whole .keras file beside ``path``, to be renamed to it; one that isn't is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, f".{path.stem}.*{path.suffix}")
    bare = copied(model)
    # A name of its own: another process may be saving here too. Keras insists on the suffix.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}{path.suffix}")
    try:
        bare.save(temporary)
        sync(temporary)  # or a power cut may leave the new name with no content
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
