"""The loop of the model process: batches from what has arrived, errors to those who caused them."""

import pickle
import time
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import pytest

from eventmodel.request.errors import RequestError
from server.loop import Arrived, BrokenModel, Waiting, answer
from server.transport import Cancel, Item

LATER = time.monotonic() + 1000


def item(uid: int, query: Any = "", deadline: float = LATER) -> Item:
    return Item(0, uid, 0.0, deadline, f"request {uid}", query)


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


class Upper:
    """A model that raises on "bad", and that gives one answer too few where it is asked for "short"."""

    max_batch_size = 9
    is_broken = False

    def predict(self, queries: Sequence[Any]) -> list[Any]:
        if "bad" in queries or self.is_broken:
            raise ValueError("on purpose")
        return [text.upper() for text in queries if text != "short"]

    def count(self, queries: Sequence[Any], answers: Sequence[Any]) -> None:
        pass

    def check(self) -> None:
        self.predict(["example"])


def answers_of(model: Upper, *queries: str) -> list[Any]:
    """What was sent, in the order of the queries; errors as their status."""
    sent: dict[int, Any] = {}
    batch = [item(i, query) for i, query in enumerate(queries)]
    with suppress(BrokenModel):
        answer(model, batch, lambda answered, then: sent.update({item.uid: result for item, result in answered}))
    return [getattr(sent[i], "status", sent[i]) for i in range(len(batch))]


@pytest.mark.parametrize("culprit", ["bad", "short"])
def test_only_the_culprit_of_a_failed_batch_fails(culprit: str) -> None:
    assert answers_of(Upper(), "a", culprit, "c") == ["A", 500, "C"]


def test_a_model_that_fails_on_its_example_too_is_broken_and_everybody_is_told() -> None:
    model = Upper()
    model.is_broken = True
    assert answers_of(model, "a", "b", "c") == [500, 500, 500]
    with pytest.raises(BrokenModel):
        answer(model, [item(1)], lambda answered, then: None)


def test_every_answer_crosses_between_processes() -> None:
    error = pickle.loads(pickle.dumps(RequestError("code", "loc", "message", "hint", 413)))
    assert (error.code, error.loc, error.message, error.hint, error.status) == ("code", "loc", "message", "hint", 413)
