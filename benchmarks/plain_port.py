"""The baseline: both stages ported to Keras 3 in the straightforward way.

The same networks, objective and optimiser as in ``models``, from Keras's own layers, Keras's own
Adam and spectral normalisation as the textbook has it, the kernel divided before it is used.
"""

from __future__ import annotations

import keras
from keras import layers, ops

HALF_LOG_TWO_PI = 0.91893


def _unit(vector):
    return vector / (ops.norm(vector) + 1e-12)


def _sigma(kernel, u):
    """Largest singular value by one power iteration from u, and the next u."""
    matrix = ops.reshape(kernel, (-1, kernel.shape[-1]))
    v = ops.stop_gradient(_unit(ops.matmul(matrix, u)))
    new = ops.stop_gradient(_unit(ops.matmul(ops.transpose(matrix), v)))
    return ops.sum(v * ops.matmul(matrix, new)), new


class NormalisedDense(layers.Dense):
    """Dense with the kernel W / sigma(W)."""

    def build(self, input_shape):
        super().build(input_shape)
        self.u = self.add_weight(shape=(self.units,), initializer="random_normal", trainable=False)

    def call(self, inputs, training=False):
        sigma, u = _sigma(self.kernel, self.u)
        if training:
            self.u.assign(u)
        return ops.matmul(inputs, self.kernel / sigma) + self.bias


class NormalisedConv2D(layers.Conv2D):
    """Conv2D with the kernel W / sigma(W)."""

    def build(self, input_shape):
        super().build(input_shape)
        self.u = self.add_weight(
            shape=(self.filters,), initializer="random_normal", trainable=False
        )

    def call(self, inputs, training=False):
        sigma, u = _sigma(self.kernel, self.u)
        if training:
            self.u.assign(u)
        return self.convolution_op(inputs, self.kernel / sigma) + self.bias


class PlainVAE(keras.Model):
    """A VAE with learned gamma whose training is Keras's default ``train_step``."""

    def __init__(self, encoder, decoder, **kwargs):
        super().__init__(**kwargs)
        self.encoder, self.decoder = encoder, decoder
        self.log_gamma = self.add_weight(shape=(), initializer="zeros", name="log_gamma")
        self.seed_generator = keras.random.SeedGenerator(0)

    def observe(self, data):
        """uint8 images as floats in [0, 1]."""
        return ops.cast(data, "float32") / 255.0

    def call(self, data, training=False):
        x = self.observe(data)
        mu, sd = self.encoder(x, training=training)
        z = mu + sd * keras.random.normal(ops.shape(mu), seed=self.seed_generator)
        return x, self.decoder(z, training=training), mu, sd

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        x, x_hat, mu, sd = y_pred
        kl = ops.sum(ops.square(mu) + ops.square(sd) - 2 * ops.log(sd) - 1, axis=-1) / 2
        scaled = ops.square((x - x_hat) / ops.exp(self.log_gamma)) / 2
        terms = scaled + self.log_gamma + HALF_LOG_TWO_PI
        return ops.mean(kl + ops.sum(terms, axis=tuple(range(1, len(x.shape)))))


class PlainLatentVAE(PlainVAE):
    """The second stage on posteriors (batch, 2, kappa): a fresh z at every step."""

    def observe(self, data):
        mu, sd = data[:, 0], data[:, 1]
        return mu + sd * keras.random.normal(ops.shape(mu), seed=self.seed_generator)


def first_stage(image_shape, kappa: int = 64) -> PlainVAE:
    """The Infogan VAE, compiled."""
    height, width, channels = image_shape

    def norm():
        return layers.BatchNormalization(momentum=0.999, epsilon=1e-5)

    encoder_start = keras.initializers.TruncatedNormal(stddev=0.02)
    start = keras.initializers.RandomNormal(stddev=0.02)
    conv = {"strides": 2, "padding": "same"}

    x = keras.Input(image_shape)
    h = layers.LeakyReLU(0.2)(NormalisedConv2D(64, 4, kernel_initializer=encoder_start, **conv)(x))
    h = norm()(NormalisedConv2D(128, 4, kernel_initializer=encoder_start, **conv)(h))
    h = layers.Flatten()(layers.LeakyReLU(0.2)(h))
    h = norm()(NormalisedDense(1024, kernel_initializer=start)(h))
    h = NormalisedDense(2 * kappa, kernel_initializer=start)(layers.LeakyReLU(0.2)(h))
    encoder = keras.Model(x, [h[:, :kappa], 1e-6 + ops.softplus(h[:, kappa:])])

    z = keras.Input((kappa,))
    h = layers.ReLU()(norm()(layers.Dense(1024, kernel_initializer=start)(z)))
    h = layers.Dense(128 * (height // 4) * (width // 4), kernel_initializer=start)(h)
    h = layers.Reshape((height // 4, width // 4, 128))(layers.ReLU()(norm()(h)))
    h = layers.Conv2DTranspose(64, 4, kernel_initializer=start, **conv)(h)
    h = layers.ReLU()(norm()(h))
    last = {"activation": "sigmoid", "kernel_initializer": start}
    decoder = keras.Model(z, layers.Conv2DTranspose(channels, 4, **last, **conv)(h))
    return _compiled(PlainVAE(encoder, decoder))


def second_stage(kappa: int = 64, units: int = 1024) -> PlainLatentVAE:
    """The dense VAE of z, compiled."""

    def stack(inputs):
        h = inputs
        for _ in range(3):
            h = layers.Dense(units, activation="relu")(h)
        return layers.Concatenate()([h, inputs])

    z, u = keras.Input((kappa,)), keras.Input((kappa,))
    h = stack(z)
    log_sd = layers.Dense(kappa)(h)
    encoder = keras.Model(z, [layers.Dense(kappa)(h), ops.exp(log_sd)])
    decoder = keras.Model(u, layers.Dense(kappa)(stack(u)))
    return _compiled(PlainLatentVAE(encoder, decoder))


def _compiled(model):
    model.compile(optimizer=keras.optimizers.Adam(1e-4, epsilon=1e-8), jit_compile=False)
    return model
