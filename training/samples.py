"""Samples of a trained model: which rows of the tables it gives, and with what seed."""

from __future__ import annotations

import hashlib

import numpy as np

import models
from experiments.settings import RENORMALISED, RunSettings, is_first_stage
from models.renormalised import sample_both, sample_first


def sampling_seed(settings: RunSettings) -> int:
    """Seed of the scored samples; of its own, so that no training noise is met again."""
    return int(np.random.SeedSequence([settings.seed, 2]).generate_state(1)[0] // 2)


def weights_digest(model: models.VAE | models.TwoStageVAE, method: str | None = None) -> str:
    """SHA-256 of the weights: features and scores are those of exactly this model.

    Args:
        method: a row, of whose stages' weights it is to be; None for all.
    """
    parts = (model.first, model.second) if isinstance(model, models.TwoStageVAE) else (model,)
    if method and is_first_stage(method):
        parts = parts[:1]
    digest = hashlib.sha256()
    for part in parts:
        for weight in part.get_weights():
            digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def sample(
    model, method: str, n: int, seed: int, deviation: np.ndarray | None = None
) -> np.ndarray:
    """Samples by a method: of a TwoStageVAE several rows can be drawn.

    Args:
        deviation: ``(kappa,)``, of q(z); needed for the re-normalised rows alone.
    """
    if method.endswith(RENORMALISED):
        if not is_first_stage(method):
            return sample_both(model, n, deviation, seed)
        first = model.first if isinstance(model, models.TwoStageVAE) else model
        return sample_first(first, n, deviation, seed)
    if isinstance(model, models.TwoStageVAE):
        return model.sample(n, stage=1 if is_first_stage(method) else 2, seed=seed)
    return model.sample(n, seed=seed)
