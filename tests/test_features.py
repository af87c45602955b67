"""Extractors: local SavedModels of every layout, their errors, and the random network."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from evaluate import inception_features, load_inception, random_network
from evaluate.features import INCEPTION_VARIABLE
from evaluate.protocols import resize_tf1
from experiments.errors import UserError

WEIGHTS = np.random.default_rng(0).normal(size=(3, 2048)).astype(np.float32)
TF2_INPUT = tf.TensorSpec((None, 299, 299, 3), tf.float32, name="images")


@pytest.fixture(autouse=True)
def _no_inception_in_the_environment(monkeypatch):
    monkeypatch.delenv(INCEPTION_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).integers(0, 256, (7, 20, 24, 3)).astype(np.uint8)


class Network(tf.Module):
    """Channel means of the 299 x 299 input times WEIGHTS, under the name ``output``."""

    def __init__(self, output="pool_3", dim=2048, keep_axes=True):
        super().__init__()
        self.weights = tf.Variable(WEIGHTS[:, :dim])
        self.output, self.keep_axes = output, keep_axes

    @tf.function(input_signature=[TF2_INPUT])
    def __call__(self, images):
        features = tf.reduce_mean(images, (1, 2)) @ self.weights
        if self.keep_axes:
            features = features[:, None, None, :]
        return {self.output: features, "logits": features[..., :10]} if self.output else features


def save_callable(folder):
    """As TF-GAN's module on TensorFlow Hub: called directly, pool_3 beside logits."""
    tf.saved_model.save(Network(), str(folder))


def save_signature(folder):
    """An object that cannot be called, with a signature."""
    holder = tf.Module()
    holder.inner = Network(keep_axes=False)
    tf.saved_model.save(holder, str(folder), signatures=holder.inner.__call__)


def save_keras(folder):
    import keras

    inputs = keras.Input((299, 299, 3))
    means = keras.layers.GlobalAveragePooling2D()(inputs)
    dense = keras.layers.Dense(2048, use_bias=False)
    model = keras.Model(inputs, {"pool_3": dense(means)})
    dense.set_weights([WEIGHTS])
    model.export(folder, verbose=False)


def save_tf1_hub(folder):
    """TensorFlow 1's Hub format: several graphs, the one for inference without a tag."""
    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(folder))
    with v1.Graph().as_default(), v1.Session() as session:
        placeholder = v1.placeholder(tf.float32, (None, 299, 299, 3))
        weights = v1.get_variable("weights", initializer=WEIGHTS, use_resource=True)
        features = tf.reduce_mean(placeholder, (1, 2)) @ weights
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.predict_signature_def(
            {"images": placeholder}, {"pool_3": features, "logits": features[:, :10]}
        )
        signatures = {"default": signature}
        builder.add_meta_graph_and_variables(session, [], signatures)
        builder.add_meta_graph(["train"], signatures)
    builder.save()
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")


@pytest.mark.parametrize("save", [save_callable, save_signature, save_keras, save_tf1_hub])
def test_every_layout_gives_pool_3_of_the_resized_image(tmp_path, images, save):
    save(tmp_path / "model")
    extractor = load_inception(tmp_path / "model")
    found = extractor(images, batch_size=3)
    expected = resize_tf1(images).numpy().mean(axis=(1, 2)) @ WEIGHTS
    assert found.shape == (7, 2048)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert extractor.is_inception
    assert extractor.dim == 2048


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inception") / "saved_model"
    save_callable(folder)
    return folder


def test_a_local_network_is_named_by_its_fingerprint(folder):
    extractor = load_inception(str(folder))
    assert extractor.name == f"inception-local-{extractor.fingerprint[:8]}"
    assert extractor.note is None
    assert len(extractor.fingerprint) == 64
    assert load_inception(folder).fingerprint == extractor.fingerprint


def test_other_weights_have_another_fingerprint(folder, tmp_path):
    other = Network()
    other.weights.assign_add(tf.ones_like(other.weights))
    tf.saved_model.save(other, str(tmp_path / "model"))
    assert load_inception(folder).fingerprint != load_inception(tmp_path / "model").fingerprint


def test_features_json_beside_or_inside_names_the_features(tmp_path):
    save_callable(tmp_path / "model")
    beside, inside = tmp_path / "features.json", tmp_path / "model" / "features.json"
    beside.write_text(json.dumps({"features": "inception-mine", "note": "a caveat"}))
    extractor = load_inception(tmp_path / "model")
    assert (extractor.name, extractor.note) == ("inception-mine", "a caveat")
    inside.write_text(json.dumps({"features": "inception-inside"}))
    extractor = load_inception(tmp_path / "model")
    assert (extractor.name, extractor.note) == ("inception-inside", None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "features.json"),
        ('["inception-x"]', "features.json"),
        ('{"name": "inception-x"}', "KeyError"),
        ('{"features": 3}', "3"),
        ('{"features": "inception-2015-12-05"}', "kept for another network"),
        ('{"features": "random-conv"}', "kept for another network"),
    ],
)
def test_a_faulty_features_json_is_refused(tmp_path, text, words):
    save_callable(tmp_path / "model")
    (tmp_path / "features.json").write_text(text)
    with pytest.raises(UserError, match=words):
        load_inception(tmp_path / "model")


def test_the_environment_variable_names_the_folder(folder, images, monkeypatch):
    monkeypatch.setenv(INCEPTION_VARIABLE, str(folder))
    extractor = load_inception()
    assert extractor.name.startswith("inception-local-")
    expected = extractor(images)
    np.testing.assert_array_equal(inception_features(images), expected)
    np.testing.assert_array_equal(inception_features(images, extractor), expected)
    np.testing.assert_array_equal(inception_features(images, folder), expected)


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert "--inception DIR" in text
    return text


def test_a_missing_folder_and_one_without_a_model_are_named(tmp_path):
    for folder, words in ((tmp_path / "none", "no such folder"), (tmp_path, "no saved_model.pb")):
        with pytest.raises(UserError, match=words) as error:
            load_inception(folder)
        assert str(folder) in one_line(error)


def test_a_damaged_model_is_named(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(UserError, match="could not be read") as error:
        load_inception(tmp_path)
    assert str(tmp_path) in one_line(error)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"output": "features"}, "its outputs: features, logits"),
        ({"output": None}, "has no name"),
        ({"dim": 64, "keep_axes": False}, r"shape \(1, 64\)"),
    ],
)
def test_a_model_without_pool_3_is_refused(tmp_path, network, words):
    tf.saved_model.save(Network(**network), str(tmp_path))
    with pytest.raises(UserError, match=words) as error:
        load_inception(tmp_path)
    assert "'pool_3' of 2048" in one_line(error)


def test_a_signature_without_pool_3_is_refused(tmp_path):
    holder = tf.Module()
    holder.inner = Network("features")
    tf.saved_model.save(holder, str(tmp_path), signatures=holder.inner.__call__)
    with pytest.raises(UserError, match="its outputs: features, logits") as error:
        load_inception(tmp_path)
    one_line(error)


def test_a_model_of_another_input_size_is_refused(tmp_path):
    class Small(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.float32)])
        def __call__(self, images):
            return {"pool_3": tf.zeros((tf.shape(images)[0], 2048))}

    tf.saved_model.save(Small(), str(tmp_path))
    with pytest.raises(UserError, match="299, 299, 3") as error:
        load_inception(tmp_path)
    one_line(error)


def test_random_features_do_not_depend_on_the_batch_size(images):
    network = random_network()
    expected = network(images, batch_size=7)
    assert expected.shape == (7, network.dim)
    assert expected.dtype == np.float32
    for batch_size in (1, 3, 100):
        np.testing.assert_allclose(network(images, batch_size), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(16, 16, 1), (28, 28, 1), (33, 17, 3), (64, 64, 3)])
def test_random_features_tell_images_apart(shape):
    images = np.random.default_rng(2).integers(0, 256, (5, *shape)).astype(np.uint8)
    features = random_network()(images)
    assert np.isfinite(features).all()
    assert np.linalg.matrix_rank(features - features.mean(axis=0)) == 4


def test_grey_is_scored_as_colour_of_three_equal_channels():
    grey = np.random.default_rng(3).integers(0, 256, (2, 16, 16, 1)).astype(np.uint8)
    network = random_network()
    np.testing.assert_array_equal(network(grey), network(np.repeat(grey, 3, axis=-1)))


def test_uint8_and_floats_of_the_same_values_have_the_same_features(images):
    network = random_network()
    np.testing.assert_array_equal(network(images), network(images.astype(np.float32)))


def test_the_random_network_is_the_same_everywhere():
    network = random_network()
    assert network.fingerprint.startswith("45f3a451")
    assert network.fingerprint == random_network(0).fingerprint != random_network(1).fingerprint
    assert network.name == "random-conv"
    assert not network.is_inception


def test_batches_are_the_features_a_batch_at_a_time(images):
    network = random_network()
    pieces = list(network.batches(images, batch_size=3))
    assert [len(piece) for piece in pieces] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(pieces), network(images, batch_size=3))


def test_progress_is_told_after_each_batch(images):
    calls = []
    random_network()(images, batch_size=3, progress=lambda *call: calls.append(call))
    assert calls == [(3, 7), (6, 7), (7, 7)]


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((4, 4, 3), np.uint8), r"\(4, 4, 3\)"),
        (np.zeros((2, 16, 16, 2), np.uint8), r"\(2, 16, 16, 2\)"),
        (np.zeros((0, 16, 16, 3), np.uint8), r"\(0, 16, 16, 3\)"),
        (np.zeros((2, 16, 16, 3), np.int64), "int64"),
        (np.full((2, 16, 16, 3), 0.5, np.float32), "as_scored"),
        (np.full((2, 16, 16, 3), -1.0, np.float32), "-1.0"),
        (np.full((2, 16, 16, 3), np.nan, np.float32), "nan"),
    ],
)
def test_unusable_images_are_refused(images, words):
    with pytest.raises(ValueError, match=words):
        random_network()(images)
