"""A single VAE as a TensorFlow SavedModel: every method but the two-stage VAE.

Signatures, as those of :mod:`models.export` with z in the place of u:

- ``serving_default``, the same as ``generate``: ``n``, ``seed`` -> ``images`` uint8, as
  ``sample(n, seed)`` draws them;
- ``decode``: ``z`` float32 ``(b, kappa)`` -> ``images`` uint8;
- ``encode``: ``images`` uint8 ``(b, h, w, c)`` -> ``mu_z``, ``sd_z`` float32 ``(b, kappa)``; of
  VAE + Flow before the flows, of WAE-MMD sd is 0;
- ``reconstruct``: ``images`` uint8 -> ``images`` uint8, by the mean (of VAE + Flow: the mean sent
  through the flows).

In the fused joint model, z is the latent variable of the whole, which the paper calls u.
"""

from __future__ import annotations

from models import export


def served(vae, max_images: int = export.MAX_IMAGES):
    """A ``tf.Module`` with one function a signature on the variables of ``vae``.

    Args:
        vae: :class:`models.VAE` or a baseline, TensorFlow backend.
        max_images: most images in one request, made or sent.
    """
    import tensorflow as tf

    kappa = vae.latent_dim
    image_shape = tuple(vae.encoder.input_shape[1:])
    pixels = [tf.TensorSpec((None, *image_shape), tf.uint8, name="images")]

    def pixels_of(z):
        return {"images": export.to_uint8(vae.decoder(z, training=False))}

    def sampled(*noises):
        return pixels_of(vae.prior_draw(*noises))

    def encoded(images):
        mu_z, sd_z, _ = vae.code(vae.scale(images))
        return {"mu_z": mu_z, "sd_z": sd_z}

    def reconstructed(images):
        return pixels_of(vae.code(vae.scale(images))[-1])

    class Served(tf.Module):
        def __init__(self):
            super().__init__()
            self.networks = [v.value for v in vae.variables]

        @tf.function(
            input_signature=[
                tf.TensorSpec((), tf.int32, name="n"),
                tf.TensorSpec((), tf.int64, name="seed"),
            ]
        )
        def generate(self, n, seed):
            n = export.checked_count(n, max_images)
            noise = export.seeded_normal(vae.NOISES * n, kappa, seed)
            noises = [noise[i * n : (i + 1) * n] for i in range(vae.NOISES)]
            return export.in_pieces(sampled, *noises)

        @tf.function(input_signature=[tf.TensorSpec((None, kappa), tf.float32, name="z")])
        def decode(self, z):
            return export.in_pieces(pixels_of, export.checked_batch(z, "z", (kappa,), max_images))

        @tf.function(input_signature=pixels)
        def encode(self, images):
            images = export.checked_batch(images, "images", image_shape, max_images)
            return export.in_pieces(encoded, images)

        @tf.function(input_signature=pixels)
        def reconstruct(self, images):
            images = export.checked_batch(images, "images", image_shape, max_images)
            return export.in_pieces(reconstructed, images)

    return Served()


def export_vae(vae, folder, max_images: int = export.MAX_IMAGES) -> None:
    """Writes ``vae`` as a SavedModel into ``folder``; see :func:`models.export.export_saved_model`.

    Raises:
        FileExistsError: if ``folder`` holds anything but an earlier SavedModel.
        ValueError: if max_images is below 1, the model is not one of images, or on another Keras
            backend than TensorFlow's.
    """
    export.check_export(vae, max_images)
    module = served(vae, max_images)
    signatures = {
        "serving_default": module.generate,
        "generate": module.generate,
        "decode": module.decode,
        "encode": module.encode,
        "reconstruct": module.reconstruct,
    }
    export.save(module, signatures, folder, max_images)
