"""Environment variables: the user's cache folder, and what TensorFlow and NumPy read at import."""

from __future__ import annotations

import os
from pathlib import Path

from experiments.errors import UserError

CACHE_VARIABLE = "TWO_STAGE_VAE_CACHE"
INCEPTION_VARIABLE = "TWO_STAGE_VAE_INCEPTION"  # the folder of a local scoring network
HUB_CACHE_VARIABLE = "TFHUB_CACHE_DIR"
TF32_VARIABLE = "NVIDIA_TF32_OVERRIDE"
# The notebooks run with these too, and the models' tests pass (Python 3.12); requirements.txt has
# what everything is tested with.
OLDEST = {"tensorflow": "2.19", "keras": "3.10", "numpy": "2.0"}
DEFAULTS = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "KERAS_BACKEND": "tensorflow",
    # NumPy's threads spin while they wait: beside TensorFlow's they cost six times what they save.
    "OPENBLAS_NUM_THREADS": "1",
    # TensorFlow turns oneDNN on by itself only on processors with AVX-512 VNNI or the like. Its
    # products are the faster ones elsewhere too, see docs/performance.md.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # NVIDIA's libraries multiply float32 matrices as TF32 on recent GPUs; the authors' did not.
    TF32_VARIABLE: "0",
}


def missing() -> dict[str, str]:
    """Those of ``DEFAULTS`` that the user has not set, to be set before TensorFlow is imported."""
    return {name: value for name, value in DEFAULTS.items() if name not in os.environ}


def check_folders(**named: str | list[str] | None) -> None:
    """Refuses options that name a folder by nothing, as a shell's variable does that is not set.

    Raises:
        UserError: naming the option.
    """
    for name, value in named.items():
        if "" in (value if isinstance(value, list) else [value]):
            raise UserError(
                f"--{name.replace('_', '-')} needs a folder, got '': leave it out, or check the "
                "variable it is made of."
            )


def user_path(path: str | os.PathLike) -> Path:
    """A path that the user has named, with ``~`` and ``~name`` resolved.

    Raises:
        UserError: if there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path} can't be resolved ({error}): write the folder out.") from error


def cache_dir() -> Path:
    """The cache folder: ``$TWO_STAGE_VAE_CACHE`` if set, else the user's (it may not exist yet)."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return user_path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("two-stage-vae"))
