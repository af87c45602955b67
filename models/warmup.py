"""Warm-up requests of a SavedModel: TensorFlow Serving answers them before any client's.

The first request to a signature pays for TensorFlow's lazy set-up. The server therefore replays
``assets.extra/tf_serving_warmup_requests``, a TFRecord file of ``PredictionLog`` messages, while it
loads the model; a request that fails there keeps the model from being served.

The messages are defined by the package tensorflow-serving-api. An export shouldn't need it for the
five fields that are used here, so they are encoded by hand; the tests parse them with the package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"

# Field numbers, from TensorFlow Serving's prediction_log.proto, predict.proto and model.proto
_LOG_PREDICT = 6  # PredictionLog.predict_log
_PREDICT_REQUEST = 1  # PredictLog.request
_REQUEST_MODEL_SPEC, _REQUEST_INPUTS = 1, 2  # PredictRequest.model_spec, .inputs
_SPEC_NAME, _SPEC_SIGNATURE = 1, 3  # ModelSpec.name, .signature_name
_KEY, _VALUE = 1, 2  # of an entry of any map
_LENGTH_DELIMITED = 2  # the wire type of strings, messages and entries of maps


def varint(value: int) -> bytes:
    """A non-negative integer in protobuf's base 128: seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    """One length-delimited field of a protobuf message."""
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(len(content)) + content


def predict_request(model: str, signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """A serialised ``tensorflow.serving.PredictRequest``."""
    import tensorflow as tf

    spec = field(_SPEC_NAME, model.encode()) + field(_SPEC_SIGNATURE, signature.encode())
    out = field(_REQUEST_MODEL_SPEC, spec)
    for name, array in inputs.items():
        tensor = tf.make_tensor_proto(array).SerializeToString()
        out += field(_REQUEST_INPUTS, field(_KEY, name.encode()) + field(_VALUE, tensor))
    return out


def prediction_log(model: str, signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """A serialised ``tensorflow.serving.PredictionLog`` of one predict request."""
    request = predict_request(model, signature, inputs)
    return field(_LOG_PREDICT, field(_PREDICT_REQUEST, request))


def write_warmup(
    folder, requests: Iterable[tuple[str, Mapping[str, np.ndarray]]], model: str = "two_stage_vae"
) -> Path:
    """Writes ``(signature, inputs)`` pairs as the warm-up requests of the SavedModel in ``folder``.

    The server replays them on the model they lie in, whatever name it is served under. At most
    1,000 are allowed.
    """
    import tensorflow as tf

    path = Path(folder) / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            writer.write(prediction_log(model, signature, inputs))
    return path
