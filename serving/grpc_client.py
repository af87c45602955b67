"""A client of TensorFlow Serving's gRPC interface; needs requirements-serving.txt.

python -m serving.grpc_client --address localhost:8500 --n 64 --seed 0 --out samples.png
"""

from __future__ import annotations

import sys

from serving import client
from serving.client import ServingError

try:
    import grpc
    import numpy as np
    import tensorflow as tf
    from tensorflow.core.framework import types_pb2
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        predict_pb2,
        prediction_service_pb2_grpc,
    )
except ModuleNotFoundError as error:
    client.missing(error, __name__)

ADDRESS = "localhost:8500"
# gRPC refuses messages above 4 MiB by default: 342 images of 64 x 64 in colour.
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class GrpcClient:
    """Speaks to ``host:port`` without encryption; safe to share between threads."""

    def __init__(self, address: str = ADDRESS, model: str = client.MODEL, timeout: float = 60.0):
        self.model = model
        self.timeout = timeout
        self._channel = grpc.insecure_channel(address, options=OPTIONS)
        self._service = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def predict(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of one request by name; see :class:`serving.client.Client`."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self.model
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(np.asarray(value)))
        answer = self._call(self._service.Predict, request)
        return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}

    def signatures(self) -> dict:
        """Names, types and shapes; see :class:`serving.client.Client`."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self.model
        answer = self._call(self._service.GetModelMetadata, request)
        found = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(found)
        return {
            name: {
                "inputs": _tensors(definition.inputs),
                "outputs": _tensors(definition.outputs),
            }
            for name, definition in found.signature_def.items()
            if not name.startswith("__")
        }

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def _call(self, method, request):
        try:
            return method(request, timeout=self.timeout)
        except grpc.RpcError as error:
            raise ServingError(error.code().name, error.details()) from None


def _tensors(infos) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {
        name: (types_pb2.DataType.Name(i.dtype), tuple(d.size for d in i.tensor_shape.dim))
        for name, i in infos.items()
    }


if __name__ == "__main__":
    sys.exit(client.main(GrpcClient, ADDRESS, "Images from TensorFlow Serving, over gRPC."))
