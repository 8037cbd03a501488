"""The loop of the model process: what has queued up while the model worked is its next batch."""

import logging
import time
from collections.abc import Sequence
from typing import Protocol

from litserve.loops import LitLoop

from eventmodel.engine.query import Answer, Query
from server.delivery import Delivery, Send
from server.errors import internal_error
from server.metrics import BATCH_SECONDS, BATCH_SIZE, IN_STAGE
from server.model_status import ModelStatus
from server.transport import AnswerTransport, Item, RequestQueue
from server.waiting import Waiting

logger = logging.getLogger("eventmodel")


class Model(Protocol):
    """What the loop needs of the API."""

    max_batch_size: int

    def predict(self, queries: Sequence[Query]) -> list[Answer]:
        """One answer per query."""
        ...

    def count(self, queries: Sequence[Query], answers: Sequence[Answer]) -> None:
        """Let the metrics know of a batch."""
        ...

    def publish(self) -> None:
        """Let the metrics show what was counted; called often."""
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
        lit_api: Model,
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
        waiting = Waiting(beat)
        waiting.receive(request_queue)
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
        ended = time.monotonic()
        send([(batch[0], internal_error())], lambda: _count(batch, started, ended))
        _check(model)
    else:
        ended = time.monotonic()

        def count() -> None:
            model.count(queries, answers)
            _count(batch, started, ended)

        send(list(zip(batch, answers, strict=True)), count)


def _count(batch: Sequence[Item], started: float, ended: float) -> None:
    BATCH_SIZE.observe(len(batch))
    BATCH_SECONDS.observe(ended - started)
    for item in batch:
        IN_STAGE["queue"].observe(started - item.queued_at)


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
