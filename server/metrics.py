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
from server.logs import log_answer
from server.metrics_directory import VARIABLE
from server.settings import Settings

if VARIABLE in os.environ:
    values.ValueClass = values.MultiProcessValue(lambda: current_process().name)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

REQUEST_SECONDS = Histogram(
    "eventmodel_request_duration_seconds",
    "From the end of a request's head to the end of its answer.",
    buckets=_SECONDS,
)
REQUESTS = Counter("eventmodel_requests", "Requests for a prediction, by HTTP status.", ["status"])
ERRORS = Counter("eventmodel_request_errors", "Requests without a prediction, by the error's code.", ["code"])
STAGE_SECONDS = Histogram(
    "eventmodel_stage_duration_seconds",
    "How long a request was in each stage of its way; together they are its duration.",
    ["stage"],
    buckets=_SECONDS,
)
IN_STAGE = {stage: STAGE_SECONDS.labels(stage) for stage in ("parse", "queue", "encode", "decode", "respond")}
"""parse: from the end of the head to a checked request, receiving its body included. queue: until its batch starts,
which is when the model is free; no batch waits to fill up. encode: the histories of the whole batch; on a GPU,
until the work is handed over, and the rest of it counts as decode. decode: the rest of the batch. respond: from
the model's answer to the end of ours."""
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
IN_FLIGHT = Gauge(
    "eventmodel_in_flight_requests", "Requests that are received and not answered.", multiprocess_mode="sum"
)
QUEUE_DEPTH = Gauge(
    "eventmodel_queue_depth_requests", "Requests that the model has and has not answered.", multiprocess_mode="sum"
)
MAX_QUEUE = Gauge(
    "eventmodel_max_queue_requests", "The setting --max-queue: requests in hand at most.", multiprocess_mode="max"
)
MAX_BATCH_SIZE = Gauge("eventmodel_max_batch_size_requests", "The setting --max-batch-size.", multiprocess_mode="max")
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
VALUES = Counter(
    "eventmodel_values",
    "Values in requests, by category and by whether the vocabularies know them.",
    ["category", "kind"],
)
PREDICTIONS = Counter("eventmodel_predictions", "Requests that the model answered.")
TOP1_PROBABILITY = Counter(
    "eventmodel_top1_probability",
    "Probability of the next event's most probable value, summed over predictions, by category.",
    ["category"],
)
GPU_MEMORY = Gauge(
    "eventmodel_gpu_memory_bytes",
    "Memory of the GPU that torch's tensors take (allocated), and that torch holds for them (reserved).",
    ["kind"],
    multiprocess_mode="max",
)
MODEL = Gauge("eventmodel_model_info", "1, with the model in the labels.", ["name", "version"], multiprocess_mode="max")


def announce(bundle: Bundle, settings: Settings) -> None:
    """Say in the metrics which model is served, within which limits, and that nothing has gone wrong yet."""
    MODEL.labels(bundle.name, bundle.version).set(1)
    MAX_QUEUE.set(settings.max_queue)
    MAX_BATCH_SIZE.set(settings.max_batch_size)
    # alerts look at the growth of these, which a series that appears with its first event does not show
    ERRORS.labels("queue_full")
    for kind in ("http", "model"):
        RESTARTS.labels(kind)


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
    """ASGI middleware that counts the requests for one path, whatever becomes of them, and logs those for all."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self.app, self.path = app, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count what becomes of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_counted = scope["path"] == self.path
        started = scope["started"] = time.monotonic()
        if is_counted:
            IN_FLIGHT.inc()
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
            ended = time.monotonic()
            log_answer(scope, status, code, ended - started)
            if is_counted:
                IN_FLIGHT.dec()
                REQUEST_SECONDS.observe(ended - started)
                if "answered" in scope:
                    IN_STAGE["respond"].observe(ended - scope["answered"])
                REQUESTS.labels(str(status)).inc()
                if code:
                    ERRORS.labels(code).inc()
