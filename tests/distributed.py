"""What tests/test_distribution.py starts: small trainings on one device, on two, on two workers.

python tests/distributed.py local OUT     on one device, then on two of this process
python tests/distributed.py worker OUT    as one of the workers of TF_CONFIG
python tests/distributed.py command OUT   reproduce_paper.py as one of them
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np
import tensorflow as tf

from experiments import presets
from models.layers import BatchNormalization
from tests import small
from training import distribution
from training import train as training

# Adam takes the rounding errors in the gradients of biases before batch normalisation, which ought
# to be zero, for directions, and the normalisation's averages lag behind what that does to them.
# At the paper's learning rate, a tenth of the preset's, that stays small.
SETTINGS = presets.resolve("quick", "mnist").replace(
    image_shape=(8, 8, 1),
    latent_dim=4,
    epochs=3,
    second_epochs=2,
    batch_size=16,
    gamma_speed=10.0,
    learning_rate=1e-4,
)

# On one device batch normalisation is a fused kernel that rounds otherwise, a difference that Adam
# makes larger at every step: it is left out, so that what is left is the devices' doing.
BatchNormalization._can_be_fused = lambda self, inputs: False


class InterruptFirst(training.PixelError):
    """Ctrl-C within the second epoch, the first time that this process comes there."""

    done = False

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == (1, 2) and not InterruptFirst.done:
            InterruptFirst.done = True
            raise KeyboardInterrupt


def some_images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), dtype=np.uint8)


def run(folder: Path, strategy=None) -> None:
    """Trains both stages into ``folder``; what they give for fixed noise goes to results.npz."""
    images = some_images()
    model = training.train(
        SETTINGS, images, folder, held_out=images[:8], checkpoint_seconds=0, strategy=strategy
    )
    if distribution.is_chief(strategy):
        np.savez(
            folder / "results.npz",
            samples=model.sample(8, seed=1),
            means=model.encode(images)[0],
            first=model.first.gamma,
            second=model.second.gamma,
        )


def run_twice(folder: Path, strategy) -> None:
    """Starts a run, interrupts it, and starts it again."""
    pixel_error, training.PixelError = training.PixelError, InterruptFirst
    try:
        run(folder, strategy)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    training.PixelError = pixel_error
    run(folder, strategy)


def descend(folder: Path, strategy=None) -> None:
    """An epoch of plain gradient descent, whose steps know how long gradients are: Adam's don't."""
    adam, training.adam = training.adam, lambda rate: keras.optimizers.SGD(1e-5)
    training.train(
        SETTINGS.replace(epochs=1), some_images(), folder, second=False, strategy=strategy
    )
    training.adam = adam


def command(out: Path) -> int:
    """The command itself, on small images and a short schedule."""
    import reproduce_paper

    small.shorten_command()
    arguments = "--preset quick --datasets mnist --epochs 2 --second-epochs 1 --images 32"
    where = ["--distribute", "multi-worker", "--out", str(out)]
    return reproduce_paper.main([*arguments.split(), *where])


def main(mode: str, out: Path) -> None:
    if mode == "command":
        sys.exit(command(out))
    small.narrow_second_stage(width=32)
    if mode == "worker":
        strategy = distribution.strategy_of("multi-worker")
        run_twice(out / "workers", strategy)
        distribution.wait_for_all(strategy)
        return
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    run(out / "single")
    descend(out / "descent-single")
    strategy = distribution.strategy_of("mirrored")
    assert strategy.num_replicas_in_sync == 2
    descend(out / "descent-mirrored", strategy)
    run_twice(out / "mirrored", strategy)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
