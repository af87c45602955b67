"""Layers that Keras lacks or does differently: spectral normalisation and the Gaussian sampler."""

from __future__ import annotations

import keras
from keras import ops

PACKAGE = "two_stage_vae"  # the name under which custom objects are registered with Keras
_NORM_FLOOR = 1e-12


def _unit(vector):
    return vector / (ops.norm(vector) + _NORM_FLOOR)


@keras.saving.register_keras_serializable(PACKAGE)
class SpectralNormalization(keras.layers.Wrapper):
    """A dense or convolution layer whose kernel W is used as W / sigma(W).

    sigma(W), the largest singular value of the kernel reshaped to ``(fan_in, units)``, is estimated
    by one step of power iteration per forward pass (Miyato et al. 2018). The stored kernel stays
    unnormalised and the gradient goes through W / sigma(W) with the singular vectors held constant.
    Keras's own ``SpectralNormalization`` overwrites the kernel instead, a different optimisation.

    The layer is linear, so the product is divided rather than the kernel: the same result without
    a scaled copy of W. In inference the estimate is made from the stored vector, which stays as is.

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
        kernel = self.layer.kernel
        matrix = ops.reshape(kernel, (-1, kernel.shape[-1]))  # (fan_in, units)
        v = ops.stop_gradient(_unit(ops.matmul(matrix, self.u)))  # (fan_in,)
        image = ops.matmul(v, matrix)  # (units,)
        u = ops.stop_gradient(_unit(image))
        return ops.sum(image * u), u

    def call(self, inputs, training=False):
        sigma, u = self.sigma()
        if training:
            self.u.assign(u)
        if isinstance(self.layer, keras.layers.Conv2D):
            outputs = self.layer.convolution_op(inputs, self.layer.kernel)
        else:
            outputs = ops.matmul(inputs, self.layer.kernel)
        outputs = outputs / ops.cast(sigma, outputs.dtype)
        return outputs if self.layer.bias is None else outputs + self.layer.bias

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable(PACKAGE)
class GaussianSampler(keras.layers.Layer):
    """z = mu + sd * eps with eps ~ N(0, I), fresh at every call.

    The noise comes from a seed generator owned by the layer; its state is a weight, so a model that
    is saved and loaded goes on with the noise it would have drawn.

    Args:
        seed: int or None.
    """

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape):
        self.built = True

    def call(self, mu, sd):
        eps = keras.random.normal(ops.shape(mu), dtype=mu.dtype, seed=self.seed_generator)
        return mu + sd * eps

    def compute_output_shape(self, mu_shape, sd_shape=None):
        return mu_shape

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}
