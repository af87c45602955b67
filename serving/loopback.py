"""A small stand-in for TensorFlow Serving, for trying clients and models where it can't be had.

    python -m serving.loopback runs/quick/mnist-infogan-two-stage-trial0/saved_model

THIS IS NOT TensorFlow Serving: Python, for one machine, without batching, several models, limits or
encryption. It answers as the server does, by REST and by the gRPC PredictionService, what the
clients beside it ask: predict, metadata and status. It loads the same SavedModel into a TensorFlow
session through the same C++ interface, without the checks that Python would make, and replays the
warm-up requests first. Needs requirements-serving.txt.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from serving.client import MODEL, ServingError, missing

try:
    import grpc
    import numpy as np
    import tensorflow as tf
    from google.protobuf import json_format
    from tensorflow.core.framework import tensor_pb2
    from tensorflow.core.protobuf import config_pb2
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        predict_pb2,
        prediction_log_pb2,
        prediction_service_pb2_grpc,
    )
except ModuleNotFoundError as error:
    missing(error, __name__)

DEFAULT_SIGNATURE = "serving_default"
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
HTTP_STATUS = {"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "NOT_FOUND": 404}
PATH = re.compile(r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>\d+))?(?P<rest>.*)")


def newest_version(folder) -> Path:
    """The subfolder with the largest number for a name.

    Raises:
        FileNotFoundError: if there is none.
    """
    folder = Path(folder)
    found = [p for p in folder.glob("*") if p.name.isdigit() and (p / "saved_model.pb").exists()]
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no version of a SavedModel, such as {folder / '1'}."
        )
    return max(found, key=lambda path: int(path.name))


class ServedModel:
    """One version of a SavedModel in a session; its methods may be called from many threads.

    Args:
        folder: holds folders with numbers for names; the largest is taken.
        name: that requests must have.
    """

    def __init__(self, folder, name: str = MODEL):
        path = newest_version(folder)
        self.name = name
        self.version = int(path.name)
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            meta = tf.compat.v1.saved_model.load(self._session, ["serve"], str(path))
        self.signatures = dict(meta.signature_def)
        self._runs = {key: self._run(definition) for key, definition in self.signatures.items()}
        self.warmed_up = self._warm_up(path / WARMUP_FILE)

    def _run(self, definition):
        """A function that feeds the inputs and fetches the outputs, each in its names' order."""
        inputs = [definition.inputs[name].name for name in sorted(definition.inputs)]
        outputs = [definition.outputs[name].name for name in sorted(definition.outputs)]
        if not outputs or ":" not in outputs[0]:
            return None  # the op that initialises the model, no signature of its own
        options = config_pb2.CallableOptions(feed=inputs, fetch=outputs)
        # Session.run would refuse wrong shapes in Python, before the graph sees them; the server
        # calls the C++ session, which does not.
        return self._session._make_callable_from_options(options)

    def _warm_up(self, path: Path) -> int:
        count = 0
        if path.exists():
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                log = prediction_log_pb2.PredictionLog.FromString(record)
                self.predict(log.predict_log.request)
                count += 1
        return count

    def check(self, spec) -> None:
        """Raises ServingError unless the request's ModelSpec is of this model."""
        version = spec.version.value if spec.HasField("version") else self.version
        if (spec.name, version) != (self.name, self.version):
            raise ServingError(
                "NOT_FOUND", f"Servable not found for request: {spec.name}, version {version}"
            )

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Answers a request; raises ServingError with the server's code."""
        key = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if self._runs.get(key) is None:
            raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{key}" not found.')
        definition = self.signatures[key]
        if set(request.inputs) != set(definition.inputs):
            raise ServingError(
                "INVALID_ARGUMENT",
                f"input size does not match signature: expected {sorted(definition.inputs)}, "
                f"got {sorted(request.inputs)}",
            )
        feeds = []
        for name in sorted(definition.inputs):
            expected, tensor = definition.inputs[name].dtype, request.inputs[name]
            if tensor.dtype != expected:
                raise ServingError(
                    "INVALID_ARGUMENT", f"{name}: expected type {expected}, got {tensor.dtype}"
                )
            feeds.append(_array(tensor, name))
        try:
            fetched = self._runs[key](*feeds)
        except tf.errors.OpError as error:
            code = next(c for c in grpc.StatusCode if c.value[0] == error.error_code)
            raise ServingError(code.name, error.message) from None
        response = predict_pb2.PredictResponse()
        response.model_spec.name = self.name
        response.model_spec.version.value = self.version
        response.model_spec.signature_name = key
        for name, array in zip(sorted(definition.outputs), fetched, strict=True):
            if not request.output_filter or name in request.output_filter:
                response.outputs[name].CopyFrom(_tensor(array))
        return response

    def metadata(self) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures, as the server gives them."""
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = self.name
        response.model_spec.version.value = self.version
        found = get_model_metadata_pb2.SignatureDefMap()
        for key, definition in self.signatures.items():
            found.signature_def[key].CopyFrom(definition)
        response.metadata["signature_def"].Pack(found)
        return response

    def close(self) -> None:
        """Ends the session."""
        self._session.close()


def _array(tensor, name: str) -> np.ndarray:
    try:
        return tf.make_ndarray(tensor)
    except (ValueError, TypeError) as error:
        raise ServingError("INVALID_ARGUMENT", f"{name}: {error}") from None


def _tensor(array: np.ndarray) -> tensor_pb2.TensorProto:
    """As the server answers: small integers one by one, not as a block of bytes."""
    proto = tf.make_tensor_proto(array[:0] if array.ndim else array)
    shape = tf.TensorShape(array.shape).as_proto()
    values = {"uint8": "int_val", "int32": "int_val", "float32": "float_val"}[array.dtype.name]
    return tensor_pb2.TensorProto(
        dtype=proto.dtype, tensor_shape=shape, **{values: array.ravel().tolist()}
    )


# --- gRPC -----------------------------------------------------------------------------------------


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, model: ServedModel):
        self.model = model

    def Predict(self, request, context):
        return self._answer(request, context, lambda: self.model.predict(request))

    def GetModelMetadata(self, request, context):
        return self._answer(request, context, self.model.metadata)

    def _answer(self, request, context, function):
        try:
            self.model.check(request.model_spec)
            return function()
        except ServingError as error:
            context.abort(getattr(grpc.StatusCode, error.code), error.message)


# --- REST -----------------------------------------------------------------------------------------


def parse_inputs(body: bytes, model: ServedModel) -> predict_pb2.PredictRequest:
    """The PredictRequest of a REST request in columns, ``{"signature_name", "inputs"}``."""
    try:
        document = json.loads(body)
        content = document["inputs"]
    except (ValueError, KeyError, TypeError):
        raise ServingError(
            "INVALID_ARGUMENT",
            "expected a JSON object with the key 'inputs'; this stand-in knows no 'instances'",
        ) from None
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model.name
    request.model_spec.signature_name = document.get("signature_name", "")
    key = request.model_spec.signature_name or DEFAULT_SIGNATURE
    if model.signatures.get(key) is None:
        raise ServingError("INVALID_ARGUMENT", f'Serving signature name: "{key}" not found')
    infos = model.signatures[key].inputs
    if not isinstance(content, dict):  # an only input may come without its name
        if len(infos) > 1:
            raise ServingError("INVALID_ARGUMENT", "inputs must name the inputs of the signature")
        content = {next(iter(infos)): content}
    for name, info in infos.items():
        if name not in content:
            raise ServingError("INVALID_ARGUMENT", f"Missing named input: {name} in 'inputs'")
        array = _from_json(name, content[name], tf.dtypes.as_dtype(info.dtype).as_numpy_dtype)
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    return request


def _from_json(name: str, value, dtype) -> np.ndarray:
    try:
        array = np.array(value)
        if array.size and not (
            np.issubdtype(array.dtype, np.integer)
            or (np.issubdtype(array.dtype, np.floating) and np.issubdtype(dtype, np.floating))
        ):
            raise ValueError(f"{array.dtype} instead of {np.dtype(dtype)}")
        converted = array.astype(dtype)
        if np.issubdtype(dtype, np.integer) and not np.array_equal(converted, array):
            raise ValueError(f"values outside {np.dtype(dtype)}")
    except (ValueError, OverflowError) as error:
        raise ServingError("INVALID_ARGUMENT", f"{name}: {error}") from None
    return converted


def to_json(response: predict_pb2.PredictResponse) -> dict:
    """The REST answer in columns; an only output stands without its name."""
    outputs = {name: tf.make_ndarray(tensor).tolist() for name, tensor in response.outputs.items()}
    return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}


class _RestHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: ServedModel  # set by a subclass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(
            ":predict", lambda: to_json(self.model.predict(parse_inputs(body, self.model)))
        )

    def do_GET(self):
        if self.path.endswith("/metadata"):
            self._answer("/metadata", self._metadata)
        else:
            self._answer("", self._status)

    def _metadata(self) -> dict:
        return json_format.MessageToDict(self.model.metadata(), preserving_proto_field_name=True)

    def _status(self) -> dict:
        status = {"error_code": "OK", "error_message": ""}
        version = {"version": str(self.model.version), "state": "AVAILABLE", "status": status}
        return {"model_version_status": [version]}

    def _answer(self, wanted: str, function) -> None:
        try:
            found = PATH.fullmatch(self.path)
            if not found or found["rest"] != wanted:
                raise ServingError("INVALID_ARGUMENT", f"Malformed request: {self.path}")
            spec = predict_pb2.PredictRequest().model_spec
            spec.name = found["model"]
            if found["version"]:
                spec.version.value = int(found["version"])
            self.model.check(spec)
            status, content = 200, function()
        except ServingError as error:
            status, content = HTTP_STATUS.get(error.code, 500), {"error": error.message}
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass  # one line a request would drown everything else


class _RestServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


# --- both -----------------------------------------------------------------------------------------


class Loopback:
    """Both interfaces on this machine alone; a context manager that stops them.

    Args:
        folder, name: see :class:`ServedModel`.
        rest_port, grpc_port: 0 takes free ones.
        workers: requests over gRPC answered at a time.

    Attributes:
        model: ServedModel.
        rest_address: such as ``http://127.0.0.1:8501``.
        grpc_address: such as ``127.0.0.1:8500``.
    """

    def __init__(
        self,
        folder,
        name: str = MODEL,
        *,
        rest_port: int = 0,
        grpc_port: int = 0,
        workers: int = 8,
    ):
        self.model = ServedModel(folder, name)
        handler = type("Handler", (_RestHandler,), {"model": self.model})
        self._rest = _RestServer(("127.0.0.1", rest_port), handler)
        self.rest_address = f"http://127.0.0.1:{self._rest.server_port}"
        self._grpc = grpc.server(
            futures.ThreadPoolExecutor(workers),
            options=(("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)),
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            _PredictionService(self.model), self._grpc
        )
        self.grpc_address = f"127.0.0.1:{self._grpc.add_insecure_port(f'127.0.0.1:{grpc_port}')}"

    def __enter__(self) -> Loopback:
        self._grpc.start()
        self._thread = threading.Thread(target=self._rest.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._rest.shutdown()
        self._rest.server_close()
        self._thread.join()
        self._grpc.stop(grace=1).wait()
        self.model.close()


def main(arguments=None) -> int:
    """Serves a folder until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A stand-in for TensorFlow Serving, for trials.")
    parser.add_argument("folder", type=Path, help="holds the version folder, such as 1")
    parser.add_argument("--model", default=MODEL, help="default %(default)s")
    parser.add_argument("--rest-port", type=int, default=8501, help="default %(default)s")
    parser.add_argument("--grpc-port", type=int, default=8500, help="default %(default)s")
    options = parser.parse_args(arguments)
    ports = {"rest_port": options.rest_port, "grpc_port": options.grpc_port}
    try:
        loopback = Loopback(options.folder, options.model, **ports)
    except (OSError, RuntimeError, ServingError) as error:
        print(f"Nothing is served: {error}", file=sys.stderr)
        return 2
    with loopback:
        print(
            f"{options.model}: {loopback.rest_address} (REST), {loopback.grpc_address} (gRPC). "
            "This is not TensorFlow Serving. Ctrl-C ends it.",
            flush=True,
        )
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
