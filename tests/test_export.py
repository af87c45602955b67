"""The exported SavedModel: same results to the bit, refusals, and TensorFlow alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, saved_model_pb2

import models
from models import export
from models.vae import PREDICT_BATCH

SHAPE, KAPPA, LIMIT = (8, 8, 1), 3, 600
SIGNATURES = {
    "serving_default",
    "generate",
    "generate_first_stage",
    "decode",
    "decode_z",
    "encode",
    "reconstruct",
}


def small() -> models.TwoStageVAE:
    """Untrained, but with kernels scaled up so that different inputs give different images."""
    model = models.build("two-stage", SHAPE, latent_dim=KAPPA, initial_log_gamma=-1.0, seed=0)
    for part in (model.first, model.second):
        for weight in part.weights:
            if weight.name == "kernel":
                weight.assign(weight * 4)
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The model and its folder, exported after a global seed was set, as training does."""
    model, folder = small(), tmp_path_factory.mktemp("saved_model") / "1"
    keras.utils.set_random_seed(7)
    export.export_saved_model(model, folder, max_images=LIMIT)
    return model, folder


@pytest.fixture(scope="module")
def served(exported):
    return tf.saved_model.load(str(exported[1])).signatures


@pytest.fixture(scope="module")
def session(exported):
    """signature, inputs -> outputs through TensorFlow 1's loader and session, as the server's.

    Session.run would refuse wrong shapes in Python, where the server has no such check.
    """
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(exported[1]))

    def run(signature, **inputs):
        definition = meta.signature_def[signature]
        feed, fetch = sorted(definition.inputs), sorted(definition.outputs)
        options = config_pb2.CallableOptions(
            feed=[definition.inputs[name].name for name in feed],
            fetch=[definition.outputs[name].name for name in fetch],
        )
        found = session._make_callable_from_options(options)(*[inputs[n] for n in feed])
        return dict(zip(fetch, found, strict=True))

    yield run
    session.close()


def levels(x_hat):
    return np.rint(np.clip(x_hat, 0, 1) * 255).astype("uint8")


def images(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *SHAPE)).astype("uint8")


def latents(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, KAPPA)).astype("float32")


def run(signatures, name, **inputs):
    found = signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
    return {key: value.numpy() for key, value in found.items()}


# --- same results ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "seed"), [(1, 0), (5, 12), (5, 2**31), (5, 2**40 + 1), (PREDICT_BATCH + 3, 1)]
)
@pytest.mark.parametrize("signature", ["serving_default", "generate", "generate_first_stage"])
def test_samples_are_the_models_own(exported, served, signature, n, seed):
    stage = 1 if signature == "generate_first_stage" else 2
    expected = levels(exported[0].sample(n, stage=stage, seed=seed))
    made = run(served, signature, n=np.int32(n), seed=np.int64(seed))["images"]
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, expected)
    assert n == 1 or (made[0] != made[1]).any()


def test_stages_differ(served):
    both, first = (
        run(served, name, n=np.int32(4), seed=np.int64(0))["images"]
        for name in ("generate", "generate_first_stage")
    )
    assert (both != first).any()


def test_unseeded_samples_differ(exported, served):
    made = [run(served, "generate", n=np.int32(4), seed=np.int64(-1))["images"] for _ in range(2)]
    assert (made[0] != made[1]).any()
    # and from those of another server: the operation that draws the seed has none of its own
    draws = [node for node in nodes(exported[1]) if node.op == "RandomUniformInt"]
    assert draws
    assert all(node.attr["seed"].i == node.attr["seed2"].i == 0 for node in draws)


@pytest.mark.parametrize("n", [1, PREDICT_BATCH + 3])
def test_encode_decode_and_reconstruct(exported, served, n):
    model, _ = exported
    x, u = images(n), latents(n)
    encoded = run(served, "encode", images=x)
    mu_z, sd_z = model.encode(x)
    np.testing.assert_allclose(encoded["mu_z"], mu_z, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(encoded["sd_z"], sd_z, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(encoded["u"], model.second.encode(mu_z)[0], rtol=1e-4, atol=1e-5)
    decoded = run(served, "decode", u=u)["images"]
    np.testing.assert_array_equal(decoded, levels(model.first.decode(model.second.decode(u))))
    decoded = run(served, "decode_z", z=u)["images"]
    np.testing.assert_array_equal(decoded, levels(model.first.decode(u)))
    rebuilt = run(served, "reconstruct", images=x)["images"]
    np.testing.assert_array_equal(rebuilt, levels(model.first.decode(encoded["mu_z"])))


def test_session_gives_the_same(served, session):
    inputs = {"n": np.int32(4), "seed": np.int64(3)}
    np.testing.assert_array_equal(
        session("generate", **inputs)["images"], run(served, "generate", **inputs)["images"]
    )
    for key, value in run(served, "encode", images=images(2)).items():
        np.testing.assert_array_equal(session("encode", images=images(2))[key], value)


# --- refusals -------------------------------------------------------------------------------------

F = np.float32
BAD_COUNTS = [0, -1, LIMIT + 1, 2**31 - 1]
BAD_LATENTS = [
    (np.zeros((2, KAPPA + 1), F), rf"\[2 {KAPPA + 1}\]"),
    (np.zeros((0, KAPPA), F), rf"\[0 {KAPPA}\]"),
    (np.zeros(KAPPA, F), rf"\[{KAPPA}\]"),  # what a folded tf.rank would let pass
    (np.zeros((), F), r"\[\]"),
    (np.zeros((1, 2, KAPPA), F), rf"\[1 2 {KAPPA}\]"),
    (np.zeros((2, KAPPA, 1), F), rf"\[2 {KAPPA} 1\]"),
    (np.zeros((LIMIT + 1, KAPPA), F), rf"\[{LIMIT + 1} {KAPPA}\]"),
    (np.full((3, KAPPA + 1), np.nan, F), rf"\[3 {KAPPA + 1}\]"),
]
BAD_IMAGES = [(2, 8, 8, 3), (2, 12, 12, 1), (2, 64), (8, 8, 1), (0, 8, 8, 1), (2, 8, 8, 1, 1), ()]


def attempts(served, session, signature, **inputs):
    """Both ways to load a model, each with what it raises."""
    for call in (lambda **kw: run(served, signature, **kw), lambda **kw: session(signature, **kw)):
        yield lambda call=call: call(**inputs)


@pytest.mark.parametrize("signature", ["serving_default", "generate", "generate_first_stage"])
@pytest.mark.parametrize("n", BAD_COUNTS)
def test_bad_counts(served, session, signature, n):
    sentence = rf"n must be from 1 to {LIMIT} in one request, got {n}\."
    for attempt in attempts(served, session, signature, n=np.int32(n), seed=np.int64(1)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
            attempt()


@pytest.mark.parametrize(("signature", "name"), [("decode", "u"), ("decode_z", "z")])
@pytest.mark.parametrize(("value", "shape"), BAD_LATENTS)
def test_bad_latents(served, session, signature, name, value, shape):
    sentence = rf"{name} must have shape \(b, {KAPPA}\) with b from 1 to {LIMIT}, got {shape}\."
    for attempt in attempts(served, session, signature, **{name: value}):
        with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
            attempt()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_latents_that_are_not_finite(served, session, value):
    u = latents(3)
    u[1, 2] = value
    for attempt in attempts(served, session, "decode", u=u):
        with pytest.raises(tf.errors.InvalidArgumentError, match="u must be finite, got 1 values"):
            attempt()


@pytest.mark.parametrize("signature", ["encode", "reconstruct"])
@pytest.mark.parametrize("shape", BAD_IMAGES)
def test_bad_images(served, session, signature, shape):
    got = rf"\[{' '.join(map(str, shape))}\]"
    sentence = rf"images must have shape \(b, 8, 8, 1\) with b from 1 to {LIMIT}, got {got}\."
    for attempt in attempts(served, session, signature, images=np.zeros(shape, "uint8")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
            attempt()


# --- the file itself ------------------------------------------------------------------------------


def nodes(folder):
    """Every node of the graph and of its functions."""
    stored = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    for meta in stored.meta_graphs:
        yield from meta.graph_def.node
        for function in meta.graph_def.library.function:
            yield from function.node_def


def test_no_python_operations(exported):
    used = {node.op for node in nodes(exported[1])}
    assert {"Conv2DBackpropInput", "StatelessRandomNormalV2"} <= used  # the right graph is read
    assert not {op for op in used if "Py" in op or "Numpy" in op}
    assert "XlaCallModule" not in used


def test_signatures(served):
    assert set(served) == SIGNATURES
    decode = served["decode"].structured_input_signature[1]["u"]
    assert (decode.shape.as_list(), decode.dtype) == ([None, KAPPA], tf.float32)
    made = served["generate"].structured_outputs["images"]
    assert (made.shape.as_list(), made.dtype) == ([None, *SHAPE], tf.uint8)


def test_the_loaded_module_takes_its_inputs_by_name(exported, served):
    module = tf.saved_model.load(str(exported[1]))
    for signature, name in (("decode", "u"), ("decode_z", "z")):
        expected = run(served, signature, **{name: latents(2)})["images"]
        found = getattr(module, signature)(**{name: tf.constant(latents(2))})["images"]
        np.testing.assert_array_equal(found, expected)


ALONE = '''
import contextlib, importlib.abc, importlib.machinery, io, sys

class Blocked(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules that can be found, as TensorFlow looks where Keras lies, but not imported."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"keras", "tf_keras", "models", "experiments", "training"}:
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        raise ImportError(f"{spec.name} is blocked")

sys.meta_path.insert(0, Blocked())
folder, expected = sys.argv[1:]
import numpy as np
import tensorflow as tf
from absl import flags
from tensorflow.python.tools import saved_model_cli

expected = dict(np.load(expected))
served = tf.saved_model.load(folder).signatures
made = served["serving_default"](n=tf.constant(4), seed=tf.constant(3, tf.int64))["images"]
np.testing.assert_array_equal(made, expected["generate"])

with tf.compat.v1.Session(graph=tf.Graph()) as session:
    meta = tf.compat.v1.saved_model.load(session, ["serve"], folder)
    definition = meta.signature_def["generate"]
    feed = {definition.inputs["n"].name: 4, definition.inputs["seed"].name: 3}
    np.testing.assert_array_equal(
        session.run(definition.outputs["images"].name, feed), expected["generate"]
    )

def cli(command, *arguments):
    """A command of saved_model_cli, without a process of its own."""
    flags.FLAGS(["saved_model_cli", *arguments])
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        getattr(saved_model_cli, command)()
    return out.getvalue()

shown = cli("show", "--dir", folder, "--tag_set", "serve", "--signature_def", "decode")
assert "DT_FLOAT" in shown and "(-1, 3)" in shown, shown
np.save("latents.npy", np.ones((2, 3), np.float32))
np.save("pixels.npy", np.full((2, 8, 8, 1), 9, np.uint8))
count = ["--input_exprs", "n=4;seed=3", "--inputs", ""]
inputs = {
    "serving_default": count,
    "generate": count,
    "generate_first_stage": count,
    "decode": ["--input_exprs", "", "--inputs", "u=latents.npy"],
    "decode_z": ["--input_exprs", "", "--inputs", "z=latents.npy"],
    "encode": ["--input_exprs", "", "--inputs", "images=pixels.npy"],
    "reconstruct": ["--input_exprs", "", "--inputs", "images=pixels.npy"],
}
assert set(inputs) == set(served)
for signature, given in inputs.items():
    cli("run", "--dir", folder, "--tag_set", "serve", "--signature_def", signature,
        *given, "--outdir", signature)
    for name in served[signature].structured_outputs:
        found = np.load(f"{signature}/{name}.npy")
        reference = expected.get(f"{signature}.{name}")
        if reference is None:
            reference = expected["generate" if signature == "serving_default" else signature]
        np.testing.assert_array_equal(found, reference)
assert not {"keras", "tf_keras", "models"} & set(sys.modules)
print("alone")
'''


@pytest.mark.slow
def test_with_tensorflow_alone(exported, served, tmp_path):
    """Loaded twice and run by saved_model_cli; neither Keras nor our code can be imported."""
    pixels, ones = np.full((2, *SHAPE), 9, "uint8"), np.ones((2, KAPPA), F)
    count = {"n": np.int32(4), "seed": np.int64(3)}
    expected = {
        "generate": run(served, "generate", **count)["images"],
        "generate_first_stage": run(served, "generate_first_stage", **count)["images"],
        "decode": run(served, "decode", u=ones)["images"],
        "decode_z": run(served, "decode_z", z=ones)["images"],
        "reconstruct": run(served, "reconstruct", images=pixels)["images"],
        **{f"encode.{k}": v for k, v in run(served, "encode", images=pixels).items()},
    }
    np.savez(tmp_path / "expected.npz", **expected)
    (tmp_path / "alone.py").write_text(textwrap.dedent(ALONE))
    done = subprocess.run(
        [sys.executable, "-I", "alone.py", str(exported[1]), "expected.npz"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("alone\n")


def test_folder_of_its_own(exported, tmp_path):
    model, _ = exported
    module = export.served(model)
    functions = {"decode_z": module.decode_z}
    (tmp_path / "first.keras").write_text("mine")
    with pytest.raises(FileExistsError, match=r"needs a folder of its own, .* holds first\.keras"):
        export.save(module, functions, tmp_path)
    assert (tmp_path / "first.keras").read_text() == "mine"
    folder = tmp_path / "saved_model" / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_text("an earlier one")
    export.save(module, functions, folder)  # replaces it
    assert list(tf.saved_model.load(str(folder)).signatures) == ["decode_z"]
    assert [path.name for path in folder.parent.iterdir()] == ["1"]


def test_an_export_that_fails_leaves_nothing(exported, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(export, "write_warmup", full)
    module = export.served(exported[0])
    with pytest.raises(OSError, match="no space left"):
        export.save(module, {"decode_z": module.decode_z}, tmp_path / "1")
    assert not list(tmp_path.iterdir())  # half a model least of all, it may be large


@pytest.fixture
def small_export(monkeypatch):
    """folder -> an export into it of next to nothing, in no time."""
    monkeypatch.setattr(export, "write_warmup", lambda *_: None)
    module = tf.Module()
    module.same = tf.function(lambda x: {"x": x}, input_signature=[tf.TensorSpec((), tf.int32)])
    return lambda folder: export.save(module, {"same": module.same}, folder)


def earlier_model(folder):
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_text("an earlier one")
    return folder


def test_a_watching_server_never_finds_half_a_model(tmp_path, monkeypatch, small_export):
    """Nothing is removed or written under a name that is a number."""
    folder = earlier_model(tmp_path / "1")
    removed = []

    def remove(path, rmtree=shutil.rmtree, **options):
        removed.append(Path(path).name)
        rmtree(path, **options)

    monkeypatch.setattr(export.shutil, "rmtree", remove)
    small_export(folder)
    assert removed
    assert not any(name.isdigit() for name in removed)
    assert list(tf.saved_model.load(str(folder)).signatures) == ["same"]
    assert list(tmp_path.iterdir()) == [folder]


def test_an_earlier_model_stays_when_the_new_one_can_not_take_its_place(
    tmp_path, monkeypatch, small_export
):
    folder = earlier_model(tmp_path / "1")

    def replace(source, target, rename=os.replace):
        if "unfinished" in Path(source).name:
            raise OSError("no")
        rename(source, target)

    monkeypatch.setattr(export.os, "replace", replace)
    with pytest.raises(OSError, match="no"):
        small_export(folder)
    assert (folder / "saved_model.pb").read_text() == "an earlier one"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_killed_export_left_is_put_in_order(tmp_path, monkeypatch, small_export, fails):
    """As it is between the two renames: the earlier model has gone, the new one isn't there."""
    folder = tmp_path / "1"
    unfinished, earlier = export.aside(folder)
    earlier_model(earlier)
    earlier_model(unfinished / "variables")
    if fails:
        monkeypatch.setattr(tf.saved_model, "save", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            small_export(folder)
        assert (folder / "saved_model.pb").read_text() == "an earlier one"
    else:
        small_export(folder)
        assert list(tf.saved_model.load(str(folder)).signatures) == ["same"]
    assert list(tmp_path.iterdir()) == [folder]


def test_every_file_of_an_export_is_on_the_disk_before_it_gets_its_name(
    tmp_path, monkeypatch, small_export
):
    synced = []

    def sync(path):
        assert not (tmp_path / "1").exists()
        synced.append(Path(path).name)

    monkeypatch.setattr(export, "sync", sync)
    small_export(tmp_path / "1")
    files = [path.name for path in (tmp_path / "1").rglob("*") if path.is_file()]
    assert sorted(synced) == sorted(files)
    assert "saved_model.pb" in synced


def test_limit_must_be_positive(exported, tmp_path):
    with pytest.raises(ValueError, match="max_images must be at least 1, got 0"):
        export.export_saved_model(exported[0], tmp_path / "1", max_images=0)
