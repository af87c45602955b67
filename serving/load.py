"""Requests of all signatures, many at a time: are they answered rightly, how long does it take?

    python -m serving.load --rest http://localhost:8501 --requests 1000 --concurrency 8

One request in ``--invalid`` is one that must be refused with INVALID_ARGUMENT. Prints throughput
and latency percentiles; exits with 1 if any answer was wrong.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from serving.client import DTYPES, MODEL, Client, ServingError, told

PERCENTILES = (50, 90, 99)
TOO_MANY = 2**31 - 1


@dataclass(frozen=True)
class Request:
    """One request, and whether it is one to answer or one to refuse."""

    signature: str
    inputs: dict[str, np.ndarray]
    valid: bool = True

    @property
    def examples(self) -> int:
        """Images, or latent vectors, asked for or sent."""
        if "n" in self.inputs:
            return int(self.inputs["n"])
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True)
class Outcome:
    """What became of a request: how long it took, and what was wrong with the answer, if it was."""

    seconds: float
    wrong: str | None = None


def mixed_requests(
    signatures: dict, count: int, *, invalid: int = 10, batch: int = 8, seed: int = 0
) -> list[Request]:
    """``count`` requests of all signatures in turn, of 1 to ``batch`` examples.

    Args:
        signatures: as a client gives them.
        invalid: every so manieth is to be refused; 0 for none.
        seed: for sizes and contents.
    """
    rng = np.random.default_rng(seed)
    names = sorted(signatures)
    requests = []
    for i in range(count):
        name = names[i % len(names)]
        inputs = _inputs(signatures[name]["inputs"], int(rng.integers(1, batch + 1)), rng)
        bad = invalid > 0 and i % invalid == invalid - 1
        requests.append(Request(name, _spoiled(inputs, rng) if bad else inputs, valid=not bad))
    return requests


def _inputs(tensors: dict, size: int, rng) -> dict[str, np.ndarray]:
    inputs = {}
    for name, (dtype, shape) in tensors.items():
        if name == "n":
            inputs[name] = np.int32(size)
        elif name == "seed":
            inputs[name] = np.int64(rng.integers(2**31))
        elif dtype == "DT_UINT8":
            inputs[name] = rng.integers(0, 256, (size, *shape[1:])).astype("uint8")
        else:
            inputs[name] = rng.standard_normal((size, *shape[1:])).astype(DTYPES[dtype])
    return inputs


def _spoiled(inputs: dict[str, np.ndarray], rng) -> dict[str, np.ndarray]:
    """The inputs with one mistake."""
    if "n" in inputs:
        return {**inputs, "n": np.int32(rng.choice([0, -1, TOO_MANY]))}
    name, array = next(iter(inputs.items()))
    # No examples, nothing in them, no batch axis, one axis too many
    spoilt = [array[:0], array[..., :0], array[0], np.stack([array, array])]
    if array.dtype.kind == "f":
        spoilt += [np.full_like(array, value) for value in (np.nan, np.inf)]
    return {name: spoilt[rng.integers(len(spoilt))]}


def wrong(request: Request, signatures: dict, outputs: dict | None, error) -> str | None:
    """What is wrong with an answer, outputs or a ServingError; None if nothing is."""
    if not request.valid:
        if error is None:
            return f"{request.signature}: a bad request was answered"
        return None if error.code == "INVALID_ARGUMENT" else f"{request.signature}: {error}"
    if error is not None:
        return f"{request.signature}: {error}"
    for name, (dtype, shape) in signatures[request.signature]["outputs"].items():
        expected = (request.examples, *shape[1:])
        if outputs[name].dtype != DTYPES[dtype] or outputs[name].shape != expected:
            return (
                f"{request.signature}: {name} is {outputs[name].dtype} {outputs[name].shape}, "
                f"expected {DTYPES[dtype]} {expected}"
            )
    return None


def drive(
    connect: Callable[[], Client],
    requests: Iterable[Request],
    concurrency: int = 8,
    check: Callable[[Request, dict], str | None] | None = None,
) -> tuple[list[Outcome], float]:
    """Sends requests from ``concurrency`` threads, each with a client of its own.

    Args:
        connect: makes a client.
        requests: each is sent once.
        check: looks at the outputs of a valid request as well, and says what is wrong with them.

    Returns:
        The outcomes, and the seconds from the first request to the last answer.
    """
    queue, lock, outcomes = iter(requests), threading.Lock(), []
    signatures = connect().signatures()

    def work():
        client = None
        while True:
            with lock:
                request = next(queue, None)
            if request is None:
                return
            outputs = error = None
            start = time.perf_counter()
            try:
                if client is None:
                    client = connect()
                    client.signatures()
                    start = time.perf_counter()
                try:
                    outputs = client.predict(request.signature, **request.inputs)
                except ServingError as refusal:
                    error = refusal
                seconds = time.perf_counter() - start
                found = wrong(request, signatures, outputs, error)
                if found is None and request.valid and check is not None:
                    found = check(request, outputs)
            except Exception as broken:  # whatever it is: a request without its outcome would pass
                seconds = time.perf_counter() - start
                found = f"{request.signature}: {type(broken).__name__}: {broken}"
            with lock:
                outcomes.append(Outcome(seconds, found))

    threads = [threading.Thread(target=work) for _ in range(concurrency)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes, time.perf_counter() - start


def summary(outcomes: Sequence[Outcome], seconds: float) -> dict[str, float]:
    """Requests, wrong answers, requests a second, latency percentiles and the longest, in ms."""
    latencies = np.array([outcome.seconds for outcome in outcomes]) * 1000
    return {
        "requests": len(outcomes),
        "wrong": sum(outcome.wrong is not None for outcome in outcomes),
        "requests_per_second": len(outcomes) / seconds,
        **{f"p{p}_ms": float(np.percentile(latencies, p)) for p in PERCENTILES},
        "max_ms": float(latencies.max()),
    }


def main(arguments=None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Load for TensorFlow Serving, answers checked.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--rest", metavar="URL", help="such as http://localhost:8501")
    where.add_argument("--grpc", metavar="HOST:PORT", help="such as localhost:8500")
    parser.add_argument("--model", default=MODEL, help="default %(default)s")
    parser.add_argument("--requests", type=int, default=1000, help="default %(default)s")
    parser.add_argument("--concurrency", type=int, default=8, help="default %(default)s")
    parser.add_argument("--batch", type=int, default=8, help="most examples; default %(default)s")
    parser.add_argument("--invalid", type=int, default=10, help="one in so many; 0 for none")
    parser.add_argument("--signatures", nargs="+", help="default: all")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    options = parser.parse_args(arguments)
    if min(options.requests, options.concurrency, options.batch) < 1:
        parser.error("--requests, --concurrency and --batch must be at least 1")
    try:
        if options.rest:
            from serving.rest_client import RestClient as make
        else:
            from serving.grpc_client import GrpcClient as make
    except ModuleNotFoundError as error:
        print(error, file=sys.stderr)
        return 2

    def connect():
        return make(options.rest or options.grpc, options.model)

    try:
        signatures = connect().signatures()
    except (ServingError, OSError) as error:
        print(f"{options.rest or options.grpc} does not answer: {told(error)}", file=sys.stderr)
        return 2
    unknown = sorted(set(options.signatures or ()) - set(signatures))
    if unknown:
        print(f"no such signature: {', '.join(unknown)}; there are {', '.join(sorted(signatures))}")
        return 2
    wanted = {name: signatures[name] for name in options.signatures or signatures}
    requests = mixed_requests(
        wanted, options.requests, invalid=options.invalid, batch=options.batch, seed=options.seed
    )
    outcomes, seconds = drive(connect, requests, options.concurrency)
    for name, value in summary(outcomes, seconds).items():
        print(f"{name:20} {value:10.1f}" if isinstance(value, float) else f"{name:20} {value:10d}")
    mistakes = sorted({outcome.wrong for outcome in outcomes if outcome.wrong})
    for mistake in mistakes[:10]:
        print(f"wrong: {mistake}", file=sys.stderr)
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
