"""Every method's SavedModel does what the model does."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import models
from models import vector
from models.export import export_saved_model

pytestmark = pytest.mark.usefixtures("narrow_second_stage")

SHAPE = (8, 8, 1)
KAPPA = 4
# Of the three that are the same class one: neither likelihood nor gamma enters what is served.
SINGLE = [
    *("vae-learned-gamma", "vae-flow", "wae-mmd"),
    *("two-stage-joint", "two-stage-joint-merged"),
]


def built(method):
    """An untrained model whose images differ: its weights are larger than at the start."""
    model = models.build(method, SHAPE, latent_dim=KAPPA)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        noise = rng.normal(size=variable.shape, scale=0.1).astype("float32")
        variable.assign(variable.numpy() + noise)
    return model


def levels(x_hat):
    return np.rint(x_hat * 255.0)


@pytest.mark.parametrize("method", SINGLE)
def test_signatures_do_what_the_model_does(tmp_path, method):
    model = built(method)
    model.export(tmp_path / "1")
    served = tf.saved_model.load(str(tmp_path / "1")).signatures
    images = np.random.default_rng(1).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
    z = np.random.default_rng(2).normal(size=(5, KAPPA)).astype("float32")

    seed = tf.constant(7, tf.int64)
    for name in ("generate", "serving_default"):
        made = served[name](n=tf.constant(5), seed=seed)["images"].numpy()
        assert made.dtype == np.uint8
        np.testing.assert_allclose(made, levels(model.sample(5, seed=7)), atol=1)
    assert np.ptp(made, axis=0).max() > 3  # the samples do differ

    decoded = served["decode"](z=tf.constant(z))["images"].numpy()
    np.testing.assert_allclose(decoded, levels(model.decode(z)), atol=1)

    encoded = served["encode"](images=tf.constant(images))
    mu_z, sd_z = model.encode(images)
    np.testing.assert_allclose(encoded["mu_z"], mu_z, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(encoded["sd_z"], sd_z, rtol=1e-4, atol=1e-5)

    rebuilt = served["reconstruct"](images=tf.constant(images))["images"].numpy()
    if method == "vae-flow":
        mu, _, parameters = model.encoder(model.scale(images), training=False)
        mu_z = models.baselines.flow.planar_flows(mu, parameters)[0].numpy()
    np.testing.assert_allclose(rebuilt, levels(model.decode(mu_z)), atol=1)


def test_bad_requests_get_a_sentence(tmp_path):
    export_saved_model(built("vae-learned-gamma"), tmp_path / "1", max_images=3)
    served = tf.saved_model.load(str(tmp_path / "1")).signatures
    with pytest.raises(tf.errors.InvalidArgumentError, match="n must be from 1 to 3"):
        served["generate"](n=tf.constant(4), seed=tf.constant(0, tf.int64))
    with pytest.raises(tf.errors.InvalidArgumentError, match="z must be finite"):
        served["decode"](z=tf.fill((1, KAPPA), float("nan")))
    with pytest.raises(ValueError, match="max_images must be at least 1"):
        export_saved_model(built("vae-learned-gamma"), tmp_path / "2", max_images=0)


def test_models_that_are_not_of_images_are_refused(tmp_path):
    model = models.build("two-stage", SHAPE, latent_dim=KAPPA)
    for other in (model.second, vector.build(5, 2)):
        with pytest.raises(ValueError, match="export a model of images"):
            other.export(tmp_path / "1")
    assert not list(tmp_path.iterdir())
