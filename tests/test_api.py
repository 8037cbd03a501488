"""Predictions without a server."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from server_example import FakeEngine, event, example

import eventmodel
from eventmodel import api
from eventmodel.api import Predictor
from eventmodel.bundle import Bundle
from eventmodel.request.errors import RequestError
from eventmodel.request.question import Question
from eventmodel.request.reader import read_request
from eventmodel.request.records import build_request
from eventmodel.request.rendering import render

RECORDS = [event(0), event(1, "bob", Helper="ann"), event(4, "cid"), event(2, Site="s99", Case=17)]
QUESTION: Question = {
    "horizon": 2,
    "top_k": 3,
    "categories": ["Kind", "Site"],
    "allowed": {"Site": ["s1", "s2"]},
    "quantiles": [0.1, 0.9],
    "observed": event(20),
}


@pytest.fixture(scope="module")
def predictor(example_bundle: Bundle) -> Predictor:
    """With an engine that needs no network."""
    return Predictor(example_bundle, FakeEngine(example_bundle))  # type: ignore[arg-type]


def answer_of_server(predictor: Predictor, document: object) -> Any:
    """What ``POST /predict`` would answer."""
    request = read_request(orjson.loads(json.dumps(document)), predictor.bundle)
    answer = predictor.engine.answer([request.query])[0]
    return orjson.loads(orjson.dumps(render(predictor.bundle, request, answer), option=orjson.OPT_SERIALIZE_NUMPY))


def test_records_get_the_answer_that_the_server_gives_to_their_request(predictor: Predictor) -> None:
    document = build_request(predictor.bundle, RECORDS, "ann", "2026-01-29T08:03:00", **QUESTION)
    answer = predictor.predict(RECORDS, "ann", "2026-01-29T08:03:00", **QUESTION)
    assert answer == answer_of_server(predictor, document)
    assert set(answer["events"][1]["categories"]) == {"Kind", "Site"}


def test_documents_get_the_answers_that_the_server_gives(predictor: Predictor) -> None:
    documents = [example(), example() | {"focus": "bob", "horizon": 1}]
    assert predictor.answer(documents) == [answer_of_server(predictor, document) for document in documents]


def test_an_answer_can_be_written_as_json(predictor: Predictor) -> None:
    assert json.loads(json.dumps(predictor.predict(RECORDS, "ann"))) == predictor.predict(RECORDS, "ann")


@pytest.mark.parametrize("together", [1, 2, 32])
def test_several_are_answered_as_each_alone(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(api, "TOGETHER", together)
    focuses = ["ann", "bob", "cid"]
    assert predictor.predict_many(RECORDS, focuses) == [predictor.predict(RECORDS, focus) for focus in focuses]
    assert predictor.predict_many(RECORDS, []) == []
    with pytest.raises(RequestError, match="Give a list of ids"):
        predictor.predict_many(RECORDS, "ann")


def test_what_happens_after_now_changes_nothing(predictor: Predictor) -> None:
    now = "2026-01-29T08:02:00"
    later = [event(3, Kind="out"), event(5, "bob", Helper="ann")]
    assert predictor.predict([*later, *RECORDS], "ann", now) == predictor.predict(RECORDS, "ann", now)


def test_a_document_that_is_wrong_is_named_by_its_place(predictor: Predictor) -> None:
    with pytest.raises(RequestError, match=r"^documents\[1\]\.horizon: "):
        predictor.answer([example(), example() | {"horizon": 0}])


def test_records_that_are_wrong_are_refused(predictor: Predictor) -> None:
    with pytest.raises(RequestError, match=r"^records\[4\]\.Siet: .*Did you mean 'Site'"):
        predictor.predict([*RECORDS, event(5, Siet="s1")], "ann")


@pytest.mark.parametrize("backend", ["torch", "torchscript", "onnx"])
def test_a_bundle_predicts_in_three_lines(bundle: Bundle, small_frame: Any, backend: Any) -> None:
    predictor = eventmodel.load(str(bundle.path), backend, "cpu")
    answer = predictor.predict(small_frame, "E03", horizon=2)
    assert answer == answer_of_server(predictor, build_request(bundle, small_frame, "E03", horizon=2))
    for step in answer["events"]:
        for category in step["categories"].values():
            listed = sum(value["probability"] for value in category["top"])
            assert listed + category["unknown"] + category["rest"] == pytest.approx(1, abs=1e-5)


def test_rollouts_are_sampled_without_a_server_as_with_one(bundle: Bundle, small_frame: Any) -> None:
    predictor = eventmodel.load(bundle.path, "onnx", "cpu")
    sampling = {"num_samples": 3, "seed": 7}
    answer = predictor.predict(small_frame, "E03", sampling=sampling)
    assert len(answer["rollouts"]) == 3
    assert answer == answer_of_server(predictor, build_request(bundle, small_frame, "E03", sampling=sampling))


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a bundle"):
        eventmodel.load(tmp_path)


@pytest.mark.parametrize(
    ("module", "heavy"),
    [("eventmodel", ["torch", "onnxruntime", "numpy", "pydantic"]), ("eventmodel.api", ["torch", "onnxruntime"])],
)
def test_importing_loads_nothing_heavy(module: str, heavy: list[str]) -> None:
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
