"""What has arrived at the model process: who is in the next batch, and who is dropped."""

import time
from collections.abc import Sequence
from queue import SimpleQueue

import pytest

from server.transport import Cancel, Item
from server.waiting import BATCH_WORK, Arrived, Waiting

LATER = time.monotonic() + 1000


def item(uid: int, deadline: float = LATER, work: int = 1) -> Item:
    return Item(0, uid, 0.0, deadline, f"request {uid}", work, "")  # type: ignore[arg-type]


def waiting(*arrivals: list[Item | Cancel], arrived: Arrived | None = None) -> Waiting:
    arrived = arrived or SimpleQueue()
    for messages in arrivals:
        arrived.put(messages)
    return Waiting(arrived, lambda: None)


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
    arrived: Arrived = SimpleQueue()
    some = waiting([item(1), item(2)], arrived=arrived)
    assert uids(some.next_batch(1)) == [1]
    arrived.put([item(3)])
    assert uids(some.next_batch(9)) == [2, 3]


def test_what_nobody_waits_for_never_reaches_the_model() -> None:
    expired = item(2, deadline=time.monotonic() - 1)
    some = waiting([item(1), expired, item(3), item(4)], [Cancel(4), Cancel(99)])
    assert uids(some.next_batch(9)) == [1, 3]


def test_a_process_that_can_receive_no_more_ends() -> None:
    arrived: Arrived = SimpleQueue()
    arrived.put(ValueError("nothing comes any more"))
    with pytest.raises(ValueError, match="nothing comes"):
        Waiting(arrived, lambda: None).next_batch(1)
