"""Draw the small samples of MNIST and Fashion-MNIST that the quick run uses.

    python data/samples/make_samples.py FOLDER

FOLDER holds ``mnist/`` and ``fashion_mnist/`` with the official image and label files. From each
class 200 training and 100 test images are drawn at random; they keep the order they had. The images
are always the same; the compressed bytes may differ with the version of zlib.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from data import idx, registry  # noqa: E402
from experiments.errors import UserError  # noqa: E402

SEED = 1903
CLASSES = 10


def draw(labels: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of ``n`` examples, equally many of each class, ascending: int64 (n,)."""
    chosen = [
        rng.choice(np.flatnonzero(labels == label), n // CLASSES, replace=False)
        for label in range(CLASSES)
    ]
    return np.sort(np.concatenate(chosen))


def main(folder: Path) -> None:
    """Write both samples beside this file."""
    for name in ("mnist", "fashion_mnist"):
        whole, sample = registry.spec(name), registry.spec(f"{name}-sample")
        rng = np.random.default_rng(SEED)
        for remote in whole.remotes:
            n = whole.count(remote.split)
            source = folder / name / remote.name
            images = idx.read(source, (n, 28, 28), remote.content_md5)
            labels = idx.read(Path(str(source).replace("images-idx3", "labels-idx1")), (n,))
            chosen = draw(labels, sample.count(remote.split), rng)
            target = HERE / name / remote.name
            idx.write(target, images[chosen])
            print(f"{target}: {len(chosen)} images, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        main(Path(sys.argv[1]))
    except UserError as error:
        sys.exit(f"error: {error}")
