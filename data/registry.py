"""The data sets: names, shapes, counts, sources, checksums and licences, as data."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.errors import UserError

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Remote:
    """One published file: where it is, what it must be, and which local files stand in for it."""

    name: str
    size: int  # bytes
    sha256: str
    urls: tuple[str, ...] = ()
    drive_id: str | None = None  # Google Drive, fetched by gdown
    split: str | None = None  # the split that needs it; None: both
    content_md5: str | None = None  # of the uncompressed content, where that is published
    alternatives: tuple[str, ...] = ()  # relative paths that hold the same images

    @property
    def names(self) -> tuple[str, ...]:
        """Relative paths to look for, best first."""
        return (self.name, *self.alternatives)

    @property
    def origin(self) -> str:
        """Where a person finds the file."""
        if self.urls:
            return " or ".join(self.urls)
        return f"https://drive.google.com/uc?id={self.drive_id}"


@dataclass(frozen=True)
class Crop:
    """Rows and columns kept of an aligned CelebA photograph, before it is resized."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class Spec:
    """One data set. ``bundled`` ones need neither network nor files."""

    name: str
    title: str
    kind: str  # "idx", "cifar", "celeba" or "drawn"
    image_shape: tuple[int, int, int]  # h, w, c
    n_train: int
    n_test: int
    licence: str
    homepage: str
    folder: str  # its folder's name below the data folder
    remotes: tuple[Remote, ...] = ()
    crop: Crop | None = None
    bundled: bool = False

    def count(self, split: str) -> int:
        """Published number of images in a split."""
        return self.n_train if split == "train" else self.n_test


MNIST_MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
# The first is the authors' own address and has no https; the checksums make up for that.
FASHION_MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)


def _idx_remotes(mirrors: tuple[str, ...], train: tuple, test: tuple) -> tuple[Remote, ...]:
    """The two image files of a data set in MNIST's format; each tuple: size, sha256, md5."""
    return tuple(
        Remote(
            name=f"{stem}.gz",
            size=size,
            sha256=sha256,
            urls=tuple(f"{mirror}{stem}.gz" for mirror in mirrors),
            split=split,
            content_md5=md5,
            alternatives=(stem,),
        )
        for split, stem, (size, sha256, md5) in (
            ("train", "train-images-idx3-ubyte", train),
            ("test", "t10k-images-idx3-ubyte", test),
        )
    )


CIFAR_REMOTES = (
    Remote(
        name="cifar-10-binary.tar.gz",
        size=170_052_171,
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        urls=("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
        alternatives=(
            "cifar-10-batches-bin",
            "cifar-10-batches-py",
            "cifar-10-python.tar.gz",
            # the data folder may itself be one of those two folders
            "data_batch_1.bin",
            "test_batch.bin",
            "data_batch_1",
            "test_batch",
        ),
    ),
)

CELEBA_REMOTES = (
    Remote(
        name="img_align_celeba.zip",
        size=1_443_490_838,
        sha256="46fb89443c578308acf364d7d379fe1b9efb793042c0af734b6112e4fd3a8c74",
        drive_id="0B7EVK8r0v71pZjFTYXZWM3FlRnM",
        alternatives=("img_align_celeba", "Img/img_align_celeba", "Img/img_align_celeba.zip"),
    ),
    Remote(
        name="list_eval_partition.txt",
        size=2_836_386,
        sha256="fc955bcb3ef8fbdf7d5640d9a8693a8431b5f2ee291a5c1449a1549e7e073fe7",
        drive_id="0B7EVK8r0v71pY0NSMzRuSXJEVkk",
        alternatives=("Eval/list_eval_partition.txt",),
    ),
)

MNIST_LICENCE = "CC BY-SA 3.0 (Yann LeCun, Corinna Cortes, Christopher J. C. Burges)"
FASHION_LICENCE = "MIT (Zalando SE)"
MNIST_HOME = "http://yann.lecun.com/exdb/mnist/"
FASHION_HOME = "https://github.com/zalandoresearch/fashion-mnist"
CELEBA_HOME = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
CELEBA_LICENCE = "non-commercial research only; not to be redistributed (see the home page)"

_SPECS = (
    Spec(
        name="mnist",
        title="MNIST",
        kind="idx",
        image_shape=(28, 28, 1),
        n_train=60_000,
        n_test=10_000,
        licence=MNIST_LICENCE,
        homepage=MNIST_HOME,
        folder="mnist",
        remotes=_idx_remotes(
            MNIST_MIRRORS,
            train=(
                9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "6bbc9ace898e44ae57da46a324031adb",
            ),
            test=(
                1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "2646ac647ad5339dbf082846283269ea",
            ),
        ),
    ),
    Spec(
        name="fashion_mnist",
        title="Fashion-MNIST",
        kind="idx",
        image_shape=(28, 28, 1),
        n_train=60_000,
        n_test=10_000,
        licence=FASHION_LICENCE,
        homepage=FASHION_HOME,
        folder="fashion_mnist",
        remotes=_idx_remotes(
            FASHION_MIRRORS,
            train=(
                26_421_880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            ),
            test=(
                4_422_102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "8181f5470baa50b63fa0f6fddb340f0a",
            ),
        ),
    ),
    Spec(
        name="cifar10",
        title="CIFAR-10",
        kind="cifar",
        image_shape=(32, 32, 3),
        n_train=50_000,
        n_test=10_000,
        licence="none stated by its authors (Krizhevsky 2009); not redistributed here",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        folder="cifar10",
        remotes=CIFAR_REMOTES,
    ),
    Spec(
        name="celeba",
        title="CelebA",
        kind="celeba",
        image_shape=(64, 64, 3),
        n_train=162_770,
        n_test=19_962,
        licence=CELEBA_LICENCE,
        homepage=CELEBA_HOME,
        folder="celeba",
        remotes=CELEBA_REMOTES,
        crop=Crop(45, 173, 25, 153),  # 128 x 128, Table 1
    ),
    Spec(
        name="celeba140",
        title="CelebA (140 x 140 crop)",
        kind="celeba",
        image_shape=(64, 64, 3),
        n_train=162_770,
        n_test=19_962,
        licence=CELEBA_LICENCE,
        homepage=CELEBA_HOME,
        folder="celeba",
        remotes=CELEBA_REMOTES,
        crop=Crop(39, 179, 19, 159),  # 140 x 140, Table 2
    ),
    Spec(
        name="mnist-sample",
        title="MNIST, 3,000 images",
        kind="idx",
        image_shape=(28, 28, 1),
        n_train=2_000,
        n_test=1_000,
        licence=MNIST_LICENCE,
        homepage=MNIST_HOME,
        folder="mnist",
        bundled=True,
    ),
    Spec(
        name="fashion_mnist-sample",
        title="Fashion-MNIST, 3,000 images",
        kind="idx",
        image_shape=(28, 28, 1),
        n_train=2_000,
        n_test=1_000,
        licence=FASHION_LICENCE,
        homepage=FASHION_HOME,
        folder="fashion_mnist",
        bundled=True,
    ),
    Spec(
        name="cifar10-standin",
        title="drawn objects in CIFAR-10's place",
        kind="drawn",
        image_shape=(32, 32, 3),
        n_train=2_000,
        n_test=1_000,
        licence="Apache-2.0, drawn by this project's code",
        homepage="",
        folder="",
        bundled=True,
    ),
    Spec(
        name="celeba-standin",
        title="drawn faces in CelebA's place",
        kind="drawn",
        image_shape=(64, 64, 3),
        n_train=1_000,
        n_test=1_000,
        licence="Apache-2.0, drawn by this project's code",
        homepage="",
        folder="",
        bundled=True,
    ),
)

SPECS: dict[str, Spec] = {entry.name: entry for entry in _SPECS}
IMAGE_SHAPES: dict[str, tuple[int, int, int]] = {e.name: e.image_shape for e in _SPECS}


def spec(name: str) -> Spec:
    """The data set called ``name``. Raises UserError for any other name."""
    try:
        return SPECS[name]
    except (KeyError, TypeError):
        raise UserError(
            f"unknown data set {name!r}; the known ones are {', '.join(SPECS)}"
        ) from None


def check_split(split: str) -> str:
    """``split`` itself. Raises UserError unless it is "train" or "test"."""
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}; the known ones are {', '.join(SPLITS)}")
    return split
