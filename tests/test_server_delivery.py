"""Answers are sent at once, or while the model works on what waits."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from server.delivery import Delivery
from server.transport import Item, Reply
from server.waiting import Waiting


def item(uid: int, consumer: int = 0) -> Item:
    query: Any = None
    return Item(consumer, uid, 0.0, time.monotonic() + 1000, "", 1, query)


class Transport:
    """Notes what is sent to whom, and in which thread."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, list[int]]] = []
        self.threads: list[str] = []

    def send(self, item: Sequence[tuple[int, Reply]], consumer_id: int) -> None:
        self.sent.append((consumer_id, [uid for uid, _ in item]))
        self.threads.append(threading.current_thread().name)


def delivery(transport: Transport, *waiting: Item) -> Delivery:
    some = Waiting(lambda: None)
    some.file(waiting)
    return Delivery(transport, some)  # type: ignore[arg-type]


def answered(*items: Item) -> Any:
    return [(item, None) for item in items]


def test_each_http_process_gets_its_answers_as_one_message() -> None:
    transport = Transport()
    with delivery(transport) as send:
        send(answered(item(1), item(2, consumer=7), item(3)), lambda: None)
    assert transport.sent == [(0, [1, 3]), (7, [2])]


def test_where_nothing_waits_no_other_thread_is_asked() -> None:
    transport = Transport()
    with delivery(transport) as send:
        send(answered(item(1)), lambda: None)
    assert transport.threads == [threading.current_thread().name]


def test_where_something_waits_the_model_need_not_wait_for_the_sending() -> None:
    transport, may_end = Transport(), threading.Event()
    with delivery(transport, item(9)) as send:
        send(answered(item(1)), may_end.wait)  # would never end in this thread
        may_end.set()
    assert transport.threads != [threading.current_thread().name]


def test_deliveries_do_not_overtake_one_another() -> None:
    transport = Transport()
    with delivery(transport, item(9)) as send:
        for uid in range(20):
            send(answered(item(uid)), lambda: None)
    assert [uids for _, uids in transport.sent] == [[uid] for uid in range(20)]


def test_what_fails_in_the_other_thread_is_told_by_the_next_delivery() -> None:
    def fail() -> None:
        raise OSError("nobody listens")

    with delivery(Transport(), item(9)) as send:
        send(answered(item(1)), fail)
        with pytest.raises(OSError, match="nobody listens"):
            send(answered(item(2)), lambda: None)
