"""The loop of the model process: what has queued up while the model worked is its next batch."""

import logging
import signal
import time
from collections.abc import Callable
from queue import Empty, Queue
from typing import Any, NamedTuple

from litserve import LitAPI
from litserve.loops import LitLoop
from litserve.transport.base import MessageTransport
from litserve.utils import LitAPIStatus, LoopResponseType
from starlette.responses import Response

from eventmodel.request.errors import RequestError
from server.deadline import timed_out
from server.errors import error_response
from server.metrics import BATCH_SECONDS, BATCH_SIZE, QUEUE_SECONDS

logger = logging.getLogger("litserve.eventmodel")


class Item(NamedTuple):
    """A request as LitServe queues it. All None: stop."""

    consumer: int
    """The HTTP process that waits for the answer."""
    uid: str
    queued_at: float
    """``time.monotonic()``, a clock that all processes share."""
    request: Any


class QueueLoop(LitLoop):
    """Waits for a request, takes what else is queued, answers it all, and starts again.

    A batch closes when the model is free, not when a timer ends: alone, a request never waits for
    company, and under load batches grow by themselves. Between requests the process sleeps.
    """

    def __call__(
        self,
        lit_api: LitAPI,
        device: str,
        worker_id: int,
        request_queue: Queue,
        transport: MessageTransport,
        workers_setup_status: dict[int, str],
        callback_runner: object,
    ) -> None:
        """LitServe calls this once, in the model process; it ends when the queue is closed."""
        # Ctrl-C goes to all processes of a terminal; the main one stops this one after the last answer.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

        def send(item: Item, response: Response) -> None:
            # An error is a response as well: it pickles, and LitServe has nothing to interpret.
            status: Any = LitAPIStatus.OK  # a string, whatever the annotation says
            self.put_response(transport, item.consumer, item.uid, response, status, LoopResponseType.REGULAR)

        while batch := next_batch(request_queue, lit_api.max_batch_size):
            timeout_s = lit_api.request_timeout
            assert timeout_s is not None
            now = time.monotonic()
            live = [item for item in batch if now - item.queued_at <= timeout_s]
            for item in batch:
                if now - item.queued_at > timeout_s:
                    send(item, error_response(timed_out()))
            if live:
                answer(lit_api, live, send)


def next_batch(request_queue: Queue, limit: int) -> list[Item]:
    """The first request, waited for, and those behind it, up to ``limit``; none when the queue is closed."""
    batch: list[Item] = []
    try:
        while len(batch) < limit:
            item = Item(*(request_queue.get_nowait() if batch else request_queue.get()))
            if item.uid is None:
                request_queue.put(item)  # to be found again after this batch
                break
            batch.append(item)
    except Empty:
        pass
    return batch


def answer(lit_api: LitAPI, batch: list[Item], send: Callable[[Item, Response], None]) -> None:
    """Answer a batch; where it fails, its items one by one, so that only the culprit fails."""
    started = time.monotonic()
    try:
        outputs = lit_api.predict([lit_api.decode_request(item.request) for item in batch])
        responses = [lit_api.encode_response(output) for _, output in zip(batch, outputs, strict=True)]
    except Exception:
        if len(batch) > 1:
            logger.warning("A batch of %d failed; its requests are answered one by one.", len(batch))
            for item in batch:
                answer(lit_api, [item], send)
            return
        logger.exception("A request failed (uid=%s).", batch[0].uid)
        responses = [error_response(internal_error())]
    BATCH_SIZE.observe(len(batch))
    BATCH_SECONDS.observe(time.monotonic() - started)
    for item, response in zip(batch, responses, strict=True):
        QUEUE_SECONDS.observe(started - item.queued_at)
        send(item, response)


def internal_error() -> RequestError:
    """The error of a request that is in order and failed all the same."""
    hint = "This is a fault of the server; its log tells more."
    return RequestError("internal_error", "", "the model failed on this request", hint, 500)
