"""The way of answers back to the HTTP processes, and what is counted of them."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from eventmodel.engine.query import Answer
from eventmodel.request.errors import RequestError
from server.transport import AnswerTransport, Item, Reply
from server.waiting import Waiting

Answered = tuple[Item, Answer | RequestError]
Send = Callable[[Sequence[Answered], Callable[[], None]], None]
"""Sends answers to who waits for them, then does what else is left to do."""


class Delivery:
    """Sends answers: at once where nothing else is to be done, else while the model works on what waits.

    Only one delivery is under way at a time: a socket is not for several threads.
    """

    def __init__(self, transport: AnswerTransport, waiting: Waiting) -> None:
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
