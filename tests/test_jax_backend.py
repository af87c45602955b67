"""The models on Keras's JAX backend: the same curves as on TensorFlow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import jax_worker

pytest.importorskip("jax")
ROOT = Path(__file__).parent.parent

METHODS = (  # one for each kind of objective; of the two-stage VAE the second stage
    *("vae-learned-gamma", "vae-flow", "wae-mmd"),
    *("two-stage", "two-stage-optimal-gamma"),
)


def on_both_backends(test):
    """Marks what waits for every method to be trained on TensorFlow and on JAX: minutes."""
    return pytest.mark.slow(pytest.mark.longest(test))


@pytest.fixture(scope="module")
def curves(tmp_path_factory):
    """By method: what fit and evaluate report on TensorFlow and on JAX, from the same weights."""
    folder = tmp_path_factory.mktemp("jax")
    on_tensorflow = {}
    for method in METHODS:
        model = jax_worker.build(method)
        np.savez(folder / f"weights-{method}.npz", *model.get_weights())
        on_tensorflow[method] = jax_worker.history(model, jax_worker.observed(method))
    subprocess.run(
        [sys.executable, "-m", "tests.jax_worker", str(folder)],
        cwd=ROOT,
        env={**os.environ, **jax_worker.QUICKLY_COMPILED},
        check=True,
        capture_output=True,
    )
    found = {
        method: (on_tensorflow[method], json.loads((folder / f"loss-{method}.json").read_text()))
        for method in METHODS
    }
    return found | {"stacked": json.loads((folder / "stacked.json").read_text())}


@on_both_backends
@pytest.mark.parametrize("method", METHODS)
def test_curves_agree(curves, method):
    on_tensorflow, on_jax = curves[method]
    assert on_jax["backend"] == "jax"
    assert set(on_jax["train"]) == set(on_tensorflow["train"])
    # Adam takes the rounding errors in the gradients of biases before batch normalisation, which
    # ought to be zero, for directions. In training the normalisation takes that out again; in
    # evaluation the averages lag behind: TensorFlow's own two kernels differ by 0.25% in the KL.
    for part, rtol, atol in (("train", 5e-4, 1e-5), ("test", 1e-2, 5e-3)):
        for name, expected in on_tensorflow[part].items():
            np.testing.assert_allclose(
                on_jax[part][name], expected, rtol=rtol, atol=atol, err_msg=f"{part} {name}"
            )


@on_both_backends
def test_curves_move(curves):
    """Equal curves would say little if nothing were trained."""
    for on_tensorflow, _ in map(curves.get, METHODS):
        reconstruction = on_tensorflow["train"]["reconstruction"]
        assert reconstruction[-1] < reconstruction[0]


@on_both_backends
def test_jax_does_without_tensorflow(curves):
    assert not any(curves[method][1]["tensorflow_imported"] for method in METHODS)


@on_both_backends
def test_several_steps_in_one_call_are_the_same_steps(curves):
    apart, moved = curves["stacked"]
    assert apart < 1e-6 < 1e-3 < moved


def test_export_says_that_it_needs_tensorflow(monkeypatch, tmp_path):
    from models.export import export_saved_model

    model = jax_worker.models.build("two-stage", (8, 8, 1), latent_dim=3)
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with pytest.raises(ValueError, match="needs Keras's TensorFlow backend"):
        export_saved_model(model, tmp_path)


def test_command_says_that_it_needs_tensorflow(monkeypatch, capsys):
    import reproduce_paper

    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert reproduce_paper.main(["--all", "--preset", "quick"]) == 2
    assert "KERAS_BACKEND is 'jax'" in capsys.readouterr().err
