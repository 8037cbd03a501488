"""What the server counts to see whether requests are still what the model was trained on."""

from collections.abc import Callable

import numpy as np
import pytest
from counting import counted
from server_example import KINDS, FakeEngine, event, two_queries

from eventmodel.bundle import Bundle
from eventmodel.engine.query import Answer, Query
from eventmodel.request.reader import read_request
from server.drift import DriftCounters, count_unknown
from server.metrics import VALUES


@pytest.fixture
def queries(example_bundle: Bundle) -> list[Query]:
    return two_queries(example_bundle)


@pytest.fixture
def answers(example_bundle: Bundle, queries: list[Query]) -> list[Answer]:
    return FakeEngine(example_bundle).answer(queries)


def published(bundle: Bundle, queries: list[Query], answers: list[Answer]) -> Callable[[], None]:
    """Counts one batch, and publishes it at once."""

    def run() -> None:
        counters = DriftCounters(bundle.codec)
        counters.count(queries, answers)
        counters.publish()

    return run


def test_values_that_are_known_are_counted_by_category_and_blanks_are_not(
    example_bundle: Bundle, queries: list[Query], answers: list[Answer]
) -> None:
    count = published(example_bundle, queries, answers)

    def known(category: str) -> float:
        return counted(count, "eventmodel_values_total", category=category, kind="known")

    n_events = sum(len(query.histories.events.ids) for query in queries)
    assert (known("Kind"), known("Time_Event_Hour")) == (n_events, n_events)
    assert (known("Hours"), known("Helper"), known("Site")) == (1, 2, n_events - 1)


def test_values_that_the_vocabularies_lack_are_counted_by_category(example_bundle: Bundle) -> None:
    body = {"streams": {"Worker": [{"id": "ann", "events": [event(i, Site="x", Kind="nap") for i in range(3)]}]}}
    unknown = read_request(body, example_bundle).unknown
    counts = {
        category: counted(
            lambda: count_unknown(example_bundle.codec, unknown),
            "eventmodel_values_total",
            category=category,
            kind="unknown",
        )
        for category in ("Kind", "Site", "Worker")
    }
    assert counts == {"Kind": 3, "Site": 3, "Worker": 0}


def test_the_probability_of_the_next_event_s_most_probable_value_is_summed(
    example_bundle: Bundle, queries: list[Query], answers: list[Answer]
) -> None:
    expected = sum(np.exp(a.log_probs[0, : len(KINDS) + 1]).max() for a in answers)
    found = counted(published(example_bundle, queries, answers), "eventmodel_top1_probability_total", category="Kind")
    assert found == pytest.approx(expected, rel=1e-6)
    assert queries[0].horizon > 1  # of which the first event counts


def test_what_is_counted_within_a_second_is_published_together(
    example_bundle: Bundle, queries: list[Query], answers: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("server.drift.time.monotonic", lambda: clock[0])
    counters = DriftCounters(example_bundle.codec)

    def after(seconds: float) -> None:
        clock[0] += seconds
        counters.publish()

    def predictions(count: Callable[[], object]) -> float:
        return counted(count, "eventmodel_predictions_total")

    counters.count(queries, answers)
    assert predictions(lambda: after(0)) == 2
    counters.count(queries, answers)
    assert predictions(lambda: after(0.5)) == 0
    counters.count(queries, answers)
    assert predictions(lambda: after(0.6)) == 4
    assert predictions(lambda: after(5)) == 0


def test_unknown_values_of_every_category_have_a_series_before_there_is_one(example_bundle: Bundle) -> None:
    DriftCounters(example_bundle.codec)
    found = {(s.labels["category"], s.labels["kind"]) for metric in VALUES.collect() for s in metric.samples}
    assert {(category.name, "unknown") for category in example_bundle.schema.categories} <= found
