"""The loop of the model process: what has queued up while the model worked is its next batch."""

import logging
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Protocol

from litserve import LitAPI
from litserve.loops import LitLoop

from eventmodel.engine.query import Answer, Query
from eventmodel.request.errors import RequestError
from server.errors import internal_error
from server.metrics import BATCH_SECONDS, BATCH_SIZE, DROPPED, IN_STAGE
from server.model_status import ModelStatus
from server.transport import AnswerTransport, Cancel, Item, Reply, RequestQueue

logger = logging.getLogger("eventmodel")

_BEAT_S = 1.0

Answered = tuple[Item, Answer | RequestError]
Send = Callable[[Sequence[Answered]], None]


class Model(Protocol):
    """What the loop needs of the API."""

    max_batch_size: int

    def predict(self, queries: Sequence[Query]) -> list[Answer]:
        """One answer per query."""
        ...

    def check(self) -> None:
        """Raise if the model does not work at all."""
        ...


class BrokenModel(Exception):
    """The model fails on the bundle's example too: no request is at fault."""


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
        request_queue: RequestQueue,
        transport: AnswerTransport,
        workers_setup_status: ModelStatus,
        callback_runner: object,
    ) -> None:
        """LitServe calls this once, in the model process; it ends when the model is broken."""
        status = workers_setup_status

        def send(answered: Sequence[Answered]) -> None:
            now = time.monotonic()
            replies: dict[int, list[tuple[int, Reply]]] = {}
            for item, answer in answered:
                replies.setdefault(item.consumer, []).append((item.uid, Reply(answer, now)))
            for consumer, of_consumer in replies.items():
                transport.send(of_consumer, consumer)

        def beat() -> None:
            status.beat()
            lit_api.publish()

        request_queue.listen(status.generation)
        waiting = Waiting(request_queue, beat)
        while True:
            batch = waiting.next_batch(lit_api.max_batch_size)
            status.begin_batch([item.uid for item in batch])
            try:
                answer(lit_api, batch, send)
            except BrokenModel:
                logger.critical("The model fails on its own example: this process ends, another one starts.")
                raise SystemExit(1) from None
            status.end_batch()


class Waiting:
    """What has arrived and waits, in the order of arrival."""

    def __init__(self, queue: RequestQueue, beat: Callable[[], None]) -> None:
        self._queue, self._beat = queue, beat
        self._items: dict[int, Item] = {}

    def next_batch(self, limit: int) -> list[Item]:
        """The requests that have waited longest, up to ``limit``; waits for the first one.

        Those that nobody waits for any longer are dropped.
        """
        while True:
            self._receive(0 if self._items else _BEAT_S)
            now = time.monotonic()
            expired = [uid for uid, item in self._items.items() if item.deadline <= now]
            for uid in expired:
                del self._items[uid]
            if expired:
                DROPPED.labels("expired").inc(len(expired))
            if self._items:
                return [self._items.pop(uid) for uid in list(islice(self._items, limit))]

    def _receive(self, timeout_s: float) -> None:
        for message in self._queue.get(timeout_s):
            if isinstance(message, Item):
                self._items[message.uid] = message
            elif isinstance(message, Cancel) and self._items.pop(message.uid, None) is not None:
                DROPPED.labels("cancelled").inc()
        self._beat()


def answer(model: Model, batch: Sequence[Item], send: Send) -> None:
    """Answer a batch; where it fails, its items one by one, so that only the culprit fails.

    Raises:
        BrokenModel: nothing can be answered any more; every item has its error.
    """
    started = time.monotonic()
    try:
        answers = model.predict([item.query for item in batch])
        if len(answers) != len(batch):
            raise RuntimeError(f"{len(answers)} answers to {len(batch)} queries")
    except Exception:
        if len(batch) > 1:
            logger.warning("A batch of %d failed; its requests are answered one by one.", len(batch))
            _answer_singly(model, batch, send)
            return
        logger.exception("The model failed on a request.", extra={"request_id": batch[0].request_id})
        send([(batch[0], internal_error())])
        _check(model)
    else:
        send(list(zip(batch, answers, strict=True)))
    BATCH_SIZE.observe(len(batch))
    BATCH_SECONDS.observe(time.monotonic() - started)
    for item in batch:
        IN_STAGE["queue"].observe(started - item.queued_at)


def _answer_singly(model: Model, batch: Sequence[Item], send: Send) -> None:
    for i, item in enumerate(batch):
        try:
            answer(model, [item], send)
        except BrokenModel:
            send([(other, internal_error()) for other in batch[i + 1 :]])
            raise


def _check(model: Model) -> None:
    try:
        model.check()
    except Exception as error:
        logger.exception("The model fails on the bundle's example.")
        raise BrokenModel from error
