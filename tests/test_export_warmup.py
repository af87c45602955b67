"""Warm-up requests, read back with TensorFlow Serving's own message definitions."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models import warmup

pytest.importorskip("tensorflow_serving", reason="needs requirements-serving.txt")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, b"\x00"), (1, b"\x01"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")],
)
def test_varint(value, expected):
    """300 is the example of protobuf's documentation."""
    assert warmup.varint(value) == expected


def test_requests_are_read_back(tmp_path):
    from tensorflow_serving.apis import prediction_log_pb2

    requests = [
        ("generate", {"n": np.int32(2), "seed": np.int64(-(2**40))}),
        ("decode", {"u": np.linspace(-1, 1, 6, dtype="float32").reshape(2, 3)}),
        ("encode", {"images": np.arange(400, dtype="uint8").reshape(1, 20, 20, 1)}),
    ]
    path = warmup.write_warmup(tmp_path, requests, model="mine")
    assert path == tmp_path / "assets.extra" / "tf_serving_warmup_requests"
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    assert len(records) == len(requests)
    for record, (signature, inputs) in zip(records, requests, strict=True):
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        found = log.predict_log.request
        assert found.model_spec.name == "mine"
        assert found.model_spec.signature_name == signature
        assert set(found.inputs) == set(inputs)
        for name, value in inputs.items():
            array = tf.make_ndarray(found.inputs[name])
            assert array.dtype == value.dtype
            np.testing.assert_array_equal(array, value)
        known = type(log).FromString(record)
        known.DiscardUnknownFields()
        assert known.SerializeToString() == log.SerializeToString()  # no field that it doesn't know
