"""What has arrived at the model process and waits for the model; it arrives while the model works."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread

from server.metrics import DROPPED
from server.transport import Cancel, Item, RequestQueue
from server.turns import Turns

BATCH_WORK = 4096
"""Events that one batch generates at most, but for a request that asks for more, which has a batch of its own.
They take 0.7 s with preset base on one core."""
_BEAT_S = 1.0

Arrived = SimpleQueue[Sequence[Item | Cancel] | Exception]
"""Messages as they came together, or why no more come."""


def receive(queue: RequestQueue) -> Arrived:
    """Take what arrives from now on, in a thread of its own, for as long as the process runs."""
    arrived: Arrived = SimpleQueue()
    Thread(target=_receive, args=(queue, arrived), name="receive", daemon=True).start()
    return arrived


def _receive(queue: RequestQueue, arrived: Arrived) -> None:
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
        self._turns = Turns(BATCH_WORK)

    def next_batch(self, limit: int) -> list[Item]:
        """The requests that have waited longest, up to ``limit`` and ``BATCH_WORK``; waits where there is none.

        Those that nobody waits for any longer are dropped.
        """
        while True:
            if not self.has_more():
                with suppress(Empty):
                    self._file(self._arrived.get(timeout=_BEAT_S))
            self._beat()
            now = time.monotonic()
            expired = [uid for uid, item in self._items.items() if item.deadline <= now]
            for uid in expired:
                del self._items[uid]
            if expired:
                DROPPED.labels("expired").inc(len(expired))
            if self._items:
                works = ((uid, item.work) for uid, item in self._items.items())
                return [self._items.pop(uid) for uid in self._turns.choose(works, limit)]

    def has_more(self) -> bool:
        """Whether there is something for the model to do at once."""
        with suppress(Empty):
            while True:
                self._file(self._arrived.get_nowait())
        return bool(self._items)

    def _file(self, messages: Sequence[Item | Cancel] | Exception) -> None:
        if isinstance(messages, Exception):
            raise messages
        for message in messages:
            if isinstance(message, Item):
                self._items[message.uid] = message
            elif self._items.pop(message.uid, None) is not None:
                DROPPED.labels("cancelled").inc()
