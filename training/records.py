"""The records of results.json: who was scored, on what, how, and with which versions."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from experiments.environment import TF32_VARIABLE
from experiments.files import damaged, read_json
from experiments.paper import SCORED_IMAGES
from experiments.presets import DATASETS, ROW_ORDER
from experiments.settings import GAMMAS, RunSettings
from training.layout import RECORDS_FILE, SETTINGS_FILE

PACKAGES = ("tensorflow", "keras", "tensorflow-gan", "numpy")
NEEDED = {"dataset", "method", "trial", "protocol", "n_fake", "status"}  # fields of any record
SETTINGS_NEEDED = {"dataset", "model", "trial"}
PROJECT_VERSION = "0.2.0"


def versions() -> dict[str, str]:
    """Versions of Python, of the packages that make the numbers, and of this project."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return {**found, "two-stage-vae": PROJECT_VERSION}


def machine() -> str:
    """The machine in a few words."""
    import tensorflow as tf

    parts = [f"{os.cpu_count()} CPU cores", platform.machine(), sys.platform]
    gpus = tf.config.list_physical_devices("GPU")
    for device in gpus:
        details = tf.config.experimental.get_device_details(device)
        parts.append(details.get("device_name", "GPU"))
    if in_tf32():
        parts.append("TF32")
    return ", ".join(parts)


def in_tf32() -> bool:
    """Whether a GPU may round the factors of float32 products to TF32."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU")) and os.environ.get(TF32_VARIABLE) != "0"


def place() -> dict:
    """Backend, device and versions, as :func:`training.elsewhere.keep_place` keeps them."""
    return {"backend": "tensorflow", "device": machine(), **versions()}


def is_smoke(settings: RunSettings, is_inception: bool, n_real: int) -> bool:
    """Whether the scores can't be compared with the paper's, whatever the schedule.

    They can if real data of full size were scored: 10,000 images on either side, by Inception.
    """
    enough = min(settings.n_fake, n_real) >= SCORED_IMAGES
    return settings.preset == "quick" or not is_inception or not enough


def stored_records(folder: Path) -> list[dict]:
    """The records in a run's folder, [] where there are none.

    Raises:
        UserError: if they are damaged.
    """
    path = Path(folder) / RECORDS_FILE
    found = read_json(path, list) or []
    for record in found:
        if not (isinstance(record, dict) and record.keys() >= NEEDED):
            raise damaged(path, f"no list of records with {', '.join(sorted(NEEDED))}")
        dataset, method = record["dataset"], record["method"]
        if str(dataset).removesuffix("-standin") not in DATASETS or method not in ROW_ORDER:
            raise damaged(path, f"of {method!r} on {dataset!r}, which this version does not know")
    return found


def stored_settings(folder: Path) -> dict | None:
    """The settings in a run's folder, None where there are none.

    Raises:
        UserError: if they are damaged.
    """
    path = Path(folder) / SETTINGS_FILE
    found = read_json(path, dict)
    if found is not None and not found.keys() >= SETTINGS_NEEDED:
        raise damaged(path, f"no settings with {', '.join(sorted(SETTINGS_NEEDED))}")
    return found


def base_record(settings: RunSettings, method: str, protocol: str) -> dict:
    """The part of a record that is known before anything is run."""
    return {
        "dataset": settings.dataset,
        "method": method,
        "network": settings.network,
        "latent_dim": settings.latent_dim,
        "preset": settings.preset,
        "schedule": settings.schedule,
        "trial": settings.trial,
        "seed": settings.seed,
        "protocol": protocol,
        "epochs": settings.epochs,
        "second_epochs": settings.second_epochs if settings.second_stage(method) else 0,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "gamma": settings.gamma,
        "gamma_speed": settings.gamma_speed,
        "jpeg": settings.jpeg,
    }


def run_row(settings: dict, second: bool = True) -> str:
    """The last row of the tables that a run gives.

    Args:
        settings: as in its settings.json.
        second: whether its second stage, if it has one, is among what was scored.
    """
    gamma = settings.get("gamma", "learned")
    return GAMMAS[gamma][int(second)] if settings["model"] == "two-stage" else settings["model"]
