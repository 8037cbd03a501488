"""The loop of the model process: batches from what is queued, errors to those who caused them."""

import pickle
from queue import Queue
from typing import Any

import pytest
from starlette.responses import Response

from eventmodel.request.errors import RequestError
from server.loop import Item, answer, next_batch


def queue_of(*uids: str | None) -> "Queue[Any]":
    queue: Queue[Any] = Queue()
    for uid in uids:
        queue.put((0, uid, 0.0, uid) if uid else (None, None, None, None))
    return queue


def uids(batch: list[Item]) -> list[str]:
    return [item.uid for item in batch]


def test_a_batch_is_what_is_queued_up_to_the_limit() -> None:
    queue = queue_of("a", "b", "c", "d", "e")
    assert [uids(next_batch(queue, 3)), uids(next_batch(queue, 3))] == [["a", "b", "c"], ["d", "e"]]


def test_a_lone_request_does_not_wait_for_company() -> None:
    assert uids(next_batch(queue_of("a"), 100)) == ["a"]


def test_the_loop_stops_after_the_batch_before_the_sentinel() -> None:
    queue = queue_of("a", "b", None)
    assert uids(next_batch(queue, 9)) == ["a", "b"]
    assert next_batch(queue, 9) == []


class Upper:
    """An API that raises on "bad", and that answers one too few where it is asked for "short"."""

    def decode_request(self, text: str) -> str:
        return text

    def predict(self, texts: list[str]) -> list[str]:
        if "bad" in texts:
            raise ValueError(texts)
        return [text.upper() for text in texts if text != "short"]

    def encode_response(self, text: str) -> Response:
        return Response(text)


@pytest.mark.parametrize("culprit", ["bad", "short"])
def test_only_the_culprit_of_a_failed_batch_fails(culprit: str) -> None:
    answers: dict[str, Response] = {}
    batch = [Item(0, uid, 0.0, uid) for uid in ("a", culprit, "c")]
    answer(Upper(), batch, lambda item, response: answers.update({item.uid: response}))  # type: ignore[arg-type]
    assert {uid: response.status_code for uid, response in answers.items()} == {"a": 200, culprit: 500, "c": 200}
    assert (answers["a"].body, answers["c"].body) == (b"A", b"C")


def test_every_answer_crosses_between_processes() -> None:
    answers: list[Response] = []
    answer(Upper(), [Item(0, "bad", 0.0, "bad")], lambda item, response: answers.append(response))  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(answers[0])).body == answers[0].body
    error = pickle.loads(pickle.dumps(RequestError("code", "loc", "message", "hint", 413)))
    assert (error.code, error.loc, error.message, error.hint, error.status) == ("code", "loc", "message", "hint", 413)
