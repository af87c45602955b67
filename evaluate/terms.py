"""What the numbers in a training's history are: not every model minimises a negative ELBO."""

from __future__ import annotations

from typing import NamedTuple

from experiments.settings import WITHOUT_GAMMA


class Terms(NamedTuple):
    """Names of the two terms of a model's loss, under ``kl`` and ``reconstruction``."""

    kl: str = "KL"
    reconstruction: str = "reconstruction"
    unit: str = "nats per example"  # the loss's too
    gamma: bool = True  # whether log gamma says anything


_OTHERS = dict.fromkeys(WITHOUT_GAMMA, Terms(gamma=False)) | {
    "wae-mmd": Terms(
        "MMD penalty", "weighted squared error", "arbitrary units per example", gamma=False
    )
}


def terms_of(model: str | None) -> Terms:
    """A model's terms, by its name in the settings; without a name those of a VAE with gamma."""
    return _OTHERS.get(model, Terms())
