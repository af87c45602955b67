"""The adapter: TF-GAN's metrics import, agree with this project's, and leave no trace."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import numpy as np
import pytest
import tensorflow as tf

from evaluate import frechet_distance, kernel_distance, load_inception, tfgan
from experiments.errors import UserError


def draw(n, m, d, seed=0):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(d, d)) / np.sqrt(d)
    a, b = np.maximum(rng.normal(size=(n, d)) @ mix, 0), np.maximum(rng.normal(size=(m, d)), 0)
    return a.astype(np.float32), b.astype(np.float32)


def loaded():
    return {name: module for name, module in sys.modules.items() if "tensorflow_gan" in name}


@pytest.fixture
def fresh():
    """Have the next call import TF-GAN anew, and put ``sys.modules`` back afterwards."""
    before = loaded()
    tfgan.modules.cache_clear()
    yield
    for name in loaded():
        del sys.modules[name]
    sys.modules.update(before)
    tfgan.modules.cache_clear()


@pytest.mark.parametrize(("n", "m", "d"), [(300, 250, 24), (40, 30, 24), (12, 15, 40)])
def test_frechet_distances_agree(n, m, d):
    a, b = draw(n, m, d)
    assert tfgan.frechet_distance(a, b) == pytest.approx(frechet_distance(a, b), rel=1e-6)


def test_tf_gans_frechet_distance_has_float64_digits():
    a, b = draw(300, 250, 24)
    found = tfgan.frechet_distance(a, b)
    assert found == pytest.approx(frechet_distance(a, b), rel=1e-10)
    assert found != float(np.float32(found))


@pytest.mark.parametrize(
    ("n", "m", "block_size"), [(60, 60, 1000), (60, 60, 20), (47, 33, 10), (33, 50, 7)]
)
def test_kernel_distances_and_their_errors_agree(n, m, block_size):
    a, b = draw(n, m, 16)
    found = tfgan.kernel_distance(a, b, block_size)
    expected = kernel_distance(a, b, block_size)
    assert found == pytest.approx(expected, rel=1e-9, nan_ok=True)


def test_features_that_do_not_fit_are_refused_before_tf_gan_sees_them():
    with pytest.raises(ValueError, match="3 and 4"):
        tfgan.frechet_distance(np.zeros((5, 3)), np.zeros((5, 4)))
    with pytest.raises(ValueError, match="NaN"):
        tfgan.kernel_distance(np.full((5, 3), np.nan), np.zeros((5, 3)))


@pytest.mark.usefixtures("fresh")
def test_the_import_leaves_sys_modules_as_it_was():
    before = loaded()
    modules = tfgan.modules()
    assert loaded() == before
    assert modules.classifier_metrics.__name__ == "tensorflow_gan.python.eval.classifier_metrics"
    assert tfgan.modules() is modules


@pytest.mark.usefixtures("fresh")
def test_a_plain_import_still_runs_tf_gans_own_roots():
    tfgan.modules()
    if hasattr(tf, "estimator"):
        assert hasattr(importlib.import_module("tensorflow_gan"), "estimator")
    else:
        with pytest.raises((AttributeError, ImportError), match=r"estimator|distutils"):
            importlib.import_module("tensorflow_gan")
    # Whatever a plain import left behind is neither in the adapter's way nor removed by it.
    before = loaded()
    tfgan.modules.cache_clear()
    assert tfgan.modules().classifier_metrics
    assert loaded() == before


@pytest.mark.usefixtures("fresh")
def test_a_missing_package_is_named(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == tfgan.PACKAGE else real(name)
    )
    with pytest.raises(UserError, match=r"No module named 'tensorflow_gan'.*requirements\.txt"):
        tfgan.modules()


def test_modules_that_setuptools_and_python_dropped_are_stood_in_for(monkeypatch):
    dropped = ("pkg_resources", "distutils")
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in dropped else real(name)
    )
    for name in [name for name in sys.modules if name.split(".")[0] in dropped]:
        monkeypatch.delitem(sys.modules, name)
    with tfgan._removed_modules():
        import distutils.version

        from pkg_resources import parse_version

        for version in (parse_version, distutils.version.LooseVersion):
            assert version("2.9.0") < version("2.21.0")
    assert not any(name.split(".")[0] in dropped for name in sys.modules)


class Network(tf.Module):
    """As TF-GAN's module: pool_3 with two axes of length 1, logits beside it."""

    @tf.function(input_signature=[tf.TensorSpec((None, 299, 299, 3), tf.float32)])
    def __call__(self, images):
        means = tf.reduce_mean(images, (1, 2), keepdims=True)
        return {"pool_3": tf.tile(means, (1, 1, 1, 683))[..., :2048], "logits": means[:, 0, 0]}


def test_tf_gans_own_handle_gives_the_official_features(tmp_path, monkeypatch):
    tf.saved_model.save(Network(), str(tmp_path))
    monkeypatch.setattr(tfgan.modules().inception_metrics, "INCEPTION_TFHUB", str(tmp_path))
    monkeypatch.delenv("TWO_STAGE_VAE_INCEPTION", raising=False)
    extractor = load_inception()
    assert extractor.name == "inception-2015-12-05"
    assert extractor.is_inception
    assert extractor.note is None
    grey = np.full((2, 20, 20, 1), 192, np.uint8)
    np.testing.assert_allclose(extractor(grey), np.full((2, 2048), 0.5), rtol=1e-6)


def test_the_handle_and_output_are_tf_gans():
    metrics = tfgan.modules().inception_metrics
    assert metrics.INCEPTION_TFHUB == "https://tfhub.dev/tensorflow/tfgan/eval/inception/1"
    assert metrics.INCEPTION_FINAL_POOL == "pool_3"


def test_no_network_is_one_line_that_says_what_to_do(tmp_path, monkeypatch):
    def unreachable(handle):
        raise OSError("<urlopen error no route>\nsecond line")

    monkeypatch.setattr(tfgan.modules().hub, "resolve", unreachable)
    with pytest.raises(UserError, match="--inception DIR") as error:
        tfgan.inception()
    assert "no route" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.network
def test_the_official_network_downloads_and_has_2048_features(monkeypatch):
    monkeypatch.delenv("TWO_STAGE_VAE_INCEPTION", raising=False)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    features = load_inception()(images)
    assert features.shape == (3, 2048)
    assert (features >= 0).all()
