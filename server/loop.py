"""The loop of the model process: what has queued up while the model worked is its next batch."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol, Self

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

Arrived = SimpleQueue[Sequence[Item | Cancel] | Exception]
"""Messages as they came together, or why no more come."""
Answered = tuple[Item, Answer | RequestError]
Send = Callable[[Sequence[Answered], Callable[[], None]], None]
"""Sends answers to who waits for them, then does what else is left to do."""


class Model(Protocol):
    """What the loop needs of the API."""

    max_batch_size: int

    def predict(self, queries: Sequence[Query]) -> list[Answer]:
        """One answer per query."""
        ...

    def count(self, queries: Sequence[Query], answers: Sequence[Answer]) -> None:
        """Let the metrics know of a batch."""
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

        def beat() -> None:
            status.beat()
            lit_api.publish()

        request_queue.listen(status.generation)
        arrived: Arrived = SimpleQueue()
        Thread(target=_receive, args=(request_queue, arrived), name="receive", daemon=True).start()
        waiting = Waiting(arrived, beat)
        with Delivery(transport, waiting) as send:
            while True:
                batch = waiting.next_batch(lit_api.max_batch_size)
                status.begin_batch([item.uid for item in batch])
                try:
                    answer(lit_api, batch, send)
                except BrokenModel:
                    logger.critical("The model fails on its own example: this process ends, another one starts.")
                    raise SystemExit(1) from None
                status.end_batch()


class Delivery:
    """Sends answers: at once where nothing else is to be done, else while the model works on what waits.

    Only one delivery is under way at a time: a socket is not for several threads.
    """

    def __init__(self, transport: AnswerTransport, waiting: "Waiting") -> None:
        self._transport, self._waiting = transport, waiting
        self._helper = ThreadPoolExecutor(1, "delivery")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._helper.shutdown()

    def __call__(self, answered: Sequence[Answered], then: Callable[[], None]) -> None:
        """As ``Send``; raises what the delivery before raised."""
        if self._under_way is not None:
            self._under_way.result()
            self._under_way = None
        if self._waiting.has_more():
            self._under_way = self._helper.submit(self._deliver, answered, then)
        else:
            self._deliver(answered, then)

    def _deliver(self, answered: Sequence[Answered], then: Callable[[], None]) -> None:
        now = time.monotonic()
        replies: dict[int, list[tuple[int, Reply]]] = {}
        for item, answer in answered:
            replies.setdefault(item.consumer, []).append((item.uid, Reply(answer, now)))
        for consumer, of_consumer in replies.items():
            self._transport.send(of_consumer, consumer)
        then()


def _receive(queue: RequestQueue, arrived: Arrived) -> None:
    """For as long as the process runs: take what arrives, while the model works."""
    try:
        while True:
            arrived.put(queue.get())
    except Exception as error:
        arrived.put(error)


class Waiting:
    """What has arrived and waits, in the order of arrival."""

    def __init__(self, arrived: Arrived, beat: Callable[[], None]) -> None:
        self._arrived, self._beat = arrived, beat
        self._items: dict[int, Item] = {}

    def next_batch(self, limit: int) -> list[Item]:
        """The requests that have waited longest, up to ``limit``; waits where there is none.

        Those that nobody waits for any longer are dropped.
        """
        while True:
            if not self.has_more():
                with suppress(Empty):
                    self._sort(self._arrived.get(timeout=_BEAT_S))
            self._beat()
            now = time.monotonic()
            expired = [uid for uid, item in self._items.items() if item.deadline <= now]
            for uid in expired:
                del self._items[uid]
            if expired:
                DROPPED.labels("expired").inc(len(expired))
            if self._items:
                return [self._items.pop(uid) for uid in list(islice(self._items, limit))]

    def has_more(self) -> bool:
        """Whether there is something for the model to do at once."""
        with suppress(Empty):
            while True:
                self._sort(self._arrived.get_nowait())
        return bool(self._items)

    def _sort(self, messages: Sequence[Item | Cancel] | Exception) -> None:
        if isinstance(messages, Exception):
            raise messages
        for message in messages:
            if isinstance(message, Item):
                self._items[message.uid] = message
            elif self._items.pop(message.uid, None) is not None:
                DROPPED.labels("cancelled").inc()


def answer(model: Model, batch: Sequence[Item], send: Send) -> None:
    """Answer a batch; where it fails, its items one by one, so that only the culprit fails.

    Raises:
        BrokenModel: nothing can be answered any more; every item has its error.
    """
    started, queries = time.monotonic(), [item.query for item in batch]
    try:
        answers = model.predict(queries)
        if len(answers) != len(batch):
            raise RuntimeError(f"{len(answers)} answers to {len(batch)} queries")
    except Exception:
        if len(batch) > 1:
            logger.warning("A batch of %d failed; its requests are answered one by one.", len(batch))
            _answer_singly(model, batch, send)
            return
        logger.exception("The model failed on a request.", extra={"request_id": batch[0].request_id})
        send([(batch[0], internal_error())], lambda: None)
        _check(model)
    else:
        ended = time.monotonic()

        def count() -> None:
            model.count(queries, answers)
            BATCH_SIZE.observe(len(batch))
            BATCH_SECONDS.observe(ended - started)
            for item in batch:
                IN_STAGE["queue"].observe(started - item.queued_at)

        send(list(zip(batch, answers, strict=True)), count)


def _answer_singly(model: Model, batch: Sequence[Item], send: Send) -> None:
    for i, item in enumerate(batch):
        try:
            answer(model, [item], send)
        except BrokenModel:
            send([(other, internal_error()) for other in batch[i + 1 :]], lambda: None)
            raise


def _check(model: Model) -> None:
    try:
        model.check()
    except Exception as error:
        logger.exception("The model fails on the bundle's example.")
        raise BrokenModel from error
