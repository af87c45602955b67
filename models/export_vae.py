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


def export_vae(vae, folder, max_images: int = export.MAX_IMAGES) -> None:
    """Writes ``vae`` as a SavedModel into ``folder``; see :func:`models.export.export_saved_model`.

    Raises:
        FileExistsError: if ``folder`` holds anything but an earlier SavedModel.
        ValueError: if max_images is below 1, the model is not one of images, or on another Keras
            backend than TensorFlow's.
    """
    export.check_export(vae, max_images)
    module = export.served_vae(vae, max_images)
    export.save(module, export.signatures(module), folder, max_images)
