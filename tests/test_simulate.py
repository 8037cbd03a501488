"""The simulated log is what it says, and its answer is right."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from eventmodel.config import ModelConfig
from eventmodel.schema import load_schema
from training import simulate as program
from training.evaluation.oracle import Oracle
from training.preparation import prepare
from training.read_table import read_table
from training.sampling import Sampler
from training.simulate import SimulateConfig, Simulation, beside, run, save
from training.simulation import simulator
from training.simulation.anomalies import COST, HOUR, HOURS_LATER, JOB, LOCATION, disturb
from training.simulation.clocks import NEVER, Clock, race, shaped
from training.simulation.coverage import REACH, previous_rows, states_before
from training.simulation.history import (
    APPROVAL,
    BREAK,
    CALL,
    HOME,
    PUNCH_OUT,
    TRANSFER,
    WORK,
    Events,
    State,
)
from training.simulation.ids import CATEGORIES, event_ids
from training.simulation.next_event import TYPES, attributes, moments
from training.simulation.oracle import Likelihood, World, score
from training.simulation.population import DAY, Population
from training.simulation.records import anomaly_frame, log_frame
from training.simulation.simulator import draw

ALTERNATIVES = ("actor", "recipient", "approver", "location", "cost")


@pytest.fixture(scope="module")
def found() -> Simulation:
    return run(SimulateConfig(out=Path("log.parquet"), employees=60, sites=3, days=120, anomaly_rate=0.02, seed=1))


@pytest.fixture(scope="module")
def log(found):
    return prepare(log_frame(found.world.people, found.events), load_schema("workforce"))


def short(seed: int, employees: int = 20, days: int = 14) -> tuple[Population, Events]:
    rng = np.random.default_rng(seed)
    people = Population.draw(rng, employees, 3, 1)
    return people, simulator.simulate(rng, people, days, 0.02)


def observed(found: Simulation) -> np.ndarray:
    return event_ids(found.events.take(found.coverage.rows), found.world.vocabularies)


class Case(NamedTuple):
    """One person whose manager has not looked at the last shift, and what may come next."""

    phase: int
    state: State
    employee: np.ndarray  # (1,)
    happened: np.ndarray  # (1, C)
    loss: np.ndarray  # (C,): the chain, as the program says
    events: np.ndarray  # (n, C) distinct ids
    probability: np.ndarray  # (n,)

    def repeat(self, n: int) -> tuple[State, np.ndarray]:
        return self.state.take(np.zeros(n, np.int64)), self.employee.repeat(n)


@pytest.fixture(scope="module", params=[HOME, CALL, WORK, BREAK], ids=["home", "call", "work", "break"])
def case(request, found) -> Case:
    phase, state = request.param, found.coverage.state
    at = np.flatnonzero((state.phase == phase) & (state.pending == 1))[:1]
    rows = found.coverage.rows[at]
    state, employee = state.take(at), found.events.employee[rows]
    possible = every_event(found.world, phase, state, employee)
    return Case(phase, state, employee, observed(found)[at], found.likelihood.chain[at[0]], *possible)


def every_event(world: World, phase: int, state: State, employee: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All events that may come next for one person and their probabilities, spelled out one by one."""
    next_ = moments(phase, state, world.people, employee)
    fields = {type_: attributes(type_, state, world.people, employee) for type_ in TYPES[phase]}
    counts = {"location": world.people.sites, "cost": world.people.sites * 5, "job": 8}
    disturbed = world.anomaly_rate / 4
    found: list[tuple[dict[str, int], float]] = []
    for k in np.flatnonzero(next_.weight[0]):
        type_, day = int(next_.type[k]), int(next_.is_weekend[0, k])
        rest = fields[type_]
        for a, j, sheet in product(range(rest.share.shape[1]), range(2), range(3)):
            share = next_.weight[0, k] * rest.share[0, a] * rest.job_share[0, day, j] * rest.sheet_share[0, sheet]
            if share == 0:
                continue
            event = {"employee": employee[0], "type": type_, "sheet": sheet + 1, "job": rest.job[0, j], "anomaly": 0}
            event |= {name: getattr(next_, name)[0, k] for name in ("time", "reference", "hours")}
            event |= {name: getattr(rest, name)[0, a] for name in ALTERNATIVES}
            found.append((event, share * (1 - world.anomaly_rate)))
            for field, count in counts.items():
                others = set(range(count)) - {event[field]}
                found += [(event | {field: value}, share * disturbed / len(others)) for value in others]
            for hours in HOURS_LATER:
                worked = event["hours"] + (60 * hours if type_ == PUNCH_OUT else 0)
                later = event | {"time": event["time"] + 60 * hours, "hours": worked}
                found.append((later, share * disturbed / len(HOURS_LATER)))
    columns = Events(*(np.array([event[name] for event, _ in found]) for name in Events._fields))
    events, which = np.unique(event_ids(columns, world.vocabularies), axis=0, return_inverse=True)
    return events, np.bincount(which.ravel(), [share for _, share in found])


# --- the log ------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_log():
    assert all(np.array_equal(one, other) for one, other in zip(short(3)[1], short(3)[1], strict=True))


def test_another_seed_gives_another_log():
    assert not np.array_equal(short(3)[1].time[:100], short(4)[1].time[:100])


def test_every_record_passes_the_codec(log):
    report = log[1]
    assert report.refused.is_empty()
    assert (report.outside, report.ignored_columns, report.missing_fields) == ({}, (), ())


def test_the_row_of_an_event_is_its_row_in_the_prepared_log(found, log):
    minutes = (log[0].events.timestamp - log[0].codec.moment("2024-01-01T00:00").timestamp) // 60_000_000
    assert np.array_equal(minutes, found.events.time)


def test_the_parts_are_those_of_the_prepared_log(found, log):
    assert (found.train_end, found.validation_end) == (log[0].train_end, log[0].validation_end)


def test_the_oracle_tells_apart_what_the_codec_tells_apart(found, log):
    ours, theirs = event_ids(found.events, found.world.vocabularies), log[0].events.ids
    for c, name in enumerate(CATEGORIES):
        pairs = np.unique(np.stack((ours[:, c], theirs[:, c])), axis=1)
        assert all(len(np.unique(side)) == pairs.shape[1] for side in pairs), name
        assert np.array_equal(ours[:, c] == 0, theirs[:, c] == 0), name
        if name not in load_schema("workforce").vocabularies and not name.endswith("RecordId"):
            assert np.array_equal(ours[:, c], theirs[:, c]), name


def test_the_times_of_a_person_increase(found):
    previous = previous_rows(found.events)
    follows = previous >= 0
    assert (found.events.time[follows] > found.events.time[previous[follows]]).all()


def test_nobody_acts_before_joining(found):
    people = found.world.people
    assert (people.joined > 0).any()
    assert (found.events.time >= people.joined[found.events.employee] * DAY).all()


def test_nobody_acts_after_leaving(monkeypatch):
    monkeypatch.setattr(simulator, "LEAVING", 1.0)
    people, events = short(0)
    for employee in range(len(people)):
        types = events.type[events.employee == employee]
        assert (types[:-1] != PUNCH_OUT).all()


def test_hours_worked_are_the_minutes_between_the_punches_without_the_breaks(found):
    events = found.events
    state = states_before(found.world.people, events, outs := np.flatnonzero(events.type == PUNCH_OUT))
    assert np.array_equal(events.hours[outs], events.time[outs] - state.in_time - state.break_minutes)


def test_an_approval_refers_to_the_punch_out(found):
    events = found.events
    state = states_before(found.world.people, events, rows := np.flatnonzero(events.type == APPROVAL))
    assert np.array_equal(events.reference[rows], state.out_time)
    assert np.array_equal(events.hours[rows], state.out_hours)


def test_a_transfer_goes_on_in_the_person_s_rotation(found):
    events, people = found.events, found.world.people
    rows = np.flatnonzero((events.type == TRANSFER) & (events.anomaly != COST))
    state, employee = states_before(people, events, rows), events.employee[rows]
    own = state.code // 5 == people.home[employee]
    steps = (events.cost[rows] - state.code)[own] % 5
    stride = people.stride[employee[own]]
    assert np.isin(steps * 5 + stride, [s * k % 5 * 5 + s for s in range(1, 5) for k in (1, 2)]).all()
    assert np.mean(steps == stride) == pytest.approx(0.9, abs=0.02)


# --- anomalies ----------------------------------------------------------------------


def test_anomalies_come_at_the_stated_rate(found):
    n = len(found.events.time)
    error = np.sqrt(0.02 * 0.98 / n)
    assert (found.events.anomaly > 0).mean() == pytest.approx(0.02, abs=4 * error)


def test_anomalies_are_labelled_by_row(found):
    labels = anomaly_frame(found.events)
    assert labels["row"].to_list() == np.flatnonzero(found.events.anomaly).tolist()
    assert set(labels["kind"]) == {"location", "cost code", "job", "hour"}


def test_an_anomaly_changes_one_thing_and_nothing_else_changes():
    people, events = short(0)
    after = disturb(np.random.default_rng(0), events, people, 0.5)
    for kind, field in ((LOCATION, "location"), (COST, "cost"), (JOB, "job"), (HOUR, "time")):
        changed = getattr(after, field) != getattr(events, field)
        assert np.array_equal(changed, after.anomaly == kind)


def test_an_anomaly_of_the_hour_keeps_the_minute():
    people, events = short(0)
    after = disturb(np.random.default_rng(0), events, people, 0.5)
    assert set((after.time - events.time)[after.anomaly == HOUR]) == {60 * hours for hours in HOURS_LATER}


# --- the race of clocks -------------------------------------------------------------


def test_the_earlier_clock_of_the_sequence_wins_the_minute_they_share():
    one, two = (shaped(np.array([10]), np.array([0.5, 0.5])) for _ in range(2))
    first, second = race([one, two])
    assert first[0].tolist() == [0.5, 0.25]
    assert second[0].tolist() == [0.25, 0.0]


def test_a_clock_that_has_not_rung_is_renormalised():
    clock = shaped(np.array([10]), np.array([0.5, 0.25, 0.25])).after(np.array([10]))
    assert clock.pmf[0, 0].tolist() == [0.0, 0.5, 0.5]


def test_an_overdue_clock_rings_within_ten_minutes():
    clock = shaped(np.array([10]), np.full(20, 0.05)).after(np.array([99]))
    assert clock.times[0, 0][clock.pmf[0, 0] > 0].tolist() == list(range(100, 110))


def test_a_clock_that_may_never_ring_is_not_overdue():
    clock = Clock(np.array([[10]]), np.array([[[0.4, 0.4]]]), np.array([0.2])).after(np.array([99]))
    assert clock.never[0] == 1.0
    assert clock.ring(np.random.default_rng(0))[0][0] == NEVER


# --- the oracle ---------------------------------------------------------------------


@pytest.mark.parametrize("phase", [HOME, CALL, WORK, BREAK])
def test_the_moments_of_everyone_sum_to_one(found, phase):
    of_phase = np.flatnonzero(found.coverage.state.phase == phase)
    employee = found.events.employee[found.coverage.rows[of_phase]]
    next_ = moments(phase, found.coverage.state.take(of_phase), found.world.people, employee)
    assert set(next_.type) == set(TYPES[phase])
    assert next_.weight.sum(1) == pytest.approx(1)


def test_all_events_that_may_come_next_sum_to_one(case):
    assert case.probability.sum() == pytest.approx(1)


def test_the_joint_loss_is_that_of_the_event_among_all_that_may_come_next(case):
    happened = (case.events == case.happened).all(1)
    assert case.loss.sum() == pytest.approx(-np.log(case.probability[happened][0]))


def test_the_chain_is_made_of_sums_over_all_events_with_the_same_first_categories(found, case):
    events, scored = some_losses(found, case)
    for event, chain in zip(events, scored.chain, strict=True):
        same_so_far = np.logical_and.accumulate(case.events == event, axis=1)
        assert np.cumsum(chain) == pytest.approx(-np.log(case.probability @ same_so_far), abs=1e-9)


def test_marginals_are_sums_over_all_events_with_the_same_category(found, case):
    events, scored = some_losses(found, case)
    for event, marginal in zip(events, scored.marginal, strict=True):
        assert marginal == pytest.approx(-np.log(case.probability @ (case.events == event)), abs=1e-9)


def some_losses(found: Simulation, case: Case) -> tuple[np.ndarray, Likelihood]:
    """Events that may come next, from the least to the most probable."""
    events = case.events[np.argsort(case.probability)]
    events = np.concatenate((events[:: len(events) // 10], events[-5:]))
    return events, score(found.world, *case.repeat(len(events)), events)


def test_events_drawn_again_and_again_have_the_frequencies_of_the_oracle(found, case):
    n = 10_000
    drawn = draw_ids(found.world, case, n, seed=5)
    for c, name in enumerate(CATEGORIES):
        expected = n * np.bincount(case.events[:, c], case.probability)
        seen = np.bincount(drawn[:, c], minlength=len(expected))
        assert (expected[seen > 0] > 0).all(), name
        often = expected >= 5
        chi_square = ((seen - expected)[often] ** 2 / expected[often]).sum()
        assert chi_square < often.sum() + 4.5 * np.sqrt(2 * often.sum()), name


def test_the_mean_loss_of_events_drawn_again_is_the_entropy(found, case):
    n = 2000
    ids = draw_ids(found.world, case, n, seed=6)
    joint = score(found.world, *case.repeat(n), ids).chain.sum(1)
    entropy = -(case.probability * np.log(case.probability)).sum()
    assert joint.mean() == pytest.approx(entropy, abs=4 * joint.std() / np.sqrt(n))


def draw_ids(world: World, case: Case, n: int, seed: int) -> np.ndarray:
    """What comes next, n times over."""
    state, employee = case.repeat(n)
    drawn = draw(np.random.default_rng(seed), state, world.people, employee, world.anomaly_rate)
    return event_ids(drawn, world.vocabularies)


@pytest.fixture(scope="module")
def many(found) -> tuple[State, np.ndarray, np.ndarray]:
    """States, people and what came next, of more events than the oracle covers."""
    rows = np.arange(found.train_end - 4000, found.train_end)
    rows = rows[previous_rows(found.events)[rows] >= 0]
    after = found.events.take(rows)
    state = states_before(found.world.people, found.events, rows)
    return state, after.employee, event_ids(after, found.world.vocabularies)


@pytest.fixture(scope="module")
def many_losses(found, many) -> np.ndarray:
    return score(found.world, *many).chain.sum(1)


@pytest.mark.parametrize("habit", ["lateness", "overtime", "lends"])
def test_who_mistakes_everyone_s_habit_loses(found, many, many_losses, habit):
    people = found.world.people
    habits = getattr(people, habit)
    wrong = replace(people, **{habit: (habits + 1) % (habits.max() + 1)})
    assert_greater(score(found.world._replace(people=wrong), *many).chain.sum(1), many_losses)


def test_who_knows_of_no_anomalies_loses(found, many, many_losses):
    assert_greater(score(found.world._replace(anomaly_rate=1e-5), *many).chain.sum(1), many_losses)


def assert_greater(wrong: np.ndarray, right: np.ndarray) -> None:
    """By more than chance, on the same events."""
    excess = wrong - right
    assert excess.mean() > 4 * excess.std() / np.sqrt(len(excess))


@pytest.mark.parametrize(("newest", "share"), [(16, 0.98), (64, 1.0)])
def test_the_newest_events_say_all(found, newest, share):
    events, people = found.events, found.world.people
    _, last = np.unique(events.employee[found.coverage.rows], return_index=True)
    rows = found.coverage.rows[last]
    kept = []
    for row in rows:
        own = np.flatnonzero(events.employee[: row + 1] == events.employee[row])
        kept.append(own[-newest - 1 :])
    part = np.sort(np.concatenate(kept))
    state = states_before(people, events.take(part), np.flatnonzero(np.isin(part, rows)))
    order = np.argsort(rows)
    scored = score(found.world, state, events.employee[rows[order]], observed(found)[last[order]])
    same = np.isclose(scored.chain.sum(1), found.likelihood.chain[last[order]].sum(1))
    assert same.mean() >= share


def test_the_next_event_is_never_out_of_reach(found):
    rows = np.flatnonzero(previous_rows(found.events) >= 0)
    state = states_before(found.world.people, found.events, rows)
    assert (found.events.time[rows] < state.now + REACH[state.phase]).all()


def test_covered_events_and_those_left_out_are_the_test_part(found):
    n_test = len(found.events.time) - found.validation_end
    assert len(found.coverage.rows) + sum(found.coverage.left_out.values()) == n_test


def test_people_who_are_new_in_the_test_part_are_not_covered(found, log):
    codec, names = log[0].codec, log_frame(found.world.people, found.events)
    covered = names[found.coverage.rows]
    focus = covered.select(pl.coalesce("RecipientRecordId", "ActorRecordId")).to_series()
    assert set(focus) <= set(codec.vocabularies["employees"])


# --- the program --------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_tables_lie_beside_the_log(found, tmp_path, suffix):
    config = SimulateConfig(out=tmp_path / f"log{suffix}")
    save(config, found)
    assert read_table(config.out).height == len(found.events.time)
    assert read_table(beside(config.out, "anomalies")).columns == ["row", "kind"]
    assert read_table(beside(config.out, "oracle")).height == len(found.coverage.rows)


def test_the_oracle_is_found_in_the_prepared_log(found, log, tmp_path):
    config = SimulateConfig(out=tmp_path / "log.parquet")
    save(config, found)
    prepared = log[0]
    oracle = Oracle.read(beside(config.out, "oracle"), prepared)
    positions = Sampler(prepared, ModelConfig(), prepared.validation_end, len(prepared.events.timestamp)).positions
    place = oracle.find(prepared, positions)
    assert sorted(place[place >= 0]) == list(range(len(found.coverage.rows)))


def test_a_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "log.csv").touch()
    with pytest.raises(ValueError, match="exists, and may be your own"):
        SimulateConfig(out=tmp_path / "log.csv")


def test_a_failure_leaves_no_table_behind(found: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SimulateConfig(out=tmp_path / "log.parquet")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.simulate.log_frame", full)
    with pytest.raises(OSError, match="No space left"):
        save(config, found)
    assert list(tmp_path.iterdir()) == []


def test_the_summary_holds_the_means_of_the_table(found, tmp_path):
    config = SimulateConfig(out=tmp_path / "log.parquet")
    save(config, found)
    table = pl.read_parquet(tmp_path / "log.oracle.parquet")
    summary = json.loads((tmp_path / "log.oracle.json").read_text("utf-8"))
    assert summary["joint"] == pytest.approx(table["joint"].mean())
    assert sum(c["chain"] for c in summary["categories"].values()) == pytest.approx(summary["joint"])
    assert table["joint"].to_numpy() == pytest.approx(
        table.select(pl.sum_horizontal(f"chain_{name}" for name in CATEGORIES)).to_series().to_numpy()
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"out": Path("log.xlsx")}, r"must end in \.csv or \.parquet"),
        ({"out": Path("no/such/place/log.csv")}, "no/such/place is not a directory"),
        ({"employees": 0}, "employees is 0; the least is 1"),
        ({"sites": 2}, "sites is 2; the least is 3"),
        ({"days": 30}, "days is 30; it must be 120"),
        ({"anomaly_rate": 1.0}, "anomaly_rate is 1.0; it is a share"),
        ({"seed": -1}, "seed is -1; the least is 0"),
    ],
)
def test_settings_that_make_no_log_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        SimulateConfig(**({"out": Path("log.csv")} | setting))


def test_too_few_people_to_score_are_refused(monkeypatch):
    people, events = short(0, employees=2, days=20)
    monkeypatch.setattr(program, "simulate", lambda *_: events)
    monkeypatch.setattr(Population, "draw", lambda *_: people)
    with pytest.raises(ValueError, match="simulate more employees or more days"):
        run(SimulateConfig(out=Path("log.csv"), sites=3))
