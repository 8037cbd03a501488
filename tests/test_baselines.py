"""The counting predictors, on a log small enough to count by hand."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from eventmodel.config import ModelConfig
from eventmodel.event_log import EventLog
from eventmodel.schema import Schema
from training.evaluation.baselines import ADDENDS, BASELINES, CHEAP_BASELINES, CategoryBaselines, score_baselines
from training.evaluation.counts import Counts
from training.evaluation.distribution import Distribution
from training.preparation import prepare
from training.sampling import Sampler

SITES = {"a": "xyxyxyxyxyxy", "b": "xxxxxxxxxxxx"}
SITE = 1


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


def targets(log: EventLog) -> np.ndarray:
    """Positions whose target lies in the test part."""
    return Sampler(log, ModelConfig(), log.validation_end, len(log.events.timestamp)).positions


def last_but_one(log: EventLog) -> np.ndarray:
    """Each entity's position whose target is its last event."""
    return log.focus.start[1:] - 2


def dense(found: Distribution) -> np.ndarray:
    """(n, V) probabilities."""
    result = found.rest[:, None] * found.background
    np.add.at(result, (found.entries.row, found.entries.value), found.entries.weight)
    return result


def most_probable(log: EventLog, name: str) -> list[int]:
    category = CategoryBaselines(log, SITE, BASELINES, np.empty(0, np.int64))
    distribution = category.distributions(last_but_one(log), BASELINES)[name]
    return dense(distribution).argmax(1).tolist()


def test_frequency_is_that_of_the_training_part_plus_one_where_there_is_nothing_to_fit_on(log: EventLog) -> None:
    found = CategoryBaselines(log, SITE, ("frequency",), np.empty(0, np.int64))
    probability = dense(found.distributions(last_but_one(log), ("frequency",))["frequency"])
    count = np.bincount(log.events.ids[: log.train_end, SITE], minlength=4) + 1
    np.testing.assert_allclose(probability, np.tile(count / count.sum(), (2, 1)))


def test_the_addend_of_frequency_is_the_one_that_suits_new_values_best(log: EventLog) -> None:
    ids = log.events.ids.copy()
    ids[log.train_end :, SITE] = 3  # from then on at z, where nobody was before
    changed = replace(log, events=log.events._replace(ids=ids))
    fit_on = Sampler(changed, ModelConfig(), *changed.part("validation")).positions
    old, new = (CategoryBaselines(each, SITE, ("frequency",), fit_on) for each in (log, changed))
    assert new.parameters("frequency")["addend"] == ADDENDS[-1]
    assert old.parameters("frequency")["addend"] < 1


def test_the_last_value_is_that_of_the_focus_s_last_event(log: EventLog) -> None:
    assert most_probable(log, "last value") == [1, 1]


def test_recency_finds_each_entity_s_own_values(log: EventLog) -> None:
    category = CategoryBaselines(log, SITE, BASELINES, np.empty(0, np.int64))
    a, b = dense(category.distributions(last_but_one(log), BASELINES)["entity recency"])
    assert a[2] > 0.4  # half of the days at y
    assert b[2] < 0.1


def test_the_markov_baseline_learns_each_entity_s_own_transitions(log: EventLog) -> None:
    assert most_probable(log, "entity Markov") == [2, 1]


def test_the_markov_baseline_falls_back_to_everyone_and_then_to_frequency(log: EventLog) -> None:
    ids = log.events.ids.copy()
    newcomer = np.flatnonzero(log.focus.entity == 0)[-2]
    for value, expected in ((2, 1), (3, 1)):  # y was always followed by x; z never occurred
        ids[log.focus.rows[newcomer], SITE] = value
        changed = replace(log, events=log.events._replace(ids=ids))
        category = CategoryBaselines(changed, SITE, BASELINES, np.empty(0, np.int64))
        distribution = category.distributions(np.array([newcomer]), BASELINES)
        assert dense(distribution["entity Markov"]).argmax() == expected
        if value == 3:
            np.testing.assert_allclose(dense(distribution["Markov"]), dense(distribution["frequency"]))


@pytest.mark.parametrize("name", BASELINES)
def test_probabilities_sum_to_one_and_none_is_zero(small_log: EventLog, name: str) -> None:
    positions = targets(small_log)[:50]
    for c in (0, 1, 4, 8):
        category = CategoryBaselines(small_log, c, BASELINES, targets(small_log)[50:60])
        probability = dense(category.distributions(positions, BASELINES)[name])
        assert probability.shape == (50, small_log.codec.sizes[c])
        np.testing.assert_allclose(probability.sum(1), 1)
        assert (probability > 0).all()


@pytest.mark.parametrize("name", BASELINES)
def test_log_probabilities_and_ranks_are_those_of_a_brute_force(small_log: EventLog, name: str) -> None:
    positions = targets(small_log)[:60]
    for c in range(len(small_log.codec.sizes)):
        category = CategoryBaselines(small_log, c, BASELINES, positions[:9])
        distribution = category.distributions(positions, BASELINES)[name]
        label = category.ids[positions + 1]
        each = dense(distribution)
        of_label = each[np.arange(60), label, None]
        np.testing.assert_allclose(distribution.of(label), of_label[:, 0])
        is_before = (each > of_label) | (each == of_label) & (np.arange(each.shape[1]) < label[:, None])
        assert distribution.rank(label).tolist() == (1 + is_before.sum(1)).tolist()


@pytest.mark.parametrize("name", BASELINES)
def test_changing_later_events_never_changes_a_prediction(small_log: EventLog, name: str) -> None:
    positions = targets(small_log)
    positions = positions[len(positions) // 2 :][:40]
    rows = small_log.focus.rows[positions]
    now = rows.max()
    ids = small_log.events.ids.copy()
    ids[now + 1 :] = np.random.default_rng(0).permutation(ids[now + 1 :])
    assert (ids != small_log.events.ids).any()
    changed = replace(small_log, events=small_log.events._replace(ids=ids))
    fit_on = Sampler(small_log, ModelConfig(), small_log.train_end, small_log.validation_end).positions
    for c in (0, 1, 4):
        before, after = (
            dense(CategoryBaselines(each, c, BASELINES, fit_on).distributions(positions, BASELINES)[name])
            for each in (small_log, changed)
        )
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", BASELINES)
def test_the_target_itself_is_not_read(log: EventLog, name: str) -> None:
    ids = log.events.ids.copy()
    ids[log.focus.rows[last_but_one(log) + 1], SITE] = 3
    changed = replace(log, events=log.events._replace(ids=ids))
    before, after = (
        dense(
            CategoryBaselines(each, SITE, BASELINES, np.empty(0, np.int64)).distributions(last_but_one(log), BASELINES)[
                name
            ]
        )
        for each in (log, changed)
    )
    np.testing.assert_array_equal(before, after)


def test_smoothing_that_is_fitted_is_no_worse_than_any_other_tried(small_log: EventLog) -> None:
    fit_on = Sampler(small_log, ModelConfig(), small_log.train_end, small_log.validation_end).positions
    fitted, plain = (CategoryBaselines(small_log, 4, BASELINES, on) for on in (fit_on, fit_on[:0]))
    label = fitted.ids[fit_on + 1]
    for name in ("last value", "entity recency", "Markov"):
        nll = [-np.log(c.distributions(fit_on, BASELINES)[name].of(label)).mean() for c in (fitted, plain)]
        assert nll[0] <= nll[1] + 1e-9


def test_cutting_the_work_into_parts_changes_nothing(small_log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    positions = targets(small_log)
    whole = score_baselines(small_log, positions)
    monkeypatch.setattr("training.evaluation.baselines.MAX_ENTRIES", 500)
    parts = score_baselines(small_log, positions)
    for name in BASELINES:
        assert np.array_equal(whole[name].rank, parts[name].rank)
        np.testing.assert_allclose(whole[name].log_prob, parts[name].log_prob, rtol=1e-12)


def test_the_cheaper_baselines_alone_say_what_they_say_among_all(small_log: EventLog) -> None:
    positions = targets(small_log)[:30]
    alone, among = score_baselines(small_log, positions, CHEAP_BASELINES), score_baselines(small_log, positions)
    assert tuple(alone) == CHEAP_BASELINES
    for name in CHEAP_BASELINES:
        assert np.array_equal(alone[name].log_prob, among[name].log_prob)


@pytest.mark.parametrize("half_life", [1.0, 3.0, 30.0, np.inf])
def test_counts_decay_with_the_distance_in_events(half_life: float) -> None:
    random = np.random.default_rng(0)
    value = random.integers(0, 3, 200)
    counts = Counts(np.zeros(200, np.int64), value, np.arange(200), 3)
    found = counts.entries(np.zeros(1, np.int64), np.array([150]), counts.decayed(half_life), half_life)
    weight = 0.5 ** ((150 - np.arange(151)) / half_life)
    np.testing.assert_allclose(found.weight, np.bincount(value[:151], weight, minlength=3), rtol=1e-9)


def test_counts_of_a_context_that_never_occurred_are_none() -> None:
    counts = Counts(np.array([3, 3]), np.array([0, 1]), np.array([0, 1]), 2)
    found = counts.entries(np.array([2, 3, 4]), np.array([9, 0, 9]), counts.decayed(np.inf))
    assert found.row.tolist() == [1]
    assert found.value.tolist() == [0]
