"""Predictions without a server: a bundle and its engine, asked by name."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Unpack

from eventmodel.bundle import Bundle
from eventmodel.engine import Engine
from eventmodel.quoted import quoted
from eventmodel.request.errors import RequestError
from eventmodel.request.question import PredictRequest, Question
from eventmodel.request.reader import read_request
from eventmodel.request.records import Records, Table, as_json
from eventmodel.request.rendering import plain, render

TOGETHER = 32
"""Requests that the model answers together at most; more are answered in turns, so that they take
time and not memory."""


class Predictor:
    """Says what happens next, with the probabilities of one model; ``eventmodel.load`` opens one.

    Every answer is the document that ``POST /predict`` gives.
    """

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self.bundle, self.engine = bundle, engine

    def predict(
        self,
        records: Table,
        focus: str | int,
        now: str | datetime | None = None,
        **question: Unpack[Question],
    ) -> dict[str, Any]:
        """What happens next to one entity.

        Args:
            records: the recent log in any order, as much of it as is at hand: dicts by field name,
                a dict of columns, or a frame of polars or pandas. Equal times keep the order given.
            focus: the id of the entity to predict.
            now: the moment of prediction, after which nothing is read; the latest record's unless given.
            question: what is asked, as the request has it: ``horizon``, ``top_k`` and so on.

        Raises:
            RequestError: names the first place that is wrong, and what to give instead.
        """
        return self.predict_many(records, [focus], now, **question)[0]

    def predict_many(
        self,
        records: Table,
        focuses: Iterable[str | int],
        now: str | datetime | None = None,
        **question: Unpack[Question],
    ) -> list[dict[str, Any]]:
        """What happens next to each of several entities, at the same moment: faster than one by one.

        Args:
            focuses: the ids of the entities to predict.
            records, now, question: as in ``predict``.

        Raises:
            RequestError: names the first place that is wrong, and what to give instead.
        """
        if isinstance(focuses, str):
            message = f"expected the ids of several entities, not {quoted(focuses)}"
            raise RequestError("not_a_list", "focuses", message, "Give a list of ids.")
        table = Records.of(self.bundle, records)
        return self._answer(table.requests([table.read(focus, now) for focus in focuses], as_json(question)))

    def answer(self, documents: Sequence[object]) -> list[dict[str, Any]]:
        """Answer requests as ``POST /predict`` takes them.

        Raises:
            RequestError: names the first place that is wrong, and what to send instead.
        """
        requests = []
        for place, document in enumerate(documents):
            try:
                requests.append(read_request(document, self.bundle))
            except RequestError as error:
                raise error.within(f"documents[{place}]") from None
        return self._answer(requests)

    def _answer(self, requests: Sequence[PredictRequest]) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        for start in range(0, len(requests), TOGETHER):
            part = requests[start : start + TOGETHER]
            found = self.engine.answer([request.query for request in part])
            answers += [plain(render(self.bundle, *pair)) for pair in zip(part, found, strict=True)]
        return answers
