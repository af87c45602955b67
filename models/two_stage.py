"""The two-stage VAE: a second VAE on the first one's latent samples repairs its measure.

The first stage finds the data's manifold, but q(z), the average of its posteriors, is not the
N(0, I) that samples are drawn from. The second stage is a small VAE trained on z ~ q(z); its own
latent u is close to N(0, I), so u ~ N(0, I) -> z -> x gives better samples than z ~ N(0, I) -> x.
"""

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np
from keras import ops

from models import vae
from models.layers import PACKAGE, GaussianSampler
from models.networks import dense, part_seeds
from models.optimizer import adam
from models.vae import (
    MAX_IMAGES,
    VAE,
    check_count,
    check_latents,
    predict,
    standard_normal,
    written,
)

FIRST_FILE = "first.keras"
SECOND_FILE = "second.keras"
RUN_MODEL_FOLDER = "model"  # where a run of the command has both, named in a message


@keras.saving.register_keras_serializable(PACKAGE)
class LatentVAE(VAE):
    """The second stage: a VAE of z ~ q(z|x), with u in the place of z and z in that of x.

    It trains on posteriors ``(batch, 2, kappa)``, mu_z stacked on sd_z, computed once over the
    training set with the first stage in inference mode, and draws a fresh z = mu_z + sd_z * eps at
    every step. Arguments as VAE's; the likelihood is Gaussian with its own scalar gamma_z.

    Args:
        fixed_z: an ablation: :meth:`TwoStageVAE.posteriors` draws one z for each image, on which
            all epochs train.
    """

    def __init__(self, encoder, decoder, seed=None, fixed_z=False, **kwargs):
        super().__init__(encoder, decoder, seed=seed, **kwargs)
        if self.likelihood != "gaussian":
            raise ValueError(
                "The second stage's likelihood is Gaussian: z has no range from 0 to 1."
            )
        self.fixed_z = fixed_z
        # A second stream: the noise that makes z must not be the noise that makes u.
        self.latent_sampler = GaussianSampler(seed=None if seed is None else seed + 1)

    @property
    def observed_rank(self) -> int:
        return 3  # (batch, 2, kappa)

    def scale(self, z):
        """z as it is: latent variables have no range to bring to [0, 1]."""
        return ops.cast(z, self.compute_dtype)

    def observe(self, posteriors):
        """A fresh z ``(batch, kappa)`` from each of the posteriors ``(batch, 2, kappa)``."""
        return self.latent_sampler(posteriors[:, 0], posteriors[:, 1])

    def draw_once(self, mu_z, sd_z) -> np.ndarray:
        """One z ~ q(z|x) ``(n, kappa)`` each, always the same draw for the same ``seed``."""
        seed = None if self.seed is None else self.seed + 2  # a third stream
        return mu_z + sd_z * standard_normal(*mu_z.shape, seed)

    def get_config(self):
        return {**super().get_config(), "fixed_z": self.fixed_z}

    def encode(self, z, progress=None) -> tuple[np.ndarray, np.ndarray]:
        """``mu_u``, ``sd_u``, each ``(n, kappa)`` float32, of ``z`` ``(n, kappa)``."""
        z = check_latents(z, self.encoder.input_shape[-1])
        return predict(self.encoder, z, progress=progress)

    def sample(self, n: int, seed: int | None = None) -> np.ndarray:
        """z ``(n, kappa)`` by u ~ N(0, I), z = z_hat(u) + gamma_z * eps.

        Raises:
            ValueError: if n is below 1, or the seed below 0.
        """
        check_count(n)
        u, eps = np.split(standard_normal(2 * n, self.latent_dim, seed), 2)
        return self.decode(u) + np.float32(self.gamma) * eps


class TwoStageVAE:
    """A first VAE on images and a second on its latent samples, used as one.

    Args:
        first: ``VAE`` on images.
        second: ``LatentVAE`` with the same latent dimension.

    Raises:
        ValueError: if the two latent dimensions differ.
    """

    def __init__(self, first: VAE, second: LatentVAE):
        if second.decoder.output_shape[-1] != first.latent_dim:
            raise ValueError(
                f"The second stage models z of {second.decoder.output_shape[-1]} dimensions, the "
                f"first stage has {first.latent_dim}: build both with the same latent_dim."
            )
        self.first = first
        self.second = second

    @property
    def latent_dim(self) -> int:
        """kappa, the number of latent dimensions of both stages."""
        return self.first.latent_dim

    def fit(
        self,
        images: np.ndarray,
        epochs: int,
        second_epochs: int,
        *,
        batch_size: int = 64,
        learning_rate: float = 1e-4,
        verbose="auto",
        callbacks=None,
        second_callbacks=None,
    ) -> tuple[keras.callbacks.History, keras.callbacks.History]:
        """Trains the first stage on ``images`` (n, h, w, c) uint8, then the second on its latents.

        The plain way in, for notebooks and scripts: Keras's ``fit`` twice. The command's runs add
        schedules, checkpoints and resumption, see :mod:`training`.
        """
        images = self.first.check_images(images)
        # As the command's runs: Keras would turn XLA on by itself where TensorFlow finds a GPU.
        jit = False if keras.backend.backend() == "tensorflow" else "auto"
        self.first.compile(optimizer=adam(learning_rate), jit_compile=jit)
        first = self.first.fit(
            images,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
        )
        self.second.compile(optimizer=adam(learning_rate), jit_compile=jit)
        second = self.second.fit(
            self.posteriors(images),
            batch_size=batch_size,
            epochs=second_epochs,
            verbose=verbose,
            callbacks=second_callbacks,
        )
        return first, second

    def posteriors(self, images, progress=None) -> np.ndarray:
        """What the second stage trains on: ``(n, 2, kappa)``, mu_z stacked on sd_z.

        If it is to see one fixed z per image, that z stacked on zeros. ``progress(done, total)`` is
        called after each batch.
        """
        mu_z, sd_z = self.first.encode(images, progress)
        if self.second.fixed_z:
            mu_z, sd_z = self.second.draw_once(mu_z, sd_z), np.zeros_like(sd_z)
        return np.stack([mu_z, sd_z], axis=1)

    def encode(self, images, progress=None) -> tuple[np.ndarray, np.ndarray]:
        """``mu_z``, ``sd_z`` of the first stage, each ``(n, kappa)``; as :meth:`VAE.encode`."""
        return self.first.encode(images, progress)

    def reconstruct(self, images, seed: int | None = None) -> np.ndarray:
        """The first stage's reconstruction, ``(n, h, w, c)`` in [0, 1], from a sampled z."""
        return self.first.reconstruct(images, seed=seed)

    def sample(self, n: int, stage: int = 2, seed: int | None = None) -> np.ndarray:
        """Images ``(n, h, w, c)`` float32 in [0, 1].

        stage 1: z ~ N(0, I), x = x_hat(z), which is "VAE (learned gamma)" in the paper's tables;
        stage 2: u ~ N(0, I), z = z_hat(u) + gamma_z * eps, x = x_hat(z).

        Raises:
            ValueError: if stage is neither 1 nor 2, n below 1, or the seed below 0.
        """
        if stage == 1:
            return self.first.sample(n, seed=seed)
        if stage == 2:
            return self.first.decode(self.second.sample(n, seed=seed))
        raise ValueError(f"stage must be 1 or 2, got {stage!r}.")

    def save(self, folder) -> None:
        """Writes both stages, ``first.keras`` and ``second.keras``, into ``folder``.

        What an error or an interruption leaves is the earlier model or the new one, but between two
        renames, where it is what :meth:`load` refuses.
        """
        first, second = (Path(folder) / name for name in (FIRST_FILE, SECOND_FILE))
        with written(self.first, first) as new_first, written(self.second, second) as new_second:
            second.unlink(missing_ok=True)  # with the new first stage it would be no model
            os.replace(new_first, first)
            os.replace(new_second, second)

    @classmethod
    def load(cls, folder) -> TwoStageVAE:
        """What :meth:`save` wrote.

        Raises:
            FileNotFoundError: if ``folder`` holds no saved TwoStageVAE.
            OSError, ValueError, KeyError, zipfile.BadZipFile: Keras's, for a damaged file.
        """
        folder = Path(folder)
        missing = [n for n in (FIRST_FILE, SECOND_FILE) if not (folder / n).exists()]
        if missing:
            inside = folder / RUN_MODEL_FOLDER
            hint = f" Name {inside}." if (inside / FIRST_FILE).exists() else ""
            raise FileNotFoundError(
                f"{folder} is no saved TwoStageVAE: it lacks {' and '.join(missing)}.{hint}"
            )
        return cls(
            keras.saving.load_model(folder / FIRST_FILE),
            keras.saving.load_model(folder / SECOND_FILE),
        )

    def export(self, folder, max_images: int = MAX_IMAGES) -> None:
        """Writes a TensorFlow SavedModel for serving; see :mod:`models.export`."""
        from models.export import export_saved_model

        export_saved_model(self, folder, max_images)


def build(
    parts,
    image_shape,
    latent_dim: int = 64,
    *,
    momentum: float = 0.999,
    seed: int = 0,
    skip: bool = True,
    fixed_z: bool = False,
    initial_log_gamma: float = 0.0,
    gamma_speed: float = 1.0,
    optimal_gamma: bool = False,
) -> TwoStageVAE:
    """A fresh two-stage VAE whose first stage is on a network, ``parts``.

    Arguments as :func:`models.build`'s; what concerns gamma holds for both stages' own.

    Args:
        skip: whether the second stage's networks have their skip connections.
        fixed_z: see :class:`LatentVAE`.
    """
    seeds = part_seeds(seed, 6)
    gamma = {
        "initial_log_gamma": initial_log_gamma,
        "gamma_speed": gamma_speed,
        "optimal_gamma": optimal_gamma,
    }
    first = vae.build(
        parts, image_shape, latent_dim, momentum=momentum, seed=seed, name="first_stage", **gamma
    )
    second = LatentVAE(
        dense.encoder(latent_dim, seed=seeds[3], skip=skip),
        dense.decoder(latent_dim, seed=seeds[4], skip=skip),
        seed=seeds[5],
        fixed_z=fixed_z,
        name="second_stage",
        **gamma,
    )
    return TwoStageVAE(first, second)
