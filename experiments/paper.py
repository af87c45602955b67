"""The numbers published in the paper, as data: what every table here is set beside.

Dai and Wipf, *Diagnosing and Enhancing VAE Models*, ICLR 2019 (arXiv 1903.05789). Lower is better
in every table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

LUCIC = "Lucic et al., Are GANs Created Equal?"
WAE_PAPER = "Tolstikhin et al. (2018)"


@dataclass(frozen=True)
class Published:
    """One published score.

    mean, std: over the paper's trials; std is None where the paper prints none.
    quoted: a number repeated from elsewhere; this project does not train the model behind it.
    approximate: printed with a "~".
    """

    mean: float
    std: float | None
    quoted: bool
    approximate: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table: the name printed in the paper and, for quoted rows, where it comes from."""

    name: str
    source: str | None = None


Scores = Mapping[str, Mapping[str, Published]]  # [row][data set]

# Official data sets in the paper's order of columns; the name is the one in a table's head.
DATASETS: Mapping[str, str] = MappingProxyType(
    {
        "mnist": "MNIST",
        "fashion_mnist": "Fashion-MNIST",
        "cifar10": "CIFAR-10",
        "celeba": "CelebA",
    }
)

# Rows in the paper's order, keyed as in the records (methods) or by a name of their own (GANs).
ROWS: Mapping[str, Row] = MappingProxyType(
    {
        "mm-gan": Row("MM GAN (optimized)", LUCIC),
        "ns-gan": Row("NS GAN (optimized)", LUCIC),
        "lsgan": Row("LSGAN (optimized)", LUCIC),
        "wgan": Row("WGAN (optimized)", LUCIC),
        "wgan-gp": Row("WGAN GP (optimized)", LUCIC),
        "dragan": Row("DRAGAN (optimized)", LUCIC),
        "began": Row("BEGAN (optimized)", LUCIC),
        "best-gan-default": Row("Best GAN (default settings)", LUCIC),
        "vae": Row("VAE", "the paper, which gives no settings for it"),
        "wae-gan": Row("WAE-GAN", WAE_PAPER),
        "vae-cross-entropy": Row("VAE (cross-entr.)"),
        "vae-fixed-gamma": Row("VAE (fixed gamma)"),
        "vae-learned-gamma": Row("VAE (learned gamma)"),
        "vae-flow": Row("VAE + Flow"),
        "wae-mmd": Row("WAE-MMD"),
        "two-stage": Row("2-Stage VAE"),
    }
)


def _rows(rows: dict[str, tuple[tuple[float, float], ...]], quoted: bool) -> dict[str, Mapping]:
    """Rows of (mean, std) in the order of DATASETS -> rows of Published by data set."""
    return {
        row: MappingProxyType(
            {
                dataset: Published(mean, std, quoted)
                for dataset, (mean, std) in zip(DATASETS, scores, strict=True)
            }
        )
        for row, scores in rows.items()
    }


OFFICIAL_FEATURES = "inception-2015-12-05"  # pool_3 of the network that the paper was scored with
SCORED_IMAGES = 10_000  # generated, and real ones, behind each FID

# Table 1: FID, neutral (InfoGAN) architecture, 64 latent dimensions, mean and std over 10 trials.
TABLE1_NETWORK = "infogan"
TABLE1_LATENT_DIM = 64
TABLE1: Scores = MappingProxyType(
    _rows(
        {
            "mm-gan": ((9.8, 0.9), (29.6, 1.6), (72.7, 3.6), (65.6, 4.2)),
            "ns-gan": ((6.8, 0.5), (26.5, 1.6), (58.5, 1.9), (55.0, 3.3)),
            "lsgan": ((7.8, 0.6), (30.7, 2.2), (87.1, 47.5), (53.9, 2.8)),
            "wgan": ((6.7, 0.4), (21.5, 1.6), (55.2, 2.3), (41.3, 2.0)),
            "wgan-gp": ((20.3, 5.0), (24.5, 2.1), (55.8, 0.9), (30.3, 1.0)),
            "dragan": ((7.6, 0.4), (27.7, 1.2), (69.8, 2.0), (42.3, 3.0)),
            "began": ((13.1, 1.0), (22.9, 0.9), (71.4, 1.6), (38.9, 0.9)),
        },
        quoted=True,
    )
    | {
        "best-gan-default": MappingProxyType(
            {
                "mnist": Published(10.0, None, quoted=True, approximate=True),
                "fashion_mnist": Published(32.0, None, quoted=True, approximate=True),
                "cifar10": Published(70.0, None, quoted=True, approximate=True),
                "celeba": Published(49.0, None, quoted=True, approximate=True),
            }
        )
    }
    | _rows(
        {
            "vae-cross-entropy": ((16.6, 0.4), (43.6, 0.7), (106.0, 1.0), (53.3, 0.6)),
            "vae-fixed-gamma": ((52.0, 0.6), (84.6, 0.9), (160.5, 1.1), (55.9, 0.6)),
            "vae-learned-gamma": ((54.5, 1.0), (60.0, 1.1), (76.7, 0.8), (60.5, 0.6)),
            "vae-flow": ((54.8, 2.8), (62.1, 1.6), (81.2, 2.0), (65.7, 2.8)),
            "wae-mmd": ((115.0, 1.1), (101.7, 0.8), (80.9, 0.4), (62.9, 0.8)),
            "two-stage": ((12.6, 1.5), (29.3, 1.0), (72.9, 0.9), (44.4, 0.7)),
        },
        quoted=False,
    )
)

# Table 2: FID on CelebA cropped to 140 x 140, with the network and protocol of the WAE paper.
TABLE2_NETWORK = "wae"
TABLE2: Scores = MappingProxyType(
    {
        "vae": MappingProxyType({"celeba140": Published(63.0, None, quoted=True)}),
        "wae-mmd": MappingProxyType({"celeba140": Published(55.0, None, quoted=False)}),
        "wae-gan": MappingProxyType({"celeba140": Published(42.0, None, quoted=True)}),
        "two-stage": MappingProxyType({"celeba140": Published(34.0, None, quoted=False)}),
    }
)

# Scores the paper measured but whose values could not be had: no published column, and the reason.
KID_MISSING = (
    "The paper's KID values are known to this project only as an image of a table that could not "
    "be transcribed, so the published column is empty."
)
TABLE3_MISSING = (
    "The paper's values for Table 3 (MMD between N(0, I) and q(z), and between N(0, I) and q(u)) "
    "are not available to this project, so the published column is empty."
)

ABLATIONS = MappingProxyType(
    {
        "two-stage-joint": "2-Stage VAE, trained jointly (fused)",
        "two-stage-joint-merged": "2-Stage VAE, trained jointly (both penalties)",
    }
)


@dataclass(frozen=True)
class Variant:
    """A row that the paper does not have: its name, and the row that it is set beside."""

    name: str
    beside: str


# They never stand in the paper's tables. In the order of their own.
BEYOND: Mapping[str, Variant] = MappingProxyType(
    {
        "vae-learned-gamma-renormalised": Variant(
            "VAE (learned gamma), renormalised", "vae-learned-gamma"
        ),
        "vae-optimal-gamma": Variant("VAE (optimal gamma)", "vae-learned-gamma"),
        "vae-optimal-gamma-renormalised": Variant(
            "VAE (optimal gamma), renormalised", "vae-learned-gamma"
        ),
        "two-stage-renormalised": Variant("2-Stage VAE, renormalised", "two-stage"),
        "two-stage-optimal-gamma": Variant("2-Stage VAE (optimal gamma)", "two-stage"),
        "two-stage-optimal-gamma-renormalised": Variant(
            "2-Stage VAE (optimal gamma), renormalised", "two-stage"
        ),
    }
)
# Ablations of the second stage, all on one first stage; likewise.
SECOND_STAGE: Mapping[str, Variant] = MappingProxyType(
    {
        "two-stage-no-skip": Variant("2-Stage VAE, no skip connections", "two-stage"),
        "two-stage-fixed-z": Variant("2-Stage VAE, z drawn once", "two-stage"),
        "two-stage-pythae-like": Variant(
            "2-Stage VAE, no skip connections and z drawn once", "two-stage"
        ),
    }
)


def method_name(method: str) -> str:
    """Return a method's name in tables and figures, the paper's where it has one."""
    for variants in (BEYOND, SECOND_STAGE):
        if method in variants:
            return variants[method].name
    return ROWS[method].name if method in ROWS else ABLATIONS.get(method, method)


def published_fid(method: str, dataset: str, network: str, latent_dim: int) -> Published | None:
    """Return the FID that the paper prints for these settings, or None where it prints none.

    A run with another network or another number of latent dimensions has no published counterpart.
    """
    if network == TABLE1_NETWORK and latent_dim == TABLE1_LATENT_DIM:
        table = TABLE1
    elif network == TABLE2_NETWORK:
        table = TABLE2
    else:
        return None
    return table.get(method, {}).get(dataset)
