"""The wae and resnet networks, and what all first-stage networks have in common."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import models
from experiments import presets
from models.losses import HALF_LOG_TWO_PI
from models.networks import dense, infogan, resnet, wae
from models.optimizer import adam
from tests import reference

DATA_SHAPES = [(28, 28, 1), (32, 32, 3), (64, 64, 3)]  # MNIST and Fashion, CIFAR-10, CelebA
KAPPA = 4

# Small enough for a test, by network: image shape, options of both builders, of the encoder alone.
SMALL = {
    "infogan": ((8, 8, 1), {}, {}),
    "wae": ((16, 8, 1), {"base_dim": 2}, {}),
    "resnet": ((6, 6, 1), {"base_dim": 2}, {"num_scale": 2, "fc_dim": 8}),
}
NEW = ("wae", "resnet")  # for infogan test_vae.py has these tests, or ones of its own


def test_the_command_knows_every_network():
    assert tuple(models.NETWORKS) == presets.NETWORKS


def small(network, seed=0, shape=None):
    """The network's encoder and decoder, a few channels wide where it has the option."""
    default_shape, both, encoder_only = SMALL[network]
    parts, shape = models.NETWORKS[network], shape or default_shape
    return (
        parts.encoder(shape, KAPPA, seed=seed, **both, **encoder_only),
        parts.decoder(shape, KAPPA, seed=seed + 1, **both),
    )


def images(shape, n=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def latents(n=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, KAPPA)).astype("float32")


def scrambled(network, seed=0):
    """Moves every weight off its initial value, so that biases and scales count in the test."""
    rng = np.random.default_rng(seed)
    for variable in network.trainable_variables:
        noise = rng.normal(size=variable.shape, scale=0.05).astype("float32")
        variable.assign(variable.numpy() + noise)
    return network


def count(*networks):
    return sum(int(np.prod(v.shape)) for n in networks for v in n.trainable_variables)


# --- the networks once more in NumPy, layer by layer from the paper's description -----------------


class Weights:
    """A network's weights in float64, and the layers that use them, by layer name."""

    def __init__(self, network):
        self.weights = {
            f"{layer.name}/{variable.name}": variable.numpy().astype("float64")
            for layer in network.layers
            for variable in layer.weights
        }

    def bn(self, x, name):
        return reference.batch_norm(x, self.weights[f"{name}/gamma"], self.weights[f"{name}/beta"])

    def conv(self, x, name, stride=1):
        return (
            reference.conv2d(x, self.weights[f"{name}/kernel"], stride)
            + self.weights[f"{name}/bias"]
        )

    def deconv(self, x, name, stride=1):
        return (
            reference.deconv2d(x, self.weights[f"{name}/kernel"], stride)
            + self.weights[f"{name}/bias"]
        )

    def dense(self, x, name):
        return x @ self.weights[f"{name}/kernel"] + self.weights[f"{name}/bias"]

    def scale(self, x, name):
        """One residual block of two (BN, relu, convolution) beside a convolution."""
        y = self.conv(reference.relu(self.bn(x, f"{name}_bn0")), f"{name}_conv0")
        y = self.conv(reference.relu(self.bn(y, f"{name}_bn1")), f"{name}_conv1")
        return y + self.conv(x, f"{name}_shortcut")

    def posterior(self, x):
        return self.dense(x, "mu"), np.exp(self.dense(x, "log_sd"))


def numpy_wae(encoder, decoder, x, z):
    w = Weights(encoder)
    h = reference.relu(w.bn(w.conv(x, "conv1"), "bn1"))
    for i in (2, 3, 4):
        h = reference.relu(w.bn(w.conv(h, f"conv{i}", 2), f"bn{i}"))
    mu, sd = w.posterior(h.reshape(len(h), -1))

    w = Weights(decoder)
    h = reference.relu(w.dense(z, "dense")).reshape(len(z), 2, 1, 16)  # 16 x 8 images, 8 * 2
    for i in (1, 2, 3):
        h = reference.relu(w.bn(w.deconv(h, f"deconv{i}", 2), f"bn{i}"))
    return mu, sd, reference.sigmoid(w.deconv(h, "deconv4"))


def numpy_resnet(encoder, decoder, x, z):
    w = Weights(encoder)
    h = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))  # 6 x 6 -> 8 x 8
    h = w.scale(w.conv(h, "conv"), "scale0_block0")
    h = w.scale(w.conv(h, "down1", 2), "scale1_block0").mean(axis=(1, 2))
    y = w.dense(reference.relu(h), "dense0")
    y = w.dense(reference.relu(y), "dense1") + w.dense(h, "dense_shortcut")
    mu, sd = w.posterior(y)

    w = Weights(decoder)
    h = w.dense(z, "dense").reshape(len(z), 2, 2, 8)  # base_dim 2, doubled twice
    h = w.scale(w.deconv(h, "up0", 2), "scale0_block0")
    h = w.scale(w.deconv(h, "up1", 2), "scale1_block0")
    return mu, sd, reference.sigmoid(w.conv(h, "conv"))[:, 1:-1, 1:-1]


@pytest.mark.parametrize(("network", "by_numpy"), [("wae", numpy_wae), ("resnet", numpy_resnet)])
def test_outputs_are_numpys(network, by_numpy):
    encoder, decoder = map(scrambled, small(network))
    x, z = images(SMALL[network][0]) / 255.0, latents()
    mu, sd, x_hat = by_numpy(encoder, decoder, x, z)
    mu_z, sd_z = encoder(x.astype("float32"), training=True)
    np.testing.assert_allclose(mu_z, mu, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sd_z, sd, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(decoder(z, training=True), x_hat, rtol=1e-4, atol=1e-5)


# --- sizes ----------------------------------------------------------------------------------------
# Worked out by hand, in the order of the layers: each convolution or dense layer's kernel + bias,
# each batch normalisation's scale and offset, and one gamma a stage.
ENCODERS = {
    (28, 28, 1): 1_088 + 131_200 + 256 + 6_423_552 + 2_048 + 131_200,
    (32, 32, 3): 3_136 + 131_200 + 256 + 8_389_632 + 2_048 + 131_200,
    (64, 64, 3): 3_136 + 131_200 + 256 + 33_555_456 + 2_048 + 131_200,
}
DECODERS = {
    (28, 28, 1): 66_560 + 2_048 + 6_428_800 + 12_544 + 131_136 + 128 + 1_025,
    (32, 32, 3): 66_560 + 2_048 + 8_396_800 + 16_384 + 131_136 + 128 + 3_075,
    (64, 64, 3): 66_560 + 2_048 + 33_587_200 + 65_536 + 131_136 + 128 + 3_075,
}
SECOND = (66_560 + 2 * 1_049_600 + 2 * 69_696) + (66_560 + 2 * 1_049_600 + 69_696) + 1


@pytest.mark.parametrize("shape", list(ENCODERS))
def test_trainable_parameters_of_both_stages(shape):
    model = models.build("two-stage", shape)
    assert count(model.first) == ENCODERS[shape] + DECODERS[shape] + 1
    assert count(model.second) == SECOND
    if shape == (28, 28, 1):  # the author's graph has 17,872,195 in all
        assert (count(model.first), count(model.second)) == (13_331_586, 4_540_609)


# Worked out by hand from the paper's description. A layer's own parameters: kernel and bias of a
# convolution k x k x cin x cout or a dense layer, scale and offset of a batch normalisation.


def conv(k, cin, cout):
    return k * k * cin * cout + cout


def full(inputs, outputs):
    return inputs * outputs + outputs


def bn(channels):
    return 2 * channels


def block(c):
    """A residual block: twice (BN, 3x3 convolution), and the shortcut's 3x3 convolution."""
    return 2 * (bn(c) + conv(3, c, c)) + conv(3, c, c)


def wae_parameters(base, channels, kappa):
    """base: pixels of the smallest maps, (h/8)(w/8)."""
    encoder = conv(5, channels, 128) + bn(128)
    encoder += conv(5, 128, 256) + bn(256) + conv(5, 256, 512) + bn(512)
    encoder += conv(5, 512, 1024) + bn(1024) + 2 * full(base * 1024, kappa)
    decoder = full(kappa, base * 1024) + conv(5, 1024, 512) + bn(512)
    decoder += conv(5, 512, 256) + bn(256) + conv(5, 256, 128) + bn(128) + conv(5, 128, channels)
    return encoder + decoder


def resnet_parameters(encoder_dims, decoder_dims, channels, kappa):
    encoder = conv(3, channels, encoder_dims[0])
    encoder += sum(block(c) for c in encoder_dims)
    encoder += sum(conv(3, c, 2 * c) for c in encoder_dims[:-1])
    encoder += full(encoder_dims[-1], 512) + full(512, 512) + full(encoder_dims[-1], 512)
    encoder += 2 * full(512, kappa)
    decoder = full(kappa, 2 * 2 * decoder_dims[0])
    for wide, narrow in itertools.pairwise(decoder_dims):
        decoder += conv(3, wide, narrow) + block(narrow)
    return encoder + decoder + conv(3, decoder_dims[-1], channels)


TO_32 = (256, 128, 64, 32, 16)  # channels at 2 x 2, 4 x 4, 8 x 8, 16 x 16, 32 x 32
TO_64 = (512, *TO_32)

# network, shape, kappa, options of both builders, by hand, the author's graph (less gamma) if it
# can be built for that shape: its trainable variables were counted once.
SIZES = [
    ("wae", (32, 32, 3), 64, {}, wae_parameters(4 * 4, 3, 64), None),
    ("wae", (64, 64, 3), 64, {}, wae_parameters(8 * 8, 3, 64), 47_082_627),
    ("resnet", (28, 28, 1), 64, {}, resnet_parameters((16, 32, 64, 128), TO_32, 1, 64), None),
    ("resnet", (32, 32, 3), 64, {}, resnet_parameters((16, 32, 64, 128), TO_32, 3, 64), 2_195_171),
    ("resnet", (64, 64, 3), 64, {}, resnet_parameters((16, 32, 64, 128), TO_64, 3, 64), 5_212_899),
    (  # the authors' CelebA samples
        "resnet",
        (64, 64, 3),
        128,
        {"base_dim": 32},
        resnet_parameters((32, 64, 128, 256), (1024, 512, 256, 128, 64, 32), 3, 128),
        19_649_475,
    ),
]


@pytest.mark.parametrize(("network", "shape", "kappa", "options", "by_hand", "author"), SIZES)
def test_trainable_parameters(network, shape, kappa, options, by_hand, author):
    parts = models.NETWORKS[network]
    encoder = parts.encoder(shape, kappa, **options)
    decoder = parts.decoder(shape, kappa, **options)
    assert count(encoder, decoder) == by_hand
    assert author is None or author == by_hand
    assert encoder.input_shape == decoder.output_shape == (None, *shape)
    assert encoder.output_shape == [(None, kappa), (None, kappa)]
    assert decoder.input_shape == (None, kappa)


def test_decoder_dims():
    assert resnet.decoder_dims(64) == [512, 256, 128, 64, 32, 16]
    assert resnet.decoder_dims(32) == [256, 128, 64, 32, 16]
    assert resnet.decoder_dims(64, 64) == [1024, 1024, 512, 256, 128, 64]  # 2048 is cut
    assert [resnet.padded_side(side) for side in (28, 32, 34, 64)] == [32, 32, 64, 64]


@pytest.mark.parametrize("shape", DATA_SHAPES)
@pytest.mark.parametrize("network", list(models.NETWORKS))
def test_shapes_and_ranges(network, shape):
    if network == "wae" and shape == (28, 28, 1):
        with pytest.raises(ValueError, match=r"multiples of 8.*infogan.*resnet"):
            small(network, shape=shape)
        return
    encoder, decoder = small(network, shape=shape)
    for training in (False, True):
        mu_z, sd_z = encoder(images(shape, 3) / np.float32(255), training=training)
        assert mu_z.shape == sd_z.shape == (3, KAPPA)
        assert (ops.convert_to_numpy(sd_z) > 0).all()
        x_hat = ops.convert_to_numpy(decoder(latents(3), training=training))
        assert x_hat.shape == (3, *shape)
        assert x_hat.min() >= 0
        assert x_hat.max() <= 1
        assert np.ptp(x_hat) > 0


def test_resnet_sees_the_whole_padded_image():
    """An encoder for 28 x 28 is one for 32 x 32 that is given the image in a frame of zeros."""
    inner, _ = small("resnet", shape=(28, 28, 1))
    outer, _ = small("resnet", shape=(32, 32, 1))
    outer.set_weights(inner.get_weights())
    x = images((28, 28, 1), 2) / np.float32(255)
    framed = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    for a, b in zip(inner(x), outer(framed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_resnet_options():
    """Two blocks a scale of three 5x5 convolutions each, counted as the author's graph was."""
    both = {"block_per_scale": 2, "depth_per_block": 3, "kernel_size": 5, "base_dim": 4}
    encoder = resnet.encoder((16, 16, 1), 8, **both, num_scale=5, fc_dim=32)
    decoder = resnet.decoder((16, 16, 1), 8, **both)
    assert count(encoder, decoder) == 1_254_545


# --- what every network must do -------------------------------------------------------------------


@pytest.mark.parametrize("network", list(models.NETWORKS))
def test_features_are_what_the_posterior_is_computed_from(network):
    parts = models.NETWORKS[network]
    encoder, _ = small(network)
    x = images(SMALL[network][0]) / np.float32(255)
    features = keras.Model(encoder.input, encoder.get_layer(parts.FEATURES).output)(x)
    assert features.shape[0] == 5
    assert len(features.shape) == 2
    if network == "infogan":
        mu, sd = encoder.get_layer("posterior")(encoder.get_layer("sn_dense4")(features))
    else:
        mu = encoder.get_layer("mu")(features)
        sd = ops.exp(encoder.get_layer("log_sd")(features))
    for a, b in zip(encoder(x), (mu, sd), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("network", NEW)
def test_training_lowers_the_loss(network):
    """With gamma fixed, so that the networks alone can lower it; every weight has a gradient."""
    vae = models.VAE(*small(network), learn_gamma=False, seed=0)
    shape = SMALL[network][0]
    t = np.random.default_rng(0).random((64, 1, 1, 1))
    ramp = np.linspace(0, 255, int(np.prod(shape))).reshape(1, *shape)
    batch = (ramp * t).astype("uint8")

    with tf.GradientTape() as tape:
        loss = ops.mean(vae.objective(vae.observe(batch), training=True).loss)
    gradients = tape.gradient(loss, [v.value for v in vae.trainable_variables])
    assert all(g is not None for g in gradients)

    vae.compile(optimizer=adam(3e-3))
    losses = []
    for _ in range(20):
        losses.append(vae.train_on_batch(batch, return_dict=True)["loss"])
        vae.reset_metrics()
    floor = HALF_LOG_TWO_PI * np.prod(shape)  # what perfect reconstruction without KL would cost
    assert losses[-1] - floor < 0.6 * (losses[0] - floor)


@pytest.mark.parametrize("network", NEW)
def test_config_round_trip(network):
    for part, inputs in zip(
        small(network), (images(SMALL[network][0]) / np.float32(255), latents()), strict=True
    ):
        again = type(part).from_config(part.get_config())
        assert again.get_config() == part.get_config()
        again.set_weights(part.get_weights())
        for a, b in zip(
            keras.tree.flatten(part(inputs)), keras.tree.flatten(again(inputs)), strict=True
        ):
            np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module", params=NEW)
def two_stage(request):
    """A small two-stage model on the network, its moving averages moved by one batch."""
    first = models.VAE(*small(request.param), seed=0)
    first.encoder(images(SMALL[request.param][0]) / np.float32(255), training=True)
    first.decoder(latents(), training=True)
    second = models.LatentVAE(dense.encoder(KAPPA, units=8), dense.decoder(KAPPA, units=8), seed=1)
    return models.TwoStageVAE(first, second)


def test_keras_file_round_trip(two_stage, tmp_path):
    two_stage.save(tmp_path / "model")
    again = models.TwoStageVAE.load(tmp_path / "model")
    batch = images(two_stage.first.encoder.input_shape[1:])
    np.testing.assert_array_equal(again.sample(3, seed=0), two_stage.sample(3, seed=0))
    np.testing.assert_array_equal(
        again.reconstruct(batch, seed=1), two_stage.reconstruct(batch, seed=1)
    )


def test_export_round_trip(two_stage, tmp_path):
    two_stage.export(tmp_path / "1")
    served = tf.saved_model.load(str(tmp_path / "1")).signatures
    made = served["generate"](n=tf.constant(3), seed=tf.constant(5, tf.int64))["images"].numpy()
    expected = np.rint(two_stage.sample(3, seed=5) * 255).astype("uint8")
    np.testing.assert_allclose(made.astype(int), expected, atol=1)
    batch = images(two_stage.first.encoder.input_shape[1:])
    encoded = served["encode"](images=tf.constant(batch))
    for name, expected in zip(("mu_z", "sd_z"), two_stage.encode(batch), strict=True):
        np.testing.assert_allclose(encoded[name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", NEW)
def test_seeds(network):
    """The seed decides the weights, and no two kernels of one shape are the same."""
    one, same, other = (small(network, seed=seed)[0] for seed in (0, 0, 1))
    for a, b in zip(one.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [v.numpy() for n in (one, other) for v in n.weights if v.name == "kernel"]
    for i, a in enumerate(kernels):
        for b in kernels[:i]:
            assert a.shape != b.shape or not np.array_equal(a, b)


def test_infogans_kernels_start_as_the_authors():
    """Normal with standard deviation 0.02, the encoder's convolutions' cut off at two of it."""
    for part in (infogan.encoder((28, 28, 1)), infogan.decoder((28, 28, 1))):
        layers = [getattr(layer, "layer", layer) for layer in part.layers]
        large = [
            layer for layer in layers if np.prod(getattr(layer, "kernel", np.empty(0)).shape) > 5e4
        ]
        assert len(large) == 3
        for layer in large:
            kernel = layer.kernel.numpy()
            cut = isinstance(layer, keras.layers.Conv2D)
            assert (np.abs(kernel).max() <= 0.04) == cut
            # What is cut off leaves 0.88 of the deviation, as in TensorFlow 1.
            assert kernel.std() == pytest.approx(0.0176 if cut else 0.02, rel=0.05)


def test_kernels_start_as_the_authors():
    """Glorot's uniform distribution: bounded by sqrt(6 / (fan_in + fan_out)); biases 0."""
    for network in NEW:
        for part in small(network, shape=(32, 32, 3)):
            for layer in part.layers:
                if not hasattr(layer, "kernel"):
                    continue
                kernel = layer.kernel.numpy()
                fans = np.prod(kernel.shape[:-2]) * (kernel.shape[-2] + kernel.shape[-1])
                bound = np.sqrt(6 / fans)
                assert np.abs(kernel).max() <= bound
                if kernel.size > 50:
                    assert np.abs(kernel).max() > 0.9 * bound
                assert not layer.bias.numpy().any()


@pytest.mark.parametrize("network", NEW)
def test_batch_normalisation_is_the_authors(network):
    parts = models.NETWORKS[network]
    shape, both, encoder_only = SMALL[network]
    for part in (
        parts.encoder(shape, KAPPA, momentum=0.75, **both, **encoder_only),
        parts.decoder(shape, KAPPA, momentum=0.75, **both),
    ):
        found = [b for b in part.layers if isinstance(b, keras.layers.BatchNormalization)]
        assert found
        assert {(b.momentum, b.epsilon, b.scale, b.center) for b in found} == {
            (0.75, 1e-5, True, True)
        }


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"multiples of 8.*\(64, 60, 3\)"):
        wae.encoder((64, 60, 3))
    with pytest.raises(ValueError, match="1 or 3 channels"):
        wae.decoder((64, 64, 2))
    for shape in ((32, 16, 3), (27, 27, 1), (32, 32, 2), (0, 0, 3)):
        with pytest.raises(ValueError, match="square images with an even side"):
            resnet.encoder(shape)
        with pytest.raises(ValueError, match="square images with an even side"):
            resnet.decoder(shape)
    for num_scale in (0, 7):
        with pytest.raises(ValueError, match="between 1 and 6 for images of side 32"):
            resnet.encoder((28, 28, 1), num_scale=num_scale)
    with pytest.raises(ValueError, match="multiples of 8"):
        models.build("two-stage", (28, 28, 1), network="wae")


def test_options_go_to_the_builders_that_know_them():
    """The run of the authors' README, smaller: num_scale is the encoder's alone."""
    options = {"num_scale": 2, "base_dim": 4, "fc_dim": 8}
    model = models.build("two-stage", (16, 16, 3), "resnet", 6, network_options=options)
    assert model.sample(2, seed=0).shape == (2, 16, 16, 3)
    with pytest.raises(ValueError, match=r"network_options has depth_dim, which .*resnet"):
        models.build("two-stage", (16, 16, 3), "resnet", 6, network_options={"depth_dim": 4})


@pytest.mark.parametrize("shape", [(28, 28), (100, 28, 28, 1)])
def test_a_shape_of_other_than_one_image_is_refused(shape):
    with pytest.raises(ValueError, match="image_shape must be"):
        models.build("two-stage", shape)
