"""Clients and load generator against the loopback server; the real server's configuration."""

from __future__ import annotations

import re
import runpy
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import models
from models import export
from serving import client, load
from serving.client import ServingError
from serving.rest_client import RestClient

pytest.importorskip("tensorflow_serving", reason="needs requirements-serving.txt")

from serving.grpc_client import GrpcClient
from serving.loopback import Loopback, ServedModel, newest_version

SERVING = Path(client.__file__).parent
SHAPE, KAPPA, LIMIT = (8, 8, 3), 3, 64


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = models.build("two-stage", SHAPE, latent_dim=KAPPA, initial_log_gamma=-1.0, seed=0)
    for part in (model.first, model.second):
        for weight in part.weights:
            if weight.name == "kernel":
                weight.assign(weight * 4)
    return model


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_model")
    export.export_saved_model(model, folder / "3", max_images=LIMIT)
    with Loopback(folder) as loopback:
        yield loopback


@pytest.fixture(scope="module", params=["rest", "grpc"])
def connect(request, server):
    if request.param == "rest":
        return lambda name=client.MODEL: RestClient(server.rest_address, name)
    return lambda name=client.MODEL: GrpcClient(server.grpc_address, name)


def levels(x_hat):
    return np.rint(x_hat * 255).astype("uint8")


def images(n):
    return np.random.default_rng(0).integers(0, 256, (n, *SHAPE)).astype("uint8")


def test_warm_up_requests_were_answered(server):
    assert server.model.warmed_up == 7
    assert server.model.version == 3


@pytest.mark.parametrize("stage", [1, 2])
def test_samples_are_the_models_own(model, connect, stage):
    made = client.generate(connect(), 5, seed=2, stage=stage)
    np.testing.assert_array_equal(made, levels(model.sample(5, stage=stage, seed=2)))
    assert made.dtype == np.uint8


def test_unseeded_samples_differ(connect):
    assert (client.generate(connect(), 3) != client.generate(connect(), 3)).any()


def test_the_other_signatures(model, connect):
    caller, x = connect(), images(2)
    mu_z, sd_z = model.encode(x)
    encoded = caller.predict("encode", images=x)
    np.testing.assert_allclose(encoded["mu_z"], mu_z, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(encoded["sd_z"], sd_z, rtol=1e-4, atol=1e-6)
    decoded = caller.predict("decode", u=encoded["u"])["images"]
    z = model.second.decode(encoded["u"])
    np.testing.assert_array_equal(decoded, levels(model.first.decode(z)))
    rebuilt = caller.predict("reconstruct", images=x)["images"]
    np.testing.assert_array_equal(rebuilt, caller.predict("decode_z", z=encoded["mu_z"])["images"])


def test_signatures_are_described(connect):
    found = connect().signatures()
    assert found["generate"] == {
        "inputs": {"n": ("DT_INT32", ()), "seed": ("DT_INT64", ())},
        "outputs": {"images": ("DT_UINT8", (-1, *SHAPE))},
    }
    assert set(found["encode"]["outputs"]) == {"mu_z", "sd_z", "u"}
    assert len(found) == 7


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("generate", {"n": np.int32(0), "seed": np.int64(0)}, f"n must be from 1 to {LIMIT}"),
        ("generate", {"n": np.int32(LIMIT + 1), "seed": np.int64(0)}, "n must be from 1"),
        ("decode", {"u": np.full((1, KAPPA), np.nan, "float32")}, "u must be finite"),
        ("decode", {"u": np.zeros((2, KAPPA + 1), "float32")}, "u must have shape"),
        ("decode", {"u": np.zeros(KAPPA, "float32")}, "u must have shape"),
        ("encode", {"images": np.zeros((1, 8, 8, 1), "uint8")}, "images must have shape"),
        ("encode", {"images": np.zeros((0, *SHAPE), "uint8")}, "images must have shape"),
        ("decode", {"images": np.zeros((1, *SHAPE), "uint8")}, "u"),  # no such input
        ("decode", {"u": np.array([["a"] * KAPPA])}, "u"),
    ],
)
def test_bad_requests(connect, signature, inputs, message):
    with pytest.raises(ServingError, match=message) as refusal:
        connect().predict(signature, **inputs)
    assert refusal.value.code == "INVALID_ARGUMENT"


def test_rest_refuses_what_its_type_can_not_hold(server):
    rest = RestClient(server.rest_address)
    for bad in (np.full((1, *SHAPE), 256), np.full((1, *SHAPE), 0.5), np.full((1, *SHAPE), -1)):
        with pytest.raises(ServingError, match="INVALID_ARGUMENT"):
            rest.predict("encode", images=bad)


def test_unknown_names(connect):
    with pytest.raises(ServingError, match="NOT_FOUND"):
        connect("another").signatures()
    with pytest.raises(ServingError, match="not found") as refusal:
        connect().predict("dream", n=np.int32(1))
    assert refusal.value.code in {"FAILED_PRECONDITION", "INVALID_ARGUMENT"}  # gRPC's and REST's


def test_command_saves_a_grid(model, server, tmp_path, capsys):
    from serving import grpc_client, rest_client

    for module, address, make in (
        (rest_client, server.rest_address, RestClient),
        (grpc_client, server.grpc_address, GrpcClient),
    ):
        path = tmp_path / f"{make.__name__}.png"
        arguments = ["--address", address, "--n", "5", "--seed", "4", "--out", str(path)]
        assert client.main(make, module.ADDRESS, "", arguments) == 0
        picture = np.asarray(Image.open(path))
        expected = levels(model.sample(5, seed=4))
        assert picture.shape == (2 * (8 + 2) + 2, 3 * (8 + 2) + 2, 3)
        np.testing.assert_array_equal(picture[2:10, 2:10], expected[0])
        np.testing.assert_array_equal(picture[12:20, 12:20], expected[4])
        assert (picture[12:20, 22:30] == 255).all()  # there is no sixth image
        assert client.main(make, module.ADDRESS, "", [*arguments, "--n", "0"]) == 2
        assert "n must be from 1" in capsys.readouterr().err


def test_no_server_is_one_line_that_says_what_to_start(capsys):
    for make, address in ((RestClient, "http://127.0.0.1:9"), (GrpcClient, "127.0.0.1:9")):
        assert client.main(make, "", "", ["--address", address]) == 2
        assert load.main(["--rest" if make is RestClient else "--grpc", address]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert [line.split(":")[0] for line in lines] == [address.split(":")[0]] * 2
        assert "gave no images" in lines[0]
        assert all("python -m serving.loopback" in line for line in lines)


def test_a_refusal_does_not_ask_for_a_server(server, capsys):
    assert client.main(GrpcClient, server.grpc_address, "", ["--model", "another"]) == 2
    assert "loopback" not in capsys.readouterr().err


def test_an_address_needs_no_scheme(server):
    address = server.rest_address.removeprefix("http://")
    assert RestClient(address).signatures() == RestClient(server.rest_address).signatures()
    assert RestClient("https://host/prefix/").base.startswith("https://host/prefix/v1/")


@pytest.mark.parametrize("absent", ["grpc", "tensorflow_serving"])
@pytest.mark.parametrize("module", ["grpc_client", "loopback"])
def test_a_missing_package_is_one_line(monkeypatch, capsys, module, absent):
    for name in [name for name in sys.modules if name.startswith(f"{absent}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, absent, None)
    sentence = f"{absent} is missing: pip install -r requirements-serving.txt"
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SERVING / f"{module}.py"), run_name="__main__")
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"{sentence}\n"
    with pytest.raises(ImportError, match=f"^{sentence}$"):
        runpy.run_path(str(SERVING / f"{module}.py"), run_name="imported")


def test_a_missing_package_is_one_line_of_the_load_generator_too(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "grpc", None)
    monkeypatch.delitem(sys.modules, "serving.grpc_client")
    assert load.main(["--grpc", "127.0.0.1:9"]) == 2
    assert capsys.readouterr().err.startswith("grpc is missing: pip install -r ")


# --- load -----------------------------------------------------------------------------------------


def test_mixed_requests(server):
    signatures = RestClient(server.rest_address).signatures()
    requests = load.mixed_requests(signatures, 70, invalid=10, batch=4, seed=1)
    assert sum(not request.valid for request in requests) == 7
    assert {request.signature for request in requests} == set(signatures)
    assert {request.examples for request in requests if request.valid} == {1, 2, 3, 4}


def test_summary():
    outcomes = [load.Outcome(seconds / 1000) for seconds in range(1, 100)]
    outcomes.append(load.Outcome(0.1, wrong="late"))
    found = load.summary(outcomes, seconds=2.0)
    assert found["requests"] == 100
    assert found["wrong"] == 1
    assert found["requests_per_second"] == 50
    assert found["p50_ms"] == pytest.approx(50.5)
    assert found["p99_ms"] == pytest.approx(99.01)
    assert found["max_ms"] == pytest.approx(100)


def test_wrong_answers_are_found():
    signatures = {"decode": {"inputs": {}, "outputs": {"images": ("DT_UINT8", (-1, 8, 8, 3))}}}
    good = load.Request("decode", {"u": np.zeros((2, 3))})
    bad = load.Request("decode", {"u": np.zeros((2, 4))}, valid=False)
    refusal = ServingError("INVALID_ARGUMENT", "no")
    outputs = {"images": np.zeros((2, 8, 8, 3), "uint8")}
    assert load.wrong(good, signatures, outputs, None) is None
    assert load.wrong(bad, signatures, None, refusal) is None
    assert "was answered" in load.wrong(bad, signatures, outputs, None)
    assert "INTERNAL" in load.wrong(bad, signatures, None, ServingError("INTERNAL", "crash"))
    assert "INVALID" in load.wrong(good, signatures, None, refusal)
    for made in (np.zeros((1, 8, 8, 3), "uint8"), np.zeros((2, 8, 8, 3), "float32")):
        assert "expected uint8" in load.wrong(good, signatures, {"images": made}, None)


def resident_bytes() -> int:
    """Memory of this process, server and clients together."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) * 1024


def checked(model):
    """A check of seeded samples and latents against the model itself, one at a time."""
    lock = threading.Lock()

    def check(request, outputs):
        with lock:
            if "seed" not in request.inputs:
                return None
            stage = 1 if request.signature == "generate_first_stage" else 2
            expected = model.sample(request.examples, stage=stage, seed=int(request.inputs["seed"]))
        same = np.array_equal(outputs["images"], levels(expected))
        return None if same else f"{request.signature}: not the model's own images"

    return check


def test_some_mixed_requests(model, connect):
    requests = load.mixed_requests(connect().signatures(), 42, invalid=6, batch=4)
    outcomes, seconds = load.drive(connect, requests, concurrency=4, check=checked(model))
    assert len(outcomes) == 42
    assert [outcome.wrong for outcome in outcomes if outcome.wrong] == []
    assert seconds > 0


def test_a_client_that_breaks_is_a_wrong_answer_and_not_a_missing_one(connect):
    signatures = connect().signatures()

    class Broken:
        def signatures(self):
            return signatures

        def predict(self, *_, **__):
            raise KeyError("images")

    outcomes, _ = load.drive(Broken, load.mixed_requests(signatures, 20, batch=2), concurrency=2)
    assert len(outcomes) == 20
    assert all("KeyError" in outcome.wrong for outcome in outcomes)


@pytest.mark.slow
def test_a_thousand_mixed_requests(model, connect):
    """At concurrency 8, a tenth invalid: all answered rightly, and memory stays where it was."""
    signatures = connect().signatures()
    warm = load.mixed_requests(signatures, 300, batch=4, seed=1)
    load.drive(connect, warm, concurrency=8)
    before = resident_bytes() if Path("/proc/self/status").exists() else None
    requests = load.mixed_requests(signatures, 1000, invalid=10, batch=4, seed=2)
    assert sum(not request.valid for request in requests) == 100
    outcomes, _ = load.drive(connect, requests, concurrency=8)
    assert len(outcomes) == 1000
    assert [outcome.wrong for outcome in outcomes if outcome.wrong] == []
    if before is not None:
        assert resident_bytes() - before < 32 * 2**20


@pytest.mark.parametrize("address", ["grpc", "http://localhost:x", "myhost"])
def test_an_address_of_something_else_is_one_line(server, capsys, tmp_path, address):
    if address == "grpc":
        address = f"http://{server.grpc_address}"
    arguments = ["--address", address, "--out", str(tmp_path / "a.png")]
    assert client.main(RestClient, "", "", arguments) == 2
    assert capsys.readouterr().err.startswith(f"{address} gave no images: ")


@pytest.mark.parametrize("answer", [{"detail": "ok"}, [], {"metadata": {"signature_def": 3}}])
def test_json_of_something_else_is_one_line(monkeypatch, capsys, tmp_path, answer):
    monkeypatch.setattr(RestClient, "_ask", lambda *_: answer)
    assert (
        client.main(RestClient, "", "", ["--address", "x", "--out", str(tmp_path / "a.png")]) == 2
    )
    assert "does not speak TensorFlow Serving's REST API" in capsys.readouterr().err


def test_where_pictures_cannot_go_is_one_line(server, capsys, tmp_path):
    out = tmp_path / "absent" / "a.png"
    arguments = ["--address", server.rest_address, "--n", "1", "--out", str(out)]
    assert client.main(RestClient, "", "", arguments) == 2
    assert capsys.readouterr().err.startswith(f"{out} can't be written: No such file")


@pytest.mark.parametrize("method", ["two-stage", "vae-learned-gamma"])
def test_a_model_of_one_image_a_request_can_be_warmed_up(tmp_path, method):
    model = models.build(method, (8, 8, 1), latent_dim=3)
    model.export(tmp_path / "1", max_images=1)
    assert ServedModel(tmp_path).warmed_up == (7 if method == "two-stage" else 5)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_model_of_one_stage_says_which_signatures_it_has(tmp_path, protocol):
    model = models.build("vae-learned-gamma", (8, 8, 1), latent_dim=3)
    export.export_saved_model(model, tmp_path / "1")
    with Loopback(tmp_path) as loopback:
        make = {"rest": RestClient, "grpc": GrpcClient}[protocol]
        address = {"rest": loopback.rest_address, "grpc": loopback.grpc_address}[protocol]
        made = client.generate(make(address), 2, seed=1)
        np.testing.assert_array_equal(made, levels(model.sample(2, seed=1)))
        names = "decode, encode, generate, reconstruct, serving_default"
        sentence = f"no such signature: generate_first_stage; there are {names}$"
        with pytest.raises(ServingError, match=sentence):
            client.generate(make(address), 2, stage=1)
        with pytest.raises(ServingError, match="n must be from 1"):  # it is there: as it came
            client.generate(make(address), 0)


def test_load_command(server, capsys):
    address = ["--rest", server.rest_address]
    assert load.main([*address, "--requests", "14", "--concurrency", "2", "--batch", "2"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^requests +14$", printed, re.MULTILINE)
    assert re.search(r"^wrong +0$", printed, re.MULTILINE)
    assert load.main([*address, "--signatures", "dream"]) == 2
    assert load.main(["--rest", "http://127.0.0.1:9"]) == 2
    with pytest.raises(SystemExit):
        load.main([*address, "--requests", "0"])


# --- files ----------------------------------------------------------------------------------------


def test_newest_version(tmp_path):
    for name in ("9", "10", "unfinished-11", "12"):
        (tmp_path / name).mkdir()
        if name != "12":  # 12 is empty
            (tmp_path / name / "saved_model.pb").touch()
    assert newest_version(tmp_path).name == "10"
    with pytest.raises(FileNotFoundError, match="holds no version of a SavedModel"):
        newest_version(tmp_path / "9")


def test_models_config():
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    text = (SERVING / "models.config").read_text()
    found = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (only,) = found.model_config_list.config
    assert (only.name, only.base_path) == (client.MODEL, f"/models/{client.MODEL}")
    assert f":/models/{client.MODEL}:ro" in (SERVING / "compose.yaml").read_text()


def test_batching_config():
    """The names and types are those of BatchingParameters in session_bundle_config.proto."""
    text = re.sub(r"#.*", "", (SERVING / "batching.config").read_text())
    found = {name: int(value) for name, value in re.findall(r"(\w+) \{ value: (\d+) \}", text)}
    assert re.sub(r"\w+ \{ value: \d+ \}", "", text).strip() == ""
    assert set(found) == {
        "max_batch_size",
        "batch_timeout_micros",
        "max_enqueued_batches",
        "num_batch_threads",
    }
    assert found["max_batch_size"] <= export.MAX_IMAGES


def test_tensors_travel_as_the_servers():
    """The server sends small integers one by one; the client must read both ways."""
    from serving.loopback import _tensor

    array = np.arange(200, 212, dtype="uint8").reshape(3, 4)
    proto = _tensor(array)
    assert not proto.tensor_content
    assert list(proto.int_val) == list(range(200, 212))
    np.testing.assert_array_equal(tf.make_ndarray(proto), array)
