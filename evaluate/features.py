"""Images -> features: Inception's pool_3, or a seeded random network where no Inception is at hand.

Only pool_3 of TF-GAN's own network is called ``inception-2015-12-05``. A local SavedModel has
another name, which stands beside its scores in every table; scores of random features are never
called FID or KID.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evaluate import tfgan
from evaluate.protocols import resize_tf1, to_rgb
from experiments.environment import INCEPTION_VARIABLE, user_path
from experiments.errors import UserError
from experiments.paper import OFFICIAL_FEATURES

if TYPE_CHECKING:
    import tensorflow as tf

    Network = Callable[[tf.Tensor], tf.Tensor]

RANDOM_NAME = "random-conv"
INCEPTION_OUTPUT = "pool_3"
INCEPTION_DIM = 2048
WHERE_TO_GET_IT = (
    "name an unpacked copy of TF-GAN's network (tfhub.dev/tensorflow/tfgan/eval/inception/1) with "
    "--inception DIR, or leave the option out to have it downloaded"
)

# (kernel size, stride, output channels) of the random network's layers.
RANDOM_LAYERS = ((4, 2, 32), (4, 2, 64), (4, 2, 128))


class Extractor:
    """A network that turns images into feature vectors.

    Attributes:
        name: of the features, as in results.json.
        note: a caveat that goes under every table of its scores, or None.
        fingerprint: hexadecimal SHA-256 of the weights.
        dim: features per image.
        is_inception: True if its Frechet and kernel distances may be called FID and KID.
    """

    def __init__(
        self,
        network: Network,
        *,
        name: str,
        fingerprint: str,
        dim: int,
        is_inception: bool,
        note: str | None = None,
    ) -> None:
        """Wrap ``network``: float32 (n, h, w, 3) in [0, 255] -> float32 (n, dim)."""
        import tensorflow as tf

        self.name = name
        self.note = note
        self.fingerprint = fingerprint
        self.dim = dim
        self.is_inception = is_inception
        images = tf.TensorSpec((None, None, None, 3), tf.float32)
        self._network = tf.function(network, input_signature=[images], autograph=False)

    def __call__(
        self,
        images: np.ndarray,
        batch_size: int = 32,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Return the features of ``images``, float32 (n, dim).

        Args:
            images: (n, h, w, 1 or 3), uint8 or floats, values in [0, 255].
            batch_size: images sent through the network at a time.
            progress: called as ``progress(done, total)`` after each batch.

        Raises:
            ValueError: another shape or range, or floats that were not scaled to [0, 255].
        """
        features = np.empty((len(images), self.dim), np.float32)
        done = 0
        for batch in self.batches(images, batch_size):
            features[done : done + len(batch)] = batch
            done += len(batch)
            if progress is not None:
                progress(done, len(images))
        return features

    def batches(self, images: np.ndarray, batch_size: int = 32) -> Iterator[np.ndarray]:
        """Yield the features of ``images``, float32 (batch_size, dim) at a time.

        For ``evaluate.streamed_statistics``, where not even the features need be kept. Arguments
        and errors as for the call.
        """
        _check_images(images)
        if batch_size < 1:
            raise ValueError(f"expected a batch_size of at least 1, got {batch_size}")
        for start in range(0, len(images), batch_size):
            batch = to_rgb(images[start : start + batch_size]).astype(np.float32)
            yield self._network(batch).numpy()


def inception_features(
    images: np.ndarray,
    inception: Extractor | str | Path | None = None,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return Inception's pool_3 features of ``images``, float32 (n, 2048).

    ``inception`` is an extractor, or what ``load_inception`` takes; the other arguments are those
    of ``Extractor.__call__``. To score several sets, load the extractor once and call it.
    """
    if not isinstance(inception, Extractor):
        inception = load_inception(inception)
    return inception(images, batch_size=batch_size, progress=progress)


def load_inception(path: str | Path | None = None) -> Extractor:
    """Load the Inception network.

    Args:
        path: the folder of a local SavedModel with an output ``pool_3`` that takes images
            (n, 299, 299, 3) in [-1, 1]; None means the folder in the environment variable
            ``TWO_STAGE_VAE_INCEPTION`` or, where that is not set, TF-GAN's own network from
            TensorFlow Hub (downloaded once). A ``features.json`` inside the local folder or
            beside it names its features: ``{"features": NAME, "note": CAVEAT or null}``.

    Raises:
        UserError: not a SavedModel, no ``pool_3`` of 2,048 features, a faulty ``features.json``,
            no network for the download, or no TF-GAN, by whose functions scores are checked.
    """
    tfgan.modules()  # before days of training, not after
    path = path or os.environ.get(INCEPTION_VARIABLE) or None
    if path is None:
        network, folder = tfgan.inception()
        name, note = OFFICIAL_FEATURES, None
        fingerprint = _fingerprint(folder)
    else:
        folder = user_path(path)
        network = _load_saved_model(folder)
        fingerprint = _fingerprint(folder)
        name, note = _local_name(folder, fingerprint)

    def pool_3(images: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        output = network(resize_tf1(images))
        return tf.reshape(output, (tf.shape(images)[0], -1))  # (n, 1, 1, d) -> (n, d)

    extractor = Extractor(
        pool_3,
        name=name,
        note=note,
        fingerprint=fingerprint,
        dim=INCEPTION_DIM,
        is_inception=True,
    )
    _try_out(extractor, folder)
    return extractor


def random_network(seed: int = 0) -> Extractor:
    """Return a small convolutional network with fixed random weights, for smoke scores only.

    Three strided convolutions with ReLU; the features are each layer's channel means over the
    image, 224 in all. Any h, w >= 16. Weights are uniform with He's variance, 2 / fan-in, and come
    from the raw stream of PCG64, which NumPy keeps the same in every version.
    """
    import tensorflow as tf

    bits = np.random.PCG64(seed)
    kernels, digest, channels = [], hashlib.sha256(), 3
    for size, _, width in RANDOM_LAYERS:
        shape = (size, size, channels, width)
        uniform = (bits.random_raw(int(np.prod(shape))) >> 11) * 2.0**-53  # in [0, 1)
        bound = np.sqrt(6.0 / (size * size * channels))  # variance bound^2 / 3
        kernel = ((2.0 * uniform - 1.0) * bound).reshape(shape).astype(np.float32)
        digest.update(kernel.astype("<f4").tobytes())
        kernels.append(kernel)
        channels = width

    def network(images: tf.Tensor) -> tf.Tensor:
        x = images / 127.5 - 1.0
        means = []
        for kernel, (_, stride, _) in zip(kernels, RANDOM_LAYERS, strict=True):
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, stride, "SAME"))
            means.append(tf.reduce_mean(x, (1, 2)))
        return tf.concat(means, -1)  # (n, 32 + 64 + 128)

    return Extractor(
        network,
        name=RANDOM_NAME,
        note="features of a random network: scores show that the program runs, nothing else",
        fingerprint=digest.hexdigest(),
        dim=sum(width for _, _, width in RANDOM_LAYERS),
        is_inception=False,
    )


def _check_images(images: np.ndarray) -> None:
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not images.size:
        raise ValueError(f"expected images (n, h, w, 1 or 3), got shape {images.shape}")
    if images.dtype == np.uint8:
        return
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"expected uint8 or float images, got {images.dtype}")
    low, high = images.min(), images.max()
    if not (low >= 0.0 and high <= 255.0):  # Written so that NaN fails.
        raise ValueError(f"expected values in [0, 255], got {low} to {high}")
    if 0.0 < high <= 1.0:
        raise ValueError(
            f"expected values in [0, 255], got {low} to {high}: scale the images with "
            "evaluate.as_scored first"
        )


def _load_saved_model(folder: Path) -> Network:
    """Return the function images -> pool_3 of a SavedModel, whichever way it was exported."""
    import tensorflow as tf

    if not (folder / "saved_model.pb").is_file():
        found = "it has no saved_model.pb" if folder.is_dir() else "there is no such folder"
        raise UserError(f"{folder} is not a SavedModel ({found}); {WHERE_TO_GET_IT}")
    # A module in TensorFlow 1's Hub format holds several graphs; the one for inference has no tag.
    tags = [] if (folder / "tfhub_module.pb").exists() else None
    try:
        module = tf.saved_model.load(str(folder), tags=tags)
    except Exception as error:  # Damaged files raise whatever the reader stumbles over.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{folder} could not be read as a SavedModel ({reason}); {WHERE_TO_GET_IT}"
        ) from error

    if callable(module):
        return lambda images: _output(folder, module(images))
    signatures = module.signatures
    for signature in signatures.values():
        arguments = list(signature.structured_input_signature[1])
        if INCEPTION_OUTPUT in signature.structured_outputs and len(arguments) == 1:
            # The default keeps the module, which owns the variables, from being freed.
            return lambda images, signature=signature, owner=module: signature(
                **{arguments[0]: images}
            )[INCEPTION_OUTPUT]
    outputs = sorted({name for one in signatures.values() for name in one.structured_outputs})
    raise UserError(_without_pool_3(folder, f"its outputs: {', '.join(outputs) or 'none'}"))


def _output(folder: Path, outputs: object) -> tf.Tensor:
    if not isinstance(outputs, Mapping):
        raise UserError(_without_pool_3(folder, "its one output has no name"))
    if INCEPTION_OUTPUT not in outputs:
        raise UserError(_without_pool_3(folder, f"its outputs: {', '.join(sorted(outputs))}"))
    return outputs[INCEPTION_OUTPUT]


def _try_out(extractor: Extractor, folder: Path) -> None:
    """Run one black image, so that a network that does not fit fails here and not after hours."""
    image = np.zeros((1, 32, 32, 3), np.float32)
    try:
        shape = tuple(extractor._network(image).shape)
    except UserError:
        raise
    except Exception as error:  # Whatever a foreign network raises on the image it should take.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise UserError(_without_pool_3(folder, f"{type(error).__name__}: {reason}")) from error
    if shape != (1, INCEPTION_DIM):
        raise UserError(_without_pool_3(folder, f"one image gave features of shape {shape}"))


def _without_pool_3(folder: Path, found: str) -> str:
    return (
        f"{folder}: expected a network that takes images (n, 299, 299, 3) and has an output "
        f"{INCEPTION_OUTPUT!r} of {INCEPTION_DIM} features ({found}); {WHERE_TO_GET_IT}"
    )


def _fingerprint(folder: Path) -> str:
    """Return the SHA-256 of a SavedModel's graph and weights."""
    digest = hashlib.sha256()
    for file in [folder / "saved_model.pb", *sorted((folder / "variables").glob("variables.*"))]:
        with file.open("rb") as stream:
            digest.update(f"{file.name} {file.stat().st_size}\n".encode())
            while piece := stream.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def _local_name(folder: Path, fingerprint: str) -> tuple[str, str | None]:
    """Return the name and the note in ``features.json``, or a name made of the fingerprint."""
    folder = folder.resolve()
    for file in (folder / "features.json", folder.parent / "features.json"):
        if not file.is_file():
            continue
        try:
            about = json.loads(file.read_text(encoding="utf-8"))
            name, note = about["features"], about.get("note")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f'{file}: expected {{"features": NAME, "note": CAVEAT or null}} '
                f"({type(error).__name__}: {error}); correct or remove it"
            ) from error
        if not (isinstance(name, str) and name and isinstance(note, str | None)):
            raise UserError(f"{file}: expected a name and a note in text, got {name!r}, {note!r}")
        if name in (OFFICIAL_FEATURES, RANDOM_NAME):
            raise UserError(
                f"{file}: the name {name!r} is kept for another network; give this one its own"
            )
        return name, note
    return f"inception-local-{fingerprint[:8]}", None
