"""Metrics of all processes of the server, in Prometheus' text format.

Counters live in files that the processes share (see ``metrics_directory``); ``/metrics`` adds them up.
A file goes by the process's name, not its number: a process that replaces a dead one goes on in its file.
"""

import os
import time
from collections.abc import Iterable
from multiprocessing import current_process
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    values,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eventmodel.bundle import Bundle
from server.errors import ERROR_CODE_HEADER
from server.metrics_directory import VARIABLE

if VARIABLE in os.environ:
    values.ValueClass = values.MultiProcessValue(lambda: current_process().name)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

REQUEST_SECONDS = Histogram(
    "eventmodel_request_duration_seconds", "From a request's first byte to the end of its answer.", buckets=_SECONDS
)
REQUESTS = Counter("eventmodel_requests", "Requests for a prediction, by HTTP status.", ["status"])
ERRORS = Counter("eventmodel_request_errors", "Requests without a prediction, by the error's code.", ["code"])
QUEUE_SECONDS = Histogram(
    "eventmodel_queue_duration_seconds", "From a checked request to the start of its batch.", buckets=_SECONDS
)
BATCH_SECONDS = Histogram(
    "eventmodel_batch_duration_seconds", "How long the model works on one batch.", buckets=_SECONDS
)
BATCH_SIZE = Histogram(
    "eventmodel_batch_size_requests", "Requests in one batch.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
HISTORY_EVENTS = Histogram(
    "eventmodel_request_events",
    "Events in the histories of one request.",
    buckets=(0, 10, 25, 50, 100, 200, 400, 800, 1600),
)
QUEUE_DEPTH = Gauge(
    "eventmodel_queue_depth_requests", "Requests that the model has and has not answered.", multiprocess_mode="sum"
)
DROPPED = Counter(
    "eventmodel_dropped_requests", "Requests that nobody waited for any longer when their turn came.", ["reason"]
)
RESTARTS = Counter("eventmodel_process_restarts", "Processes that died and were replaced, by kind.", ["process"])
READY = Gauge("eventmodel_ready", "1 while /ready says so.", multiprocess_mode="max")
STATES = Counter(
    "eventmodel_states", "Histories of requests, by whether their state was cached or had to be encoded.", ["source"]
)
ENCODED_POSITIONS = Counter(
    "eventmodel_encoded_positions", "Positions that were encoded, real ones and the padding of batches.", ["kind"]
)
UNKNOWN_VALUES = Counter("eventmodel_unknown_values", "Values in requests that the vocabularies lack.")
MODEL = Gauge("eventmodel_model_info", "1, with the model in the labels.", ["name", "version"], multiprocess_mode="max")


def announce_model(bundle: Bundle) -> None:
    """Say in the metrics which model is served."""
    MODEL.labels(bundle.name, bundle.version).set(1)


class CollectWritten(MultiProcessCollector):
    """Adds up the files of all processes, leaving out those that their process has only just created.

    prometheus_client creates a file at a process's first count, empty for a moment, and its own
    collector raises on one.
    """

    def collect(self) -> Iterable[Metric]:
        """Every metric, added up over the processes."""
        written = [str(file) for file in Path(self._path).glob("*.db") if file.stat().st_size]
        return self.merge(written)  # type: ignore[no-untyped-call]


def metrics() -> Response:
    """What all processes counted so far."""
    registry = CollectorRegistry()
    CollectWritten(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})


class CountRequests:
    """ASGI middleware that counts the requests for one path, whatever becomes of them."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self.app, self.path = app, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count what becomes of it."""
        if scope["type"] != "http" or scope["path"] != self.path:
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        status, code = 500, "internal_error"  # what becomes of a request whose handling raises

        async def watch(message: Message) -> None:
            nonlocal status, code
            if message["type"] == "http.response.start":
                headers = dict(message.get("headers", ()))
                status, code = message["status"], headers.get(ERROR_CODE_HEADER.encode(), b"").decode()
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            REQUEST_SECONDS.observe(time.monotonic() - started)
            REQUESTS.labels(str(status)).inc()
            if code:
                ERRORS.labels(code).inc()
