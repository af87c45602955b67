"""What both clients share: errors, drawing images, a grid of them as PNG, the command line."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np
from PIL import Image

MODEL = "two_stage_vae"
GENERATORS = {1: "generate_first_stage", 2: "generate"}  # by stage
NO_SIGNATURE = {"FAILED_PRECONDITION", "INVALID_ARGUMENT"}  # by gRPC, by REST; others have them too
NO_SERVER = (
    "Is a server running there? For a trial: python -m serving.loopback FOLDER, FOLDER being a "
    "run's saved_model; TensorFlow Serving: see docs/serving.md."
)
DTYPES = {"DT_UINT8": "uint8", "DT_FLOAT": "float32", "DT_INT32": "int32", "DT_INT64": "int64"}
GAP = 2  # pixels between images of a grid


class ServingError(Exception):
    """The server's refusal: ``code``, a gRPC status such as "INVALID_ARGUMENT", and its words."""

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def missing(error: ModuleNotFoundError, module: str) -> NoReturn:
    """Says in one line which package ``module`` (its ``__name__``) lacks, and where it comes from.

    Raises:
        SystemExit: with 2, the line printed, if the module is run as a command.
        ModuleNotFoundError: with that line, if it is imported.
    """
    package = (error.name or "").partition(".")[0]
    sentence = f"{package} is missing: pip install -r requirements-serving.txt"
    if module == "__main__":
        print(sentence, file=sys.stderr)
        raise SystemExit(2)
    raise ModuleNotFoundError(sentence, name=error.name) from error


def told(error: ServingError | OSError) -> str:
    """What went wrong and, where no server was reached, what to start."""
    if isinstance(error, OSError) or error.code == "UNAVAILABLE":
        return f"{error}. {NO_SERVER}"
    return str(error)


class Client(Protocol):
    """What :class:`serving.rest_client.RestClient` and the gRPC one can do."""

    def predict(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of one request by name; raises ServingError, or OSError without a server."""

    def signatures(self) -> dict[str, dict[str, dict[str, tuple[str, tuple[int, ...]]]]]:
        """signature -> "inputs" or "outputs" -> name -> (type such as "DT_UINT8", shape)."""


def generate(client: Client, n: int, seed: int = -1, stage: int = 2) -> np.ndarray:
    """``n`` samples of the model, uint8 ``(n, h, w, c)``; a negative seed draws fresh ones.

    Args:
        client: asks the server.
        n: from 1 to the model's limit.
        seed: of 64 bits.
        stage: 1 is for two-stage models alone: z ~ N(0, I) without the second stage.

    Raises:
        ServingError: if the server refuses; of a signature that the model lacks, naming those that
            it has.
        OSError: if no server answers.
    """
    signature = GENERATORS[stage]
    try:
        return client.predict(signature, n=np.int32(n), seed=np.int64(seed))["images"]
    except ServingError as error:
        if error.code not in NO_SIGNATURE or signature in (known := client.signatures()):
            raise
        raise ServingError(
            error.code, f"no such signature: {signature}; there are {', '.join(sorted(known))}"
        ) from None


def write_grid(images: np.ndarray, path, columns: int | None = None) -> Path:
    """Writes images, uint8 ``(n, h, w, 1 or 3)``, as one PNG, row by row on white."""
    n, h, w, _ = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    grid = np.full((rows * (h + GAP) + GAP, columns * (w + GAP) + GAP, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = GAP + i // columns * (h + GAP), GAP + i % columns * (w + GAP)
        grid[top : top + h, left : left + w] = image
    path = Path(path)
    Image.fromarray(grid).save(path, format="PNG")
    return path


def main(
    connect: Callable[[str, str], Client],
    address: str,
    description: str,
    arguments: Sequence[str] | None = None,
) -> int:
    """The command line of a client: draws images from a server and saves them as one picture."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--address", default=address, help="default %(default)s")
    parser.add_argument("--model", default=MODEL, help="its name there; default %(default)s")
    parser.add_argument("--n", type=int, default=64, help="images; default %(default)s")
    parser.add_argument("--seed", type=int, default=-1, help="negative (default): fresh images")
    parser.add_argument(
        "--stage", type=int, choices=(1, 2), default=2, help="1: two-stage models; default: 2"
    )
    parser.add_argument("--columns", type=int, help="images in a row; default: a square grid")
    parser.add_argument("--out", type=Path, default=Path("samples.png"), help="default %(default)s")
    options = parser.parse_args(arguments)
    if not -(2**31) <= options.n < 2**31 or not -(2**63) <= options.seed < 2**63:
        parser.error("--n has to fit 32 bits, --seed 64")
    if options.columns is not None and options.columns < 1:
        parser.error("--columns must be at least 1")
    try:
        client = connect(options.address, options.model)
        images = generate(client, options.n, options.seed, options.stage)
    except (ServingError, OSError) as error:
        print(f"{options.address} gave no images: {told(error)}", file=sys.stderr)
        return 2
    try:
        path = write_grid(images, options.out, options.columns)
    except OSError as error:
        print(f"{options.out} can't be written: {error.strerror or error}", file=sys.stderr)
        return 2
    print(f"{len(images)} images: {path}")
    return 0
