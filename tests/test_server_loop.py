"""The loop of the model process: batches from what has arrived, errors to those who caused them."""

import pickle
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from eventmodel.request.errors import RequestError
from server.loop import BrokenModel, answer
from server.transport import Item

LATER = time.monotonic() + 1000


def item(uid: int, query: Any = "", deadline: float = LATER) -> Item:
    return Item(0, uid, 0.0, deadline, f"request {uid}", 1, query)


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

    def publish(self) -> None:
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
