"""The published runs, one literal each, and the two shorter presets made from them.

Sources, as in docs/deviations.md: [C] the author's code, [I] the author's answers on its issue
tracker (no. 7, 8, 9), [?] an assumption where neither says.
"""

from __future__ import annotations

from experiments.errors import UserError
from experiments.settings import RunSettings

PRESETS = ("quick", "lite", "paper")
METHODS = ("vae-learned-gamma", "two-stage")
NETWORKS = ("infogan",)
DATASETS = ("mnist", "fashion_mnist", "cifar10", "celeba")

PAPER = {
    "mnist": RunSettings(
        preset="paper",
        dataset="mnist",
        source="mnist",
        image_shape=(28, 28, 1),
        network="infogan",
        latent_dim=64,
        epochs=400,  # [C] default
        second_epochs=800,  # [C] default
        halve_every=150,  # [C]
        second_halve_every=300,  # [C]
        batch_size=64,  # [C]
        learning_rate=1e-4,  # [C]
        momentum=0.999,  # [C] batch_norm decay
        initial_log_gamma=0.0,  # [C]
        gamma_speed=1.0,  # [C] gamma is a weight like any other
        jpeg=False,
        n_fake=10_000,  # [C]
        n_real=10_000,  # [C]
    ),
    "fashion_mnist": RunSettings(
        preset="paper",
        dataset="fashion_mnist",
        source="fashion_mnist",
        image_shape=(28, 28, 1),
        network="infogan",
        latent_dim=64,
        epochs=400,  # [C] default
        second_epochs=800,  # [C] default
        halve_every=150,  # [C]
        second_halve_every=300,  # [C]
        batch_size=64,  # [C]
        learning_rate=1e-4,  # [C]
        momentum=0.999,  # [C]
        initial_log_gamma=0.0,  # [C]
        gamma_speed=1.0,  # [C]
        jpeg=False,
        n_fake=10_000,  # [C]
        n_real=10_000,  # [C]
    ),
    "cifar10": RunSettings(
        preset="paper",
        dataset="cifar10",
        source="cifar10",
        image_shape=(32, 32, 3),
        network="infogan",
        latent_dim=64,
        epochs=1000,  # [I 9]
        second_epochs=2000,  # [I 9]
        halve_every=300,  # [?] not stated
        second_halve_every=600,  # [?] not stated
        batch_size=64,  # [C]
        learning_rate=1e-4,  # [C]
        momentum=0.999,  # [C]
        initial_log_gamma=0.0,  # [C]
        gamma_speed=1.0,  # [C]
        jpeg=True,  # [C] saved as JPEG and read back, training and test images alike
        n_fake=10_000,  # [C]
        n_real=10_000,  # [C]
    ),
    "celeba": RunSettings(
        preset="paper",
        dataset="celeba",
        source="celeba",
        image_shape=(64, 64, 3),
        network="infogan",
        latent_dim=64,
        epochs=400,  # [I 9] "the default setting in the repository"
        second_epochs=800,  # [I 9]
        halve_every=150,  # [I 9]
        second_halve_every=300,  # [I 9]
        batch_size=64,  # [C]
        learning_rate=1e-4,  # [C]
        momentum=0.999,  # [C]
        initial_log_gamma=0.0,  # [C]
        gamma_speed=1.0,  # [C]
        jpeg=False,
        n_fake=10_000,  # [C]
        n_real=10_000,  # [C] a random half of the test set
    ),
}

# Real data at a tenth of the paper's epochs. Adam moves log gamma by at most the learning rate a
# step, so that from 0 it would spend most of a short schedule on its way: it gets its own speed.
LITE_FRACTION = 10
LITE_GAMMA_SPEED = 10.0

# Bundled data, minutes on a laptop's CPU: (source, name in tables, epochs, second epochs).
QUICK = {
    "mnist": ("mnist-sample", "mnist", 12, 30),
    "fashion_mnist": ("fashion_mnist-sample", "fashion_mnist", 12, 30),
    "cifar10": ("cifar10-standin", "cifar10-standin", 10, 30),
    "celeba": ("celeba-standin", "celeba-standin", 4, 30),
}
QUICK_LEARNING_RATE = 1e-3
QUICK_GAMMA_SPEED = 10.0
QUICK_MOMENTUM = 0.9  # 0.999 would need thousands of steps to forget its start
QUICK_IMAGES = 1_000


def _lite(paper: RunSettings) -> RunSettings:
    return paper.replace(
        preset="lite",
        epochs=paper.epochs // LITE_FRACTION,
        second_epochs=paper.second_epochs // LITE_FRACTION,
        halve_every=paper.halve_every // LITE_FRACTION,
        second_halve_every=paper.second_halve_every // LITE_FRACTION,
        gamma_speed=LITE_GAMMA_SPEED,
    )


def _quick(paper: RunSettings) -> RunSettings:
    source, name, epochs, second_epochs = QUICK[paper.dataset]
    return paper.replace(
        preset="quick",
        source=source,
        dataset=name,
        epochs=epochs,
        second_epochs=second_epochs,
        halve_every=epochs,  # no halving in so few steps
        second_halve_every=second_epochs,
        learning_rate=QUICK_LEARNING_RATE,
        momentum=QUICK_MOMENTUM,
        gamma_speed=QUICK_GAMMA_SPEED,
        jpeg=False,
        n_fake=QUICK_IMAGES,
        n_real=QUICK_IMAGES,
    )


def resolve(preset: str, dataset: str) -> RunSettings:
    """The settings of ``dataset``'s run under ``preset``.

    Raises:
        UserError: for an unknown preset or data set.
    """
    if preset not in PRESETS:
        raise UserError(f"unknown preset {preset!r}: expected one of {', '.join(PRESETS)}.")
    if dataset not in PAPER:
        raise UserError(f"unknown data set {dataset!r}: expected one of {', '.join(DATASETS)}.")
    paper = PAPER[dataset]
    return {"quick": _quick, "lite": _lite, "paper": lambda settings: settings}[preset](paper)
