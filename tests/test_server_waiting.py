"""What has arrived at the model process: who is in the next batch, and who is dropped."""

import time
from collections.abc import Sequence
from threading import Timer

import pytest

from eventmodel.engine.query import Query
from server.transport import Cancel, Item
from server.waiting import BATCH_WORK, NUMBERS_PER_EVENT, Waiting, work_of

LATER = time.monotonic() + 1000


def item(uid: int, deadline: float = LATER, work: int = 1) -> Item:
    return Item(0, uid, 0.0, deadline, f"request {uid}", work, "")  # type: ignore[arg-type]


def waiting(*arrivals: list[Item | Cancel]) -> Waiting:
    some = Waiting(lambda: None)
    for messages in arrivals:
        some.file(messages)
    return some


def uids(batch: Sequence[Item]) -> list[int]:
    return [item.uid for item in batch]


def test_a_batch_is_what_has_arrived_up_to_the_limit() -> None:
    some = waiting([item(uid) for uid in range(5)])
    assert [uids(some.next_batch(3)), uids(some.next_batch(3))] == [[0, 1, 2], [3, 4]]


def test_a_batch_holds_no_more_work_than_can_be_done_at_once() -> None:
    half = BATCH_WORK // 2
    some = waiting([item(0, work=half), item(1, work=half + 1), item(2, work=half), item(3)])
    assert uids(some.next_batch(9)) == [0, 2]
    assert uids(some.next_batch(9)) == [1, 3]


def test_a_request_larger_than_a_batch_is_answered_alone() -> None:
    some = waiting([item(0, work=BATCH_WORK + 1), item(1)])
    assert uids(some.next_batch(9)) == [0]


def test_of_large_requests_no_two_follow_one_another_while_others_wait() -> None:
    large = [item(uid, work=BATCH_WORK + 1) for uid in range(3)]
    some = waiting([*large, item(3), item(4)])
    assert [uids(some.next_batch(1)) for _ in range(5)] == [[0], [3], [1], [4], [2]]


def test_a_lone_request_does_not_wait_for_company() -> None:
    assert uids(waiting([item(7)]).next_batch(100)) == [7]


def test_what_arrives_during_a_batch_is_in_the_next_one() -> None:
    some = waiting([item(1), item(2)])
    assert uids(some.next_batch(1)) == [1]
    some.file([item(3)])
    assert uids(some.next_batch(9)) == [2, 3]


def test_what_nobody_waits_for_never_reaches_the_model() -> None:
    expired = item(2, deadline=time.monotonic() - 1)
    some = waiting([item(1), expired, item(3), item(4)], [Cancel(4), Cancel(99)])
    assert uids(some.next_batch(9)) == [1, 3]


def test_a_process_that_can_receive_no_more_ends() -> None:
    class Closed:
        def get(self) -> list[Item | Cancel]:
            raise ValueError("nothing comes any more")

    some = waiting()
    some.receive(Closed())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nothing comes"):
        some.next_batch(1)


def test_what_is_cancelled_goes_at_once_and_not_with_the_next_batch() -> None:
    some = waiting([item(1)], [Cancel(1)])
    assert not some.has_more()


def test_a_waiting_model_begins_as_soon_as_something_arrives() -> None:
    some = waiting()
    timer = Timer(0.05, some.file, ([item(1)],))
    timer.start()
    began = time.monotonic()
    assert uids(some.next_batch(9)) == [1]
    assert time.monotonic() - began < 0.5


def test_answers_of_large_vocabularies_weigh_as_the_memory_that_they_take() -> None:
    query = Query(None, 0, 0, 32, None, None)  # type: ignore[arg-type]
    assert work_of(query, 7_000) == query.work
    assert work_of(query, 64 * NUMBERS_PER_EVENT) == 32 * 64
