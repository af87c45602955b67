"""The two-stage VAE as a TensorFlow SavedModel, for TensorFlow Serving.

Signatures, with h, w, c and kappa fixed by the model and the batch size free:

- ``serving_default`` (``generate``): ``n`` int32 scalar, ``seed`` int64 scalar ->
  ``images`` uint8 ``(n, h, w, c)``; the same seed gives the same images, a negative one fresh ones;
- ``decode``: ``u`` float32 ``(b, kappa)`` -> ``images`` uint8, by the mean of z given u;
- ``encode``: ``images`` uint8 ``(b, h, w, c)`` -> ``mu_z``, ``sd_z``, ``u`` (the mean of u given
  mu_z), each float32 ``(b, kappa)``;
- ``reconstruct``: ``images`` uint8 -> ``images`` uint8, by the mean of z.

A request that can't be served fails with INVALID_ARGUMENT and a sentence.
"""

from __future__ import annotations

from pathlib import Path

MAX_IMAGES = 1024  # in one ``generate`` request


def export_saved_model(model, folder, max_images: int = MAX_IMAGES) -> None:
    """Writes ``model`` (a TwoStageVAE, TensorFlow backend) as a SavedModel into ``folder``.

    TensorFlow Serving expects a version below the model's name: ``.../saved_model/1``.
    """
    import tensorflow as tf

    first, second = model.first, model.second
    height, width, channels = first.encoder.input_shape[1:]
    kappa = model.latent_dim
    gamma_z = second.gamma

    class Served(tf.Module):
        """Holds the four networks' variables and the functions on them."""

        def __init__(self):
            super().__init__()
            parts = (first.encoder, first.decoder, second.encoder, second.decoder)
            self.kept = [[v.value for v in part.variables] for part in parts]

        @tf.function(
            input_signature=[
                tf.TensorSpec((), tf.int32, name="n"),
                tf.TensorSpec((), tf.int64, name="seed"),
            ]
        )
        def generate(self, n, seed):
            tf.debugging.assert_greater_equal(n, 1, message="n must be at least 1")
            tf.debugging.assert_less_equal(
                n, max_images, message=f"n must be at most {max_images} in one request"
            )
            fresh = tf.random.uniform((), maxval=2**31 - 1, dtype=tf.int64)
            seed = tf.where(seed < 0, fresh, seed % (2**31 - 1))
            noise = tf.random.stateless_normal(
                tf.stack([2 * n, kappa]), seed=tf.stack([seed, tf.zeros_like(seed)])
            )
            u, eps = noise[:n], noise[n:]
            z = second.decoder(u, training=False) + gamma_z * eps
            return {"images": to_uint8(first.decoder(z, training=False))}

        @tf.function(input_signature=[tf.TensorSpec((None, kappa), tf.float32, name="u")])
        def decode(self, u):
            tf.debugging.assert_all_finite(u, "u must be finite")
            z = second.decoder(u, training=False)
            return {"images": to_uint8(first.decoder(z, training=False))}

        @tf.function(
            input_signature=[
                tf.TensorSpec((None, height, width, channels), tf.uint8, name="images")
            ]
        )
        def encode(self, images):
            mu_z, sd_z = first.encoder(first.scale(images), training=False)
            mu_u, _ = second.encoder(mu_z, training=False)
            return {"mu_z": mu_z, "sd_z": sd_z, "u": mu_u}

        @tf.function(
            input_signature=[
                tf.TensorSpec((None, height, width, channels), tf.uint8, name="images")
            ]
        )
        def reconstruct(self, images):
            mu_z, _ = first.encoder(first.scale(images), training=False)
            return {"images": to_uint8(first.decoder(mu_z, training=False))}

    def to_uint8(x_hat):
        return tf.cast(tf.round(tf.clip_by_value(x_hat, 0.0, 1.0) * 255.0), tf.uint8)

    served = Served()
    tf.saved_model.save(
        served,
        str(Path(folder)),
        signatures={
            "serving_default": served.generate,
            "generate": served.generate,
            "decode": served.decode,
            "encode": served.encode,
            "reconstruct": served.reconstruct,
        },
    )
