"""What is trained: the VAE with learned gamma, the two-stage VAE made of two, and the baselines."""

from __future__ import annotations

import functools
import inspect
import types

from models import two_stage, vae, vector
from models.baselines import flow, joint, wae_mmd
from models.networks import infogan, resnet, wae
from models.two_stage import LatentVAE, TwoStageVAE
from models.vae import VAE, save

__all__ = [
    "METHODS",
    "NETWORKS",
    "VAE",
    "LatentVAE",
    "TwoStageVAE",
    "build",
    "save",
    "vector",  # here for its classes, too, which files of such models name
]

NETWORKS = {"infogan": infogan, "wae": wae, "resnet": resnet}
BUILDERS = {
    "vae-cross-entropy": functools.partial(vae.build, likelihood="cross-entropy"),
    "vae-fixed-gamma": functools.partial(vae.build, learn_gamma=False),
    "vae-learned-gamma": vae.build,
    "vae-flow": flow.build,
    "wae-mmd": wae_mmd.build,
    "two-stage": two_stage.build,
    "two-stage-joint": functools.partial(joint.build, form="fused"),
    "two-stage-joint-merged": functools.partial(joint.build, form="merged"),
    "two-stage-no-skip": functools.partial(two_stage.build, skip=False),
    "two-stage-fixed-z": functools.partial(two_stage.build, fixed_z=True),
    "two-stage-pythae-like": functools.partial(two_stage.build, skip=False, fixed_z=True),
}
METHODS = tuple(BUILDERS)


def build(
    method: str,
    image_shape: tuple[int, int, int],
    network: str = "infogan",
    latent_dim: int = 64,
    *,
    momentum: float = 0.999,
    initial_log_gamma: float = 0.0,
    gamma_speed: float = 1.0,
    seed: int = 0,
    network_options: dict | None = None,
    **options,
) -> VAE | TwoStageVAE:
    """A fresh model, its weights drawn from ``seed``.

    Args:
        method: one of ``METHODS``.
        image_shape: ``(h, w, c)``.
        network: one of ``NETWORKS``; the first stage's encoder and decoder.
        latent_dim: kappa.
        momentum: decay of the batch normalisation's moving averages, 0.999 in the paper's code.
        initial_log_gamma, gamma_speed: see :class:`models.VAE`; of both stages.
        seed: for the initial weights and the noise of training.
        network_options: arguments of the network's encoder and decoder, such as ``base_dim``.
        options: the method's own, see the ``build`` functions in :mod:`models.baselines`.

    Raises:
        ValueError: for an unknown method or network, or a shape the network can't take.
    """
    if method not in BUILDERS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
    if network not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}; got {network!r}.")
    if len(image_shape) != 3:
        raise ValueError(
            f"image_shape must be (height, width, channels), got {tuple(image_shape)}."
        )
    if latent_dim < 1:
        raise ValueError(f"latent_dim must be at least 1, got {latent_dim}.")
    return BUILDERS[method](
        with_options(NETWORKS[network], network_options or {}),
        image_shape,
        latent_dim,
        momentum=momentum,
        initial_log_gamma=initial_log_gamma,
        gamma_speed=gamma_speed,
        seed=seed,
        **options,
    )


def with_options(parts, options: dict):
    """A module of :mod:`models.networks` whose builders have some arguments set.

    An option is for the builders that have an argument of its name.

    Raises:
        ValueError: if none has.
    """
    builders = {name: getattr(parts, name) for name in ("encoder", "decoder")}
    known = {name: set(inspect.signature(build).parameters) for name, build in builders.items()}
    if unknown := set(options) - set().union(*known.values()):
        raise ValueError(
            f"network_options has {', '.join(sorted(unknown))}, which {parts.__name__} does not "
            "know."
        )
    return types.SimpleNamespace(
        FEATURES=parts.FEATURES,
        **{
            name: functools.partial(build, **{k: options[k] for k in options if k in known[name]})
            for name, build in builders.items()
        },
    )
