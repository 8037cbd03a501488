"""What has arrived at the model process and waits for the model; it arrives while the model works."""

import time
from collections.abc import Callable, Sequence
from threading import Condition, Thread

from eventmodel.engine.query import Query
from server.metrics import DROPPED
from server.transport import Cancel, Item, RequestQueue
from server.turns import Turns

BATCH_WORK = 4096
"""Events that one batch generates at most, but for a request that asks for more, which has a batch of its own.
They take 0.7 s with preset base on one core."""
_BEAT_S = 1.0

NUMBERS_PER_EVENT = 2**13
"""Probabilities in an answer that weigh as much as one generated event: so a full batch's answers take 128 MiB at
most, however large the vocabularies are."""


def work_of(query: Query, width: int) -> int:
    """What answering takes of ``BATCH_WORK``, with a vocabulary of ``width`` values in all."""
    return max(query.work, query.horizon * width // NUMBERS_PER_EVENT)


class Waiting:
    """What has arrived and waits, in the order of arrival; filed by another thread, while the model works.

    Args:
        beat: called before every batch, and now and then while there is none.
    """

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._changed = Condition()
        self._items: dict[int, Item] = {}
        self._failure: Exception | None = None
        self._turns = Turns(BATCH_WORK)

    def receive(self, queue: RequestQueue) -> None:
        """Take what arrives from now on, in a thread of its own, for as long as the process runs."""
        Thread(target=self._receive, args=(queue,), name="receive", daemon=True).start()

    def _receive(self, queue: RequestQueue) -> None:
        try:
            while True:
                self.file(queue.get())
        except Exception as error:
            with self._changed:
                self._failure = error
                self._changed.notify()

    def file(self, messages: Sequence[Item | Cancel]) -> None:
        """Let requests wait; those that nobody waits for any longer go at once, so that no more are here than
        clients have in hand."""
        with self._changed:
            for message in messages:
                if isinstance(message, Item):
                    self._items[message.uid] = message
                elif self._items.pop(message.uid, None) is not None:
                    DROPPED.labels("cancelled").inc()
            self._changed.notify()

    def next_batch(self, limit: int) -> list[Item]:
        """The requests that have waited longest, up to ``limit`` and ``BATCH_WORK``; waits where there is none.

        Raises:
            Exception: what keeps more from arriving.
        """
        while True:
            self._beat()
            with self._changed:
                if not self.has_more():
                    self._changed.wait(_BEAT_S)
                self._drop_expired()
                if self._items:
                    works = ((uid, item.work) for uid, item in self._items.items())
                    return [self._items.pop(uid) for uid in self._turns.choose(works, limit)]

    def has_more(self) -> bool:
        """Whether there is something for the model to do at once."""
        with self._changed:
            if self._failure is not None:
                raise self._failure
            return bool(self._items)

    def _drop_expired(self) -> None:
        now = time.monotonic()
        expired = [uid for uid, item in self._items.items() if item.deadline <= now]
        for uid in expired:
            del self._items[uid]
        if expired:
            DROPPED.labels("expired").inc(len(expired))
