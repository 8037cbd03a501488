"""The trivial predictors, on a log small enough to count by hand."""

import numpy as np
import polars as pl
import pytest

from eventmodel.event_log import EventLog
from eventmodel.schema import Schema
from training.baselines import baseline_predictions
from training.prepare import prepare

SITES = {"a": "xyxyxyxyxyxy", "b": "xxxxxxxxxxxx"}


@pytest.fixture(scope="module")
def log() -> EventLog:
    schema = Schema.model_validate(
        {
            "name": "sites",
            "fields": [
                {"name": "Who", "kind": "id"},
                {"name": "Site", "kind": "enum", "values": ["x", "y", "z"]},
                {"name": "At", "kind": "datetime"},
            ],
            "order_by": "At",
            "streams": [{"name": "Who", "keys": ["Who"]}],
            "focus": "Who",
        }
    )
    records = [
        {"Who": who, "Site": site, "At": f"2026-01-{day + 1:02d}T08:00:00"}
        for day in range(12)
        for who, sites in SITES.items()
        for site in sites[day]
    ]
    return prepare(pl.DataFrame(records), schema, train=0.6, validation=0.2)[0]


def predicted(log: EventLog, name: str) -> list[list[int]]:
    site = 1
    last_but_one = log.focus.start[1:] - 2  # its target is the entity's last event
    return baseline_predictions(log, last_but_one)[name][:, site].tolist()


def test_the_most_frequent_value_is_that_of_the_training_part(log: EventLog) -> None:
    assert predicted(log, "most common") == [1, 1]


def test_the_last_value_is_that_of_the_focus_s_last_event(log: EventLog) -> None:
    assert predicted(log, "last value") == [1, 1]


def test_the_markov_baseline_learns_each_entity_s_own_transitions(log: EventLog) -> None:
    assert predicted(log, "entity Markov") == [2, 1]


def test_the_markov_baseline_falls_back_to_everyone_and_then_to_the_last_value(log: EventLog) -> None:
    ids = log.events.ids.copy()
    newcomer = np.flatnonzero(log.focus.entity == 0)[-2]
    for value, expected in ((2, 1), (3, 3)):  # y was always followed by x; z never occurred
        ids[log.focus.rows[newcomer], 1] = value
        changed = EventLog(
            log.schema, log.vocabularies, log.events._replace(ids=ids), log.streams, log.train_end, log.validation_end
        )
        found = baseline_predictions(changed, np.array([newcomer]))["entity Markov"]
        assert found[0, 1] == expected
