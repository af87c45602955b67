"""VAE + Flow: the learned-gamma VAE whose posterior passes through planar flows.

Rezende and Mohamed (2015): z_0 ~ N(mu, sd^2) as in any VAE, then K times

    f(z) = z + u_hat tanh(w . z + b),    log|det df/dz| = log(1 + (1 - tanh^2(w . z + b)) w . u_hat)

and z_K is decoded. f is invertible if w . u_hat >= -1. As in that paper w, u and b are amortised:
a dense layer computes them for every x from the encoder's last hidden layer. It is spectrally
normalised, like all layers of the Infogan encoder: without that, Adam moves the parameters of all
flows together so fast that the KL term runs away.
"""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import layers, ops

from models.layers import PACKAGE, SpectralNormalization
from models.losses import Objective
from models.networks import layer_seeds, part_seeds
from models.vae import VAE, predict, standard_normal

LENGTH = 10  # the shortest of Rezende and Mohamed's on MNIST (10 to 80); the paper names none
_NORM_FLOOR = 1e-12
_UNSHIFTED = math.log(math.e - 1.0)  # softplus of this is 1


def planar(z, w, u, b):
    """One planar flow.

    u_hat = u + (m(w . u) - w . u) w / |w|^2 makes w . u_hat = m(w . u) >= -1, with
    m(a) = softplus(a + log(e - 1)) - 1. Rezende and Mohamed have m(a) = softplus(a) - 1; the shift
    leaves the range as it is and gives m(0) = 0, so that u = 0 is the identity.

    Args:
        z, w, u: ``(batch, kappa)``.
        b: ``(batch, 1)``.

    Returns:
        f(z) ``(batch, kappa)`` and log|det df/dz| ``(batch,)``.
    """
    product = ops.sum(w * u, axis=-1, keepdims=True)  # (batch, 1)
    above = ops.softplus(product + _UNSHIFTED)  # 1 + w . u_hat
    squared_norm = ops.sum(ops.square(w), axis=-1, keepdims=True)
    u_hat = u + (above - 1.0 - product) * w / (squared_norm + _NORM_FLOOR)
    h = ops.tanh(ops.sum(w * z, axis=-1, keepdims=True) + b)
    # 1 + (1 - h^2) w . u_hat without the cancellation near w . u_hat = -1.
    determinant = ops.square(h) + (1.0 - ops.square(h)) * above
    return z + u_hat * h, ops.log(determinant[:, 0])


def planar_flows(z, parameters):
    """K planar flows one after the other.

    Args:
        z: ``(batch, kappa)``, z_0.
        parameters: ``(batch, K, 2 kappa + 1)``; for each flow w, u and b in a row.

    Returns:
        z_K ``(batch, kappa)`` and the sum of all log|det| ``(batch,)``.
    """
    kappa = z.shape[-1]
    log_det = 0.0
    for k in range(parameters.shape[1]):
        w, u, b = ops.split(parameters[:, k], (kappa, 2 * kappa), axis=-1)
        z, increment = planar(z, w, u, b)
        log_det = log_det + increment
    return z, log_det


def flow_encoder(encoder: keras.Model, features: str, length: int = LENGTH, seed: int = 0):
    """``encoder`` with the flows' parameters as its third output.

    Args:
        encoder: model, x -> ``mu``, ``sd``, each ``(batch, kappa)``.
        features: name of the encoder's layer from which the parameters are computed.
        length: K, at least 1.
        seed: for the initial weights of the added layer.

    Returns:
        Model, x -> ``mu``, ``sd`` and ``(batch, K, 2 kappa + 1)``.

    Raises:
        ValueError: if length is below 1.
    """
    if length < 1:
        raise ValueError(f"length, the number of planar flows, must be at least 1, got {length}.")
    size = 2 * encoder.outputs[0].shape[-1] + 1
    seeds = layer_seeds(seed)
    initializer = keras.initializers.RandomNormal(stddev=0.02, seed=next(seeds))
    dense = layers.Dense(length * size, kernel_initializer=initializer, name="flow")
    h = SpectralNormalization(dense, seed=next(seeds), name="sn_flow")(
        encoder.get_layer(features).output
    )  # (batch, K (2 kappa + 1))
    parameters = layers.Reshape((length, size), name="flow_parameters")(h)
    return keras.Model(encoder.input, [*encoder.outputs, parameters], name=f"{encoder.name}_flow")


@keras.saving.register_keras_serializable(PACKAGE)
class FlowVAE(VAE):
    """A VAE whose q(z|x) is a Gaussian sent through K planar flows.

    q(z|x) has no KL divergence in closed form; ``kl`` is its unbiased estimate from the one draw
    that is decoded: log q_0(z_0|x) - sum_k log|det| - log p(z_K). ``encode`` gives the mean and
    standard deviation of q_0, before the flows; ``latents`` draws z_K.

    Args:
        encoder: model, x -> ``mu``, ``sd``, flow parameters; see :func:`flow_encoder`.
        Others as :class:`models.VAE`.
    """

    @property
    def length(self) -> int:
        """K, the number of planar flows."""
        return self.encoder.outputs[-1].shape[1]

    def draw(self, x, training=False):
        """One z_K ~ q(z|x): ``mu``, ``sd``, z_K, each ``(batch, kappa)``, and its KL ``(batch,)``.

        The constants 1/2 log(2 pi) of q_0 and of p cancel.
        """
        mu, sd, parameters = self.encoder(x, training=training)
        eps = self.sampler(ops.zeros_like(mu), ops.ones_like(sd))
        z, log_det = planar_flows(mu + sd * eps, parameters)
        kl = ops.sum(ops.square(z) / 2.0 - ops.square(eps) / 2.0 - ops.log(sd), axis=-1) - log_det
        return mu, sd, z, kl

    def code(self, x):
        """``mu``, ``sd``, and ``mu`` sent through the flows, each ``(batch, kappa)``."""
        mu, sd, parameters = self.encoder(x, training=False)
        return mu, sd, planar_flows(mu, parameters)[0]

    def forward(self, x, training=False):
        """Encodes x, draws one z_K ~ q(z|x) and decodes it: ``mu``, ``sd``, ``x_hat``."""
        mu, sd, z, _ = self.draw(x, training=training)
        return mu, sd, self.decoder(z, training=training)

    def objective(self, x, training=False) -> Objective:
        """The negative ELBO, its KL estimated, for x ``(batch, ...)``: each term ``(batch,)``."""
        mu, sd, z, kl = self.draw(x, training=training)
        x_hat = self.decoder(z, training=training)
        if training:
            self.renew_gamma(x, x_hat)
        reconstruction = self.negative_elbo(x, x_hat, mu, sd).reconstruction
        return Objective(kl + reconstruction, kl, reconstruction)

    def encode(self, images, progress=None) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of q_0(z_0|x), each ``(n, kappa)`` float32, of ``images``."""
        return predict(self.encoder, self.check_images(images), self.scale, progress)[:2]

    def latents(self, images, seed: int | None = None) -> np.ndarray:
        """One z_K ~ q(z|x) ``(n, kappa)`` float32 for each of ``images`` ``(n, h, w, c)`` uint8."""
        mu, sd, parameters = predict(self.encoder, self.check_images(images), self.scale)
        z = mu + sd * standard_normal(*mu.shape, seed)
        return ops.convert_to_numpy(planar_flows(z, parameters)[0])

    def reconstruct(self, images, seed: int | None = None) -> np.ndarray:
        """x_hat ``(n, h, w, c)`` from one z_K ~ q(z|x) each."""
        return self.decode(self.latents(images, seed))


def build(
    parts,
    image_shape,
    latent_dim: int = 64,
    *,
    momentum: float = 0.999,
    initial_log_gamma: float = 0.0,
    gamma_speed: float = 1.0,
    seed: int = 0,
    length: int = LENGTH,
    optimal_gamma: bool = False,
) -> FlowVAE:
    """A fresh FlowVAE on a network, ``parts``; arguments as :func:`models.build`'s.

    Args:
        length: K, the number of planar flows.
        optimal_gamma: see :class:`models.VAE`.
    """
    seeds = part_seeds(seed, 4)
    encoder = parts.encoder(image_shape, latent_dim, momentum=momentum, seed=seeds[0])
    return FlowVAE(
        flow_encoder(encoder, parts.FEATURES, length, seed=seeds[3]),
        parts.decoder(image_shape, latent_dim, momentum=momentum, seed=seeds[1]),
        initial_log_gamma=initial_log_gamma,
        gamma_speed=gamma_speed,
        optimal_gamma=optimal_gamma,
        seed=seeds[2],
        name="vae_flow",
    )
