"""Names of the files in an output folder and in a run's folder."""

from pathlib import Path

RESULTS_FILE = "results.json"
COMMAND_FILE = "command.txt"  # what a shard's whole plan was started with

SETTINGS_FILE = "settings.json"
IMAGES_FILE = "images.json"  # checksums of the images that the run is trained and scored on
TRAINED_ON_FILE = "trained_on.json"  # where another backend has trained the run
MODEL_FOLDER = "model"
EXPORT_FOLDER = "saved_model"
RECORDS_FILE = "records.json"
FIGURES_FILE = "figures.json"
FIGURES_FOLDER = "figures"
SAMPLES_FILE = "samples.npz"  # a few of each method, for the picture of all methods
LOCK_FILE = ".lock"  # of the process that is at work in the folder


def model_file(folder: Path, stage: str) -> Path:
    """A finished stage in a run's folder; :class:`models.TwoStageVAE` saves under these names."""
    return Path(folder) / MODEL_FOLDER / f"{stage}.keras"


def checkpoints(folder: Path, stage: str) -> Path:
    """The checkpoints of a stage in training on TensorFlow."""
    return Path(folder) / f"checkpoints-{stage}"


def jax_state(stage: str) -> str:
    """The file that holds a stage in training on JAX."""
    return f"state-{stage}.npz"
