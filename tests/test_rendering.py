"""An answer in arrays becomes names and probabilities."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_example import ZONED, FakeEngine, event, example, write_example

from eventmodel.bundle import Bundle
from eventmodel.engine.query import Answer
from eventmodel.request.distributions import rank
from eventmodel.request.reader import read_request
from eventmodel.request.rendering import count_values, plain, render, render_all


def answered(bundle: Bundle, **changes: object) -> tuple[dict[str, Any], Answer]:
    """The rendered answer to the example with some keys changed, and the arrays it came from."""
    request = read_request(example() | changes, bundle)
    answer = FakeEngine(bundle).answer([request.query])[0]
    return plain(render(bundle, request, answer)), answer


def test_plain_numbers_are_those_of_the_json(example_bundle: Bundle) -> None:
    request = read_request(example() | {"top_k": "all"}, example_bundle)
    answer = render(example_bundle, request, FakeEngine(example_bundle).answer([request.query])[0])
    written = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    assert json.dumps(plain(answer)) == json.dumps(orjson.loads(written))


def test_answers_are_rendered_together_as_they_are_alone(example_bundle: Bundle) -> None:
    asked: list[dict[str, object]] = [
        {},
        {"top_k": 1, "horizon": 2},
        {"categories": ["Site"]},
        {"top_k": 1},
        {"horizon": 3},
    ]
    requests = [read_request(example() | changes, example_bundle) for changes in asked]
    answers = FakeEngine(example_bundle).answer([request.query for request in requests])
    pairs = list(zip(requests, answers, strict=True))
    assert plain(render_all(example_bundle, pairs)) == [plain(render(example_bundle, *pair)) for pair in pairs]


def log_probs(bundle: Bundle, answer: Answer, step: int, category: str) -> np.ndarray:
    names = [c.name for c in bundle.schema.categories]
    return np.split(answer.log_probs[step], np.cumsum(bundle.codec.sizes)[:-1])[names.index(category)]


@pytest.mark.parametrize("top_k", [1, 3, 10_000, "all"])
def test_probabilities_of_a_category_sum_to_one(example_bundle: Bundle, top_k: object) -> None:
    body, _ = answered(example_bundle, top_k=top_k, categories=None)
    assert len(body["events"]) == 2
    for step in body["events"]:
        assert len(step["categories"]) == len(example_bundle.schema.categories)
        for category in step["categories"].values():
            listed = sum(value["probability"] for value in category["top"])
            assert listed + category["unknown"] + category["rest"] == pytest.approx(1, abs=1e-6)


def test_the_most_probable_values_are_listed_by_name_and_largest_first(example_bundle: Bundle) -> None:
    body, answer = answered(example_bundle, allowed=None)
    expected = np.exp(log_probs(example_bundle, answer, 1, "Site"))
    order = 1 + np.argsort(-expected[1:])[:3]
    top = body["events"][1]["categories"]["Site"]["top"]
    assert [value["value"] for value in top] == [f"s{i}" for i in order]
    assert [value["probability"] for value in top] == pytest.approx(expected[order].tolist())


def test_all_lists_every_value_and_leaves_no_rest(example_bundle: Bundle) -> None:
    category = answered(example_bundle, top_k="all", allowed=None)[0]["events"][0]["categories"]["Site"]
    assert sorted(value["value"] for value in category["top"]) == sorted(example_bundle.vocabularies["Site"])
    assert category["rest"] == 0


def test_only_the_categories_asked_for_are_detailed(example_bundle: Bundle) -> None:
    body, _ = answered(example_bundle, categories=["Site"])
    assert list(body["events"][0]["categories"]) == ["Site"]
    assert list(body["observed"]["categories"]) == ["Site"]
    assert list(body["events"][0]["event"]) == [f.name for f in example_bundle.schema.fields if f.kind != "key"]


def test_what_is_not_allowed_is_not_listed(example_bundle: Bundle) -> None:
    category = answered(example_bundle, top_k="all")[0]["events"][0]["categories"]["Site"]
    assert sorted(value["value"] for value in category["top"]) == ["s1", "s2", "s3"]
    assert category["unknown"] == 0


def test_the_event_taken_is_written_as_a_record(example_bundle: Bundle) -> None:
    body, answer = answered(example_bundle)
    record = example_bundle.codec.decode(answer.ids[0, 1].tolist(), int(answer.timestamp[0, 1]))
    assert body["events"][1]["event"] == record
    assert record["EventDatetime"] == "2026-01-29T08:12:00"


def test_a_predicted_event_can_be_sent_back_as_history(example_bundle: Bundle) -> None:
    body = example() | {"now": "2026-01-29T08:30:00", "observed": None}
    record = answered(example_bundle)[0]["events"][0]["event"] | {"Helper": "ann"}
    body["streams"]["Worker"][0]["events"].append(record)
    read_request(body, example_bundle)


def test_entropy_and_surprise_are_in_nats(example_bundle: Bundle) -> None:
    body, answer = answered(example_bundle)
    log_p = log_probs(example_bundle, answer, 0, "Kind").astype(np.float64)
    assert body["events"][0]["categories"]["Kind"]["entropy"] == pytest.approx(-(np.exp(log_p) * log_p).sum())
    observed = body["observed"]["categories"]["Kind"]
    assert observed["surprise"] == pytest.approx(-log_p[2])  # "out"
    assert observed["probability"] == pytest.approx(np.exp(log_p[2]))


def test_what_was_to_be_expected_of_an_observed_event_is_the_entropy(example_bundle: Bundle) -> None:
    body, _ = answered(example_bundle, allowed=None)
    for name, score in body["observed"]["categories"].items():
        assert score["expected"] == pytest.approx(body["events"][0]["categories"][name]["entropy"])


def test_each_event_carries_its_time_by_level(example_bundle: Bundle) -> None:
    body, answer = answered(example_bundle)
    assert answer.when is not None
    for event_, when in zip(body["events"], answer.when, strict=True):
        assert event_["when"] == {
            level: example_bundle.codec.iso(example_bundle.codec.at_timestamp(int(t)))
            for level, t in zip(("0.1", "0.5", "0.9"), when, strict=True)
        }


def test_an_event_carries_no_quantiles_that_were_not_asked_for(example_bundle: Bundle) -> None:
    assert "when" not in answered(example_bundle, quantiles=None)[0]["events"][0]


def test_the_joint_is_the_sum_along_the_chain(example_bundle: Bundle) -> None:
    body, answer = answered(example_bundle, allowed=None)
    assert answer.observed_log_prob is not None
    joint = body["observed"]["joint"]
    assert joint["log_probability"] == pytest.approx(answer.observed_log_prob[1].sum(), rel=1e-6)
    assert joint["surprise"] == -joint["log_probability"]


def test_the_surprise_of_the_impossible_is_null(example_bundle: Bundle) -> None:
    observed = answered(example_bundle, observed=event(20, Site="s9"))[0]["observed"]
    site = observed["categories"]["Site"]
    assert (site["probability"], site["surprise"]) == (0, None)
    assert observed["joint"] == {"log_probability": None, "surprise": None}


@pytest.mark.parametrize("asked", [{}, {"top_k": "all", "horizon": 4}, {"sampling": {"num_samples": 3}, "horizon": 2}])
def test_the_values_of_an_answer_are_counted_before_it_is_rendered(
    example_bundle: Bundle, asked: dict[str, Any]
) -> None:
    asked = {"allowed": {}, "categories": None} | asked
    body, _ = answered(example_bundle, **asked)
    listed = sum(len(category["top"]) for event in body["events"] for category in event["categories"].values())
    events = sum(len(rollout["events"]) for rollout in body.get("rollouts", [body]))
    counted = count_values(example_bundle, read_request(example() | asked, example_bundle))
    assert counted == listed + events * len(example_bundle.schema.fields)


def test_the_answer_names_model_focus_and_now(example_bundle: Bundle, tmp_path: Path) -> None:
    body, _ = answered(example_bundle)
    assert body["model"] == {"name": "tiny", "version": "0123456789ab"}
    assert (body["focus"], body["now"], body["unknown_values"]) == ("ann", "2026-01-29T08:10:00", {"Worker": 1})
    assert "observed" not in answered(example_bundle, observed=None)[0]


def test_now_keeps_the_schemas_zone(tmp_path: Path) -> None:
    zoned = write_example(tmp_path, ZONED)
    body = {"streams": {"Worker": [{"id": "ann", "events": []}]}, "now": "2026-07-01T08:00:00Z"}
    request = read_request(body, zoned)
    answer = FakeEngine(zoned).answer([request.query])[0]
    assert render(zoned, request, answer)["now"] == "2026-07-01T10:00:00+02:00"


def ranked(*categories: list[float]) -> list[list[int]]:
    """The ids of each category, given the probabilities of its named ids, by rank."""
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.concatenate([[1.0, *p] for p in categories]), dtype=np.float32)
    sizes = tuple(1 + len(p) for p in categories)
    return [ids.tolist() for ids in np.split(rank(log_probs[None], sizes)[0], np.cumsum(sizes)[:-1])]


def test_equal_probabilities_are_ranked_by_lower_id_and_the_unknown_last() -> None:
    assert ranked([0.2, 0.3, 0.2, 0.1, 0.3, 0.2]) == [[2, 5, 1, 3, 6, 4, 0]]


@given(st.lists(st.lists(st.sampled_from([0.0, 1e-30, 0.1, 0.3, 1.0, 1.0000001]), min_size=1), min_size=1, max_size=5))
def test_a_rank_is_that_of_a_stable_sort(categories: list[list[float]]) -> None:
    expected = [sorted(range(1, len(p) + 1), key=lambda i: (-min(p[i - 1], 1), i)) for p in categories]
    assert ranked(*categories) == [[*ids, 0] for ids in expected]


def test_sampled_rollouts_are_written_one_by_one(example_bundle: Bundle) -> None:
    body, answer = answered(example_bundle, sampling={"num_samples": 3})
    assert [len(rollout["events"]) for rollout in body["rollouts"]] == [2, 2, 2]
    record = example_bundle.codec.decode(answer.ids[2, 1].tolist(), int(answer.timestamp[2, 1]))
    assert body["rollouts"][2]["events"][1] == record
    assert body["rollouts"][2]["log_probability"] == pytest.approx(answer.log_prob[2].sum())
    assert all("event" not in event_ for event_ in body["events"])
