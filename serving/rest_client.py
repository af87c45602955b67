"""A client of TensorFlow Serving's REST interface, on the standard library, NumPy and Pillow.

python -m serving.rest_client --address http://localhost:8501 --n 64 --seed 0 --out samples.png
"""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import numpy as np

from serving import client
from serving.client import DTYPES, ServingError

ADDRESS = "http://localhost:8501"
# The server answers with an HTTP status alone; where two codes share one, the likelier is named.
CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class RestClient:
    """Speaks to ``http://host:port``, or ``host:port``; safe to share between threads.

    JSON spells out every pixel: convenient for one image, several times the bytes of gRPC.
    """

    def __init__(self, address: str = ADDRESS, model: str = client.MODEL, timeout: float = 60.0):
        if "://" not in address:
            address = f"http://{address}"
        self.base = f"{address.rstrip('/')}/v1/models/{model}"
        self.timeout = timeout
        self._signatures = None

    def predict(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of one request by name; see :class:`serving.client.Client`."""
        outputs = self.signatures().get(signature, {}).get("outputs", {})
        content = {name: np.asarray(value).tolist() for name, value in inputs.items()}
        body = json.dumps({"signature_name": signature, "inputs": content})
        answer = self._ask(":predict", body.encode())
        with self._expected():
            answer = answer["outputs"]
            if len(outputs) == 1:  # an only output comes without its name
                answer = {next(iter(outputs)): answer}
            return {
                name: np.array(value, DTYPES[outputs[name][0]]) for name, value in answer.items()
            }

    def signatures(self) -> dict:
        """Names, types and shapes, asked for once; see :class:`serving.client.Client`."""
        if self._signatures is None:
            answer = self._ask("/metadata")
            with self._expected():
                self._signatures = {
                    name: {side: _tensors(found.get(side, {})) for side in ("inputs", "outputs")}
                    for name, found in answer["metadata"]["signature_def"]["signature_def"].items()
                    if not name.startswith("__")
                }
        return self._signatures

    def _ask(self, path: str, body: bytes | None = None) -> dict:
        try:
            request = urllib.request.Request(
                self.base + path, data=body, headers={"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            # A proxy's answer instead of the server's is shown as it is
            with contextlib.suppress(ValueError, KeyError, TypeError):
                text = json.loads(text)["error"]
            raise ServingError(CODES.get(error.code, f"HTTP {error.code}"), text) from None
        except (http.client.HTTPException, ValueError) as error:
            raise self._other_language(error) from None

    @contextlib.contextmanager
    def _expected(self) -> Iterator[None]:
        """JSON of another shape than TensorFlow Serving's means that it was not that."""
        try:
            yield
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise self._other_language(f"{type(error).__name__}: {error}") from None

    def _other_language(self, reason: object) -> ServingError:
        return ServingError(
            "UNAVAILABLE", f"{self.base} does not speak TensorFlow Serving's REST API ({reason})"
        )


def _tensors(infos: dict) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {
        name: (
            info["dtype"],
            tuple(int(d["size"]) for d in info.get("tensor_shape", {}).get("dim", [])),
        )
        for name, info in infos.items()
    }


if __name__ == "__main__":
    sys.exit(client.main(RestClient, ADDRESS, "Images from TensorFlow Serving, over REST."))
