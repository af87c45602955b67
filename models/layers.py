"""Layers that Keras lacks or does differently: normalisations and the Gaussian sampler."""

from __future__ import annotations

import math

import keras
from keras import ops

PACKAGE = "two_stage_vae"  # the name under which custom objects are registered with Keras
_NORM_FLOOR = 1e-12
_MANY_STEPS = 1e9  # after which no momentum remembers its start


def _unit(vector):
    return vector / (ops.norm(vector) + _NORM_FLOOR)


@keras.saving.register_keras_serializable(PACKAGE)
class SpectralNormalization(keras.layers.Wrapper):
    """A dense or convolution layer whose kernel W is used as W / sigma(W).

    sigma(W), the largest singular value of the kernel reshaped to ``(fan_in, units)``, is estimated
    by one step of power iteration per forward pass (Miyato et al. 2018). The stored kernel stays
    unnormalised and the gradient goes through W / sigma(W) with the singular vectors held constant.
    Keras's own ``SpectralNormalization`` overwrites the kernel instead, a different optimisation.

    No scaled copy of a dense kernel is made: the layer is linear, so its product is divided. And as
    v W, which sigma needs, is a product like the inputs', v goes through it as one more row: the
    large kernel is read once less, and its gradient is one product instead of a sum of two. A
    convolution's kernel is smaller than its product and is divided itself. In inference the
    estimate is made from the stored vector, which stays as is.

    Args:
        layer: a ``keras.layers.Dense`` or ``keras.layers.Conv2D`` without activation.
        seed: int, for the starting vector of the power iteration.

    Raises:
        ValueError: if the layer is of another kind or has an activation.
    """

    def __init__(self, layer, seed=None, **kwargs):
        super().__init__(layer, **kwargs)
        if not isinstance(layer, (keras.layers.Dense, keras.layers.Conv2D)):
            raise ValueError(
                f"SpectralNormalization wraps Dense and Conv2D, got {type(layer).__name__}."
            )
        if layer.activation is not keras.activations.linear:
            raise ValueError(
                "SpectralNormalization wraps layers without activation, got "
                f"{keras.activations.serialize(layer.activation)!r}: put it in a layer of its own."
            )
        self.seed = seed

    def build(self, input_shape):
        super().build(input_shape)
        self.u = self.add_weight(
            name="u",
            shape=(self.layer.kernel.shape[-1],),
            initializer=keras.initializers.TruncatedNormal(stddev=1.0, seed=self.seed),
            trainable=False,
            autocast=False,
        )

    def sigma(self):
        """Estimate of the kernel's largest singular value, and the vector that gave it.

        Returns:
            sigma: scalar, differentiable in the kernel.
            u: ``(units,)``, the right singular vector after one more iteration.
        """
        matrix = self._matrix()
        return self._estimate(ops.matmul(self._left_vector(matrix), matrix))

    def _matrix(self):
        """The kernel as ``(fan_in, units)``."""
        kernel = self.layer.kernel
        return ops.reshape(kernel, (-1, kernel.shape[-1]))

    def _left_vector(self, matrix):
        """v ``(fan_in,)``, the left singular vector that belongs to the stored u."""
        return ops.stop_gradient(_unit(ops.matmul(matrix, ops.cast(self.u, matrix.dtype))))

    def _estimate(self, image):
        """sigma and the next u from v W, ``image`` ``(units,)``; in u's own precision."""
        image = ops.cast(image, self.u.dtype)
        u = ops.stop_gradient(_unit(image))
        return ops.sum(image * u), u

    def call(self, inputs, training=False):
        if isinstance(self.layer, keras.layers.Conv2D):
            sigma, u = self.sigma()
            kernel = self.layer.kernel
            outputs = self.layer.convolution_op(inputs, kernel / ops.cast(sigma, kernel.dtype))
        else:
            matrix = self._matrix()
            v = self._left_vector(matrix)
            rows = ops.reshape(inputs, (-1, matrix.shape[0]))  # (batch, fan_in)
            products = ops.matmul(ops.concatenate([rows, v[None]]), matrix)  # (batch + 1, units)
            sigma, u = self._estimate(products[-1])
            outputs = products[:-1] / ops.cast(sigma, products.dtype)
            outputs = ops.reshape(outputs, (*ops.shape(inputs)[:-1], matrix.shape[-1]))
        if training:
            self.u.assign(u)
        return outputs if self.layer.bias is None else outputs + self.layer.bias

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


def _noise(shape, dtype, seed):
    """eps ~ N(0, I); on one of several devices its rows of the whole batch's.

    Devices that train together hold the same seeds: each for itself, they would draw the same eps.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        replica = tf.distribute.get_replica_context()
        if replica is not None and replica.num_replicas_in_sync > 1:
            rows = shape[0]
            whole = (replica.num_replicas_in_sync * rows, *shape[1:])
            start = replica.replica_id_in_sync_group * rows
            return keras.random.normal(whole, dtype=dtype, seed=seed)[start : start + rows]
    return keras.random.normal(shape, dtype=dtype, seed=seed)


@keras.saving.register_keras_serializable(PACKAGE)
class BatchNormalization(keras.layers.BatchNormalization):
    """``keras.layers.BatchNormalization`` with the authors' moving averages and a faster training.

    Keras's averages begin at mean 0 and variance 1 and forget that by ``momentum`` a step: with
    0.999, a variance near 0.01 is still twice too large after 4,600 steps, and in inference the
    network is another one than was trained. The authors' averages (TensorFlow 1's
    ``assign_moving_average``, ``zero_debias``) are those of the batches alone: after t steps

        average_t = (1 - momentum) / (1 - momentum^t) sum_s momentum^(t - s) batch_s

    The moving variance is of the biased estimate, as in Keras and in the authors' code. On
    TensorFlow the training pass is TensorFlow's fused kernel: the formula is the same, the passes
    over the activations are fewer. With a mask or ``renorm`` all is Keras's.

    Arguments as Keras's.

    Raises:
        ValueError: if momentum is not in [0, 1).
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}.")

    def build(self, input_shape):
        super().build(input_shape)
        self.steps = self.add_weight(
            name="steps", shape=(), initializer="zeros", trainable=False, autocast=False
        )

    def call(self, inputs, training=None, mask=None):
        batch_moments = training and self.trainable  # of a frozen layer Keras takes the stored ones
        renorm = getattr(self, "renorm", False)  # Keras has it from 3.13 on
        if not batch_moments or mask is not None or renorm:
            return super().call(inputs, training=training, mask=mask)
        normalised = self._fused if self._can_be_fused(inputs) else self._normalised
        outputs, mean, variance = normalised(inputs)
        self._follow(mean, variance)
        return outputs

    def _normalised(self, inputs):
        """The batch normalised by its own moments, and these."""
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        axis = self.axis % len(x.shape)
        others = [i for i in range(len(x.shape)) if i != axis]
        mean, variance = ops.moments(x, axes=others, synchronized=self.synchronized)
        outputs = ops.batch_normalization(
            x, mean, variance, axis, offset=self.beta, scale=self.gamma, epsilon=self.epsilon
        )
        return ops.cast(outputs, self.compute_dtype), mean, variance

    def _fused(self, inputs):
        """The same by TensorFlow's kernel, which returns the unbiased variance."""
        import tensorflow as tf

        shape = tf.shape(inputs)
        pixels = tf.reshape(inputs, (-1, 1, 1, shape[-1])) if inputs.shape.rank != 4 else inputs
        outputs, mean, unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
            x=pixels,
            scale=self.gamma,
            offset=self.beta,
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        n = tf.cast(tf.reduce_prod(shape[:-1]), unbiased.dtype)
        return tf.reshape(outputs, shape), mean, unbiased * tf.maximum(n - 1, 1) / n

    def _follow(self, mean, variance):
        """Moves the averages towards a batch's moments; the first batch's replace the start."""
        self.steps.assign(self.steps + 1)
        log_momentum = math.log(max(self.momentum, 1e-30))
        rate = (1 - self.momentum) / -ops.expm1(self.steps * log_momentum)
        for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving + (ops.cast(new, moving.dtype) - moving) * rate)

    def load_own_variables(self, store):
        last = str(len(self.weights) - 1)
        if last not in store.keys():  # noqa: SIM118, a store is no mapping
            # Files of version 0.1 have no number of steps; their averages go on as Keras's do.
            store = {name: store[name] for name in store.keys()} | {last: _MANY_STEPS}  # noqa: SIM118
        super().load_own_variables(store)

    def _can_be_fused(self, inputs) -> bool:
        return (
            keras.backend.backend() == "tensorflow"
            and self.axis in (-1, len(inputs.shape) - 1)
            and self.center
            and self.scale
            and not self.synchronized
            and self.compute_dtype == "float32"
        )


@keras.saving.register_keras_serializable(PACKAGE)
class GaussianSampler(keras.layers.Layer):
    """z = mu + sd * eps with eps ~ N(0, I), fresh at every call.

    The noise comes from a seed generator owned by the layer. Its state is no weight, and Keras
    would leave it out of a .keras file; here it is saved with the layer, so that a model that is
    saved and loaded goes on with the noise it would have drawn.

    Args:
        seed: int or None.
    """

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True  # nothing depends on the inputs' shapes

    def call(self, mu, sd):
        return mu + sd * _noise(ops.shape(mu), mu.dtype, self.seed_generator)

    def compute_output_shape(self, mu_shape, sd_shape=None):
        return mu_shape

    def save_own_variables(self, store):
        store["noise"] = ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store):
        if "noise" in store:  # files of earlier versions have none
            self.seed_generator.state.assign(store["noise"][...])

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}
