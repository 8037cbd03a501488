"""The engine: one answer, whatever the backend, the neighbours and the horizon."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eventmodel.bundle import Bundle
from eventmodel.calendar import MONTHS, keep_to_calendar
from eventmodel.checkpoint import load_checkpoint
from eventmodel.codec import Events
from eventmodel.engine import Answer, Engine, Histories, Query, open_engine
from eventmodel.engine.clock import Calendar
from eventmodel.engine.torch_backend import TorchBackend
from eventmodel.entities import read_histories
from eventmodel.event_log import EventLog
from eventmodel.heads import MARGINAL
from training.prefetch import to_tensors
from training.sampling import Sampler

BACKENDS = ("torch", "torchscript", "onnx")


@pytest.fixture(scope="module", params=BACKENDS)
def engine(request: pytest.FixtureRequest, bundle: Bundle) -> Engine:
    return open_engine(bundle, request.param, "cpu", threads=1)


def histories(log: EventLog, rows: list[np.ndarray], ids: list[int], entities: tuple[int, ...]) -> Histories:
    every = np.concatenate([*rows, np.empty(0, np.int64)]).astype(np.int64)
    events = Events(*(column[every] for column in log.events))
    return Histories(events, np.array([len(r) for r in rows], np.int32), np.array(ids, np.int32), entities)


def query(log: EventLog, bundle: Bundle, position: int, **changes: object) -> Query:
    """What a client would send at an event of the log."""
    focus, last_row = int(log.focus.entity[position]), int(log.focus.rows[position])
    read = read_histories(log.schema, log.streams, focus, last_row, bundle.config.context_length)
    rows, ids = [], []
    for stream in log.schema.streams:
        known = log.streams[stream.name].vocabulary_id if stream.keys else [0]  # entity -1 is the last of one
        rows += [h.rows for h in read[stream.name]]
        ids += [int(known[h.entity]) for h in read[stream.name]]
    now = int(log.events.timestamp[last_row])
    entities = tuple(len(read[stream.name]) for stream in log.schema.streams)
    plain = Query(histories(log, rows, ids, entities), now, 0, horizon=1, allowed=None, observed=None)
    return plain._replace(**changes)


def empty_query(log: EventLog, now: int) -> Query:
    """Nothing is known but the names of the entities."""
    n = len(log.schema.streams)
    nobody = histories(log, [np.empty(0, np.int64)] * n, [0] * n, (1,) * n)
    return Query(nobody, now, 0, horizon=3, allowed=None, observed=None)


@pytest.fixture(scope="module")
def queries(small_log: EventLog, bundle: Bundle) -> list[Query]:
    positions = Sampler(small_log, bundle.config, small_log.train_end, len(small_log.events.timestamp)).positions
    mixed = [query(small_log, bundle, int(p), horizon=1 + i % 5) for i, p in enumerate(positions[::17][:9])]
    return [*mixed, empty_query(small_log, mixed[0].now)]


def assert_same(a: Answer, b: Answer) -> None:
    np.testing.assert_allclose(np.exp(a.log_probs), np.exp(b.log_probs), atol=1e-4)
    assert np.array_equal(a.ids, b.ids)
    assert np.array_equal(a.timestamp, b.timestamp)


@pytest.mark.parametrize("form", ["torchscript", "onnx"])
def test_every_backend_gives_the_same_answer(bundle: Bundle, queries: list[Query], form: str) -> None:
    observed = np.ones(len(bundle.schema.categories), np.int32)
    asked = [q._replace(observed=observed) for q in queries]
    eager = open_engine(bundle, "torch", "cpu").answer(asked)
    for a, b in zip(eager, open_engine(bundle, form, "cpu").answer(asked), strict=True):  # type: ignore[arg-type]
        assert_same(a, b)
        assert a.observed_log_prob is not None
        assert b.observed_log_prob is not None
        np.testing.assert_allclose(np.exp(a.observed_log_prob), np.exp(b.observed_log_prob), atol=1e-4)


def test_a_batched_answer_equals_a_single_one(engine: Engine, queries: list[Query]) -> None:
    for together, one in zip(engine.answer(queries), queries, strict=True):
        assert_same(together, engine.answer([one])[0])


def test_serving_reads_exactly_what_training_reads(bundle: Bundle, small_log: EventLog, run_directory: object) -> None:
    sampler = Sampler(small_log, bundle.config, small_log.validation_end, len(small_log.events.timestamp))
    positions = sampler.positions[::11][:8]
    batch, _ = to_tensors(sampler.batch(sampler.at_last_event(positions), n_targets=1), _cpu())
    model = load_checkpoint(run_directory / "best").model  # type: ignore[operator]
    import torch

    with torch.inference_mode():
        decoded = model.read(batch)
        nothing = torch.zeros(len(positions), 1, len(model.sizes), dtype=torch.int64)
        output = model.predict(decoded, nothing, torch.zeros(len(positions), dtype=torch.bool))
        raw = model.heads.all_log_probs(output, batch.sequence.ids)[:, 0].split(model.sizes, -1)
        calibrated = [model.heads.calibrate(p, c, MARGINAL) for c, p in enumerate(raw)]
        expected = torch.cat(calibrated, -1).exp().numpy()
    answers = open_engine(bundle, "torch", "cpu").answer([query(small_log, bundle, int(p)) for p in positions])
    np.testing.assert_allclose(np.exp([a.log_probs[0] for a in answers]), expected, atol=1e-5)


def _cpu():  # type: ignore[no-untyped-def]
    import torch

    return torch.device("cpu")


def test_a_longer_horizon_begins_like_a_shorter_one(engine: Engine, queries: list[Query]) -> None:
    long = engine.answer([queries[0]._replace(horizon=5)])[0]
    short = engine.answer([queries[0]._replace(horizon=2)])[0]
    assert_same(Answer(long.log_probs[:2], long.ids[:, :2], long.timestamp[:, :2], long.log_prob[:, :2]), short)


def test_time_never_goes_back_in_a_rollout(engine: Engine, queries: list[Query]) -> None:
    asked = [q._replace(horizon=5) for q in queries]
    for one, answer in zip(asked, engine.answer(asked), strict=True):
        assert (np.diff(np.concatenate([[one.now], answer.timestamp[0]])) >= 0).all()


def test_the_datetime_of_a_generated_event_is_the_one_of_its_ids(engine: Engine, queries: list[Query]) -> None:
    codec = engine.codec
    at = [i for i, c in enumerate(codec.schema.categories) if c.field == codec.schema.order_by]
    for answer in engine.answer([q._replace(horizon=5) for q in queries]):
        for ids, timestamp in zip(answer.ids[0], answer.timestamp[0], strict=True):
            wall = codec.at_timestamp(int(timestamp)).wall
            assert list(ids[at]) == [wall.month, wall.day, wall.hour + 1, wall.minute + 1]


@pytest.mark.parametrize(
    ("now", "ids", "moment"),
    [
        ("2026-01-29T12:00:00", (1, 29, 14, 31), "2026-01-29T13:30:00"),
        ("2026-01-29T12:00:00", (1, 29, 13, 1), "2026-01-29T12:00:00"),
        ("2025-12-31T12:00:00", (1, 1, 9, 1), "2026-01-01T08:00:00"),
        ("2026-10-31T17:46:00", (10, 1, 7, 16), "2026-11-01T06:15:00"),  # the month has turned
        ("2026-01-29T12:00:00", (1, 28, 9, 1), "2026-01-29T12:00:00"),  # yesterday: at once
        ("2026-01-29T12:00:00", (2, 30, 9, 1), "2026-01-30T08:00:00"),  # no such day: of this month
        ("2028-02-28T12:00:00", (2, 29, 9, 1), "2028-02-29T08:00:00"),
    ],
)
def test_a_generated_moment_is_the_nearest_that_is_not_past(
    bundle: Bundle, now: str, ids: tuple[int, ...], moment: str
) -> None:
    calendar = Calendar(bundle.codec, MONTHS)
    event = np.ones(len(bundle.schema.categories), np.int64)
    at = [i for i, c in enumerate(bundle.schema.categories) if c.field == bundle.schema.order_by]
    event[at] = ids
    everything = np.ones(sum(bundle.codec.sizes), bool)
    nothing_read = np.zeros((3, len(event)), np.int32)
    not_before = bundle.codec.moment(now).timestamp
    settled, found = calendar.settle(event, not_before, calendar.allowed_dates(everything), nothing_read)
    assert bundle.codec.iso(found) == moment
    assert tuple(settled[at]) == (found.wall.month, found.wall.day, found.wall.hour + 1, found.wall.minute + 1)


@pytest.mark.parametrize(
    ("month", "read", "allowed", "moment"),
    [
        (2, 0, None, "2025-09-01T08:00:00"),  # September was never shown: it is not August any more, and the 1st
        (8, 0, None, "2025-09-01T08:00:00"),
        (12, 12, None, "2025-12-01T08:00:00"),  # copied from an event read, as from a plan
        (2, 0, 2, "2026-02-01T08:00:00"),  # asked for
        (8, 8, None, "2025-09-01T08:00:00"),
    ],
)
def test_a_month_that_no_month_leads_to_is_believed_where_it_was_copied_or_asked_for(
    bundle: Bundle, month: int, read: int, allowed: int | None, moment: str
) -> None:
    calendar = Calendar(bundle.codec, range(1, 9))  # a training part from January to August
    starts = np.cumsum((0, *bundle.codec.sizes))
    at = [i for i, c in enumerate(bundle.schema.categories) if c.field == bundle.schema.order_by]
    event = np.ones(len(bundle.schema.categories), np.int64)
    event[at] = (month, 1, 9, 1)
    events_read = np.zeros((3, len(event)), np.int32)
    events_read[1, at[0]] = read
    mask = np.ones(starts[-1], bool)
    if allowed is not None:
        mask[starts[at[0]] : starts[at[0] + 1]] = np.arange(13) == allowed
    now = bundle.codec.moment("2025-08-31T12:00:00").timestamp
    _, found = calendar.settle(event, now, calendar.allowed_dates(mask), events_read)
    assert bundle.codec.iso(found) == moment


def test_days_that_are_asked_for_make_no_month_believed(bundle: Bundle) -> None:
    calendar = Calendar(bundle.codec, range(1, 9))
    starts = np.cumsum((0, *bundle.codec.sizes))
    at = [i for i, c in enumerate(bundle.schema.categories) if c.field == bundle.schema.order_by]
    months, days = (np.ones(n, bool) for n in (13, 32))
    days[:31] = False
    keep_to_calendar(months, days)  # as a request is read
    mask = np.ones(starts[-1], bool)
    for category, part in zip(at, (months, days), strict=False):
        mask[starts[category] : starts[category + 1]] = part
    event = np.ones(len(bundle.schema.categories), np.int64)
    event[at] = (1, 31, 14, 1)
    nothing_read = np.zeros((3, len(event)), np.int32)
    now = bundle.codec.moment("2025-08-31T12:00:00").timestamp
    _, found = calendar.settle(event, now, calendar.allowed_dates(mask), nothing_read)
    assert bundle.codec.iso(found) == "2025-08-31T13:00:00"  # and not on 31 January


def test_a_model_knows_the_months_that_its_training_part_shows(run_directory: Path, small_log: EventLog) -> None:
    shown = {small_log.codec.at_timestamp(int(t)).wall.month for t in small_log.events.timestamp[: small_log.train_end]}
    assert set(load_checkpoint(run_directory / "best").model.months) == shown


def test_only_allowed_values_have_a_probability(engine: Engine, queries: list[Query]) -> None:
    start = np.cumsum([0, *engine.codec.sizes])
    allowed = np.ones(start[-1], bool)
    allowed[start[4] : start[5]] = False
    allowed[start[4] + 2] = True
    answer = engine.answer([queries[0]._replace(allowed=allowed, horizon=3)])[0]
    assert np.allclose(answer.log_probs[:, start[4] + 2], 0, atol=1e-5)
    assert (answer.ids[0, :, 4] == 2).all()
    for c in range(len(engine.codec.sizes)):
        np.testing.assert_allclose(np.exp(answer.log_probs[:, start[c] : start[c + 1]]).sum(-1), 1, atol=1e-4)


def at_night(engine: Engine) -> tuple[int, np.ndarray]:
    """The category of the hour, and a mask that allows 3 and 4 o'clock only."""
    start = np.cumsum([0, *engine.codec.sizes])
    hour = [c.name for c in engine.codec.schema.categories].index("Time_Event_Hour")
    allowed = np.ones(start[-1], bool)
    allowed[start[hour] : start[hour + 1]] = False
    allowed[[start[hour] + 4, start[hour] + 5]] = True
    return hour, allowed


def test_a_rollout_keeps_to_the_hours_that_are_allowed(engine: Engine, queries: list[Query]) -> None:
    hour, allowed = at_night(engine)
    for answer in engine.answer([q._replace(allowed=allowed, horizon=4) for q in queries]):
        assert np.isin(answer.ids[0, :, hour], (4, 5)).all()
        assert {engine.codec.at_timestamp(int(t)).wall.hour for t in answer.timestamp[0]} <= {3, 4}


def test_an_observed_event_s_marginals_are_those_of_the_answer(engine: Engine, queries: list[Query]) -> None:
    observed = np.arange(len(engine.codec.sizes), dtype=np.int32) % 2
    answer = engine.answer([queries[1]._replace(observed=observed)])[0]
    assert answer.observed_log_prob is not None
    at = np.cumsum([0, *engine.codec.sizes])[:-1] + observed
    np.testing.assert_allclose(answer.observed_log_prob[0], answer.log_probs[0, at], atol=1e-5)


def test_the_chain_s_first_category_is_a_marginal(engine: Engine, queries: list[Query]) -> None:
    observed = np.ones(len(engine.codec.sizes), np.int32)
    answer = engine.answer([queries[1]._replace(observed=observed)])[0]
    assert answer.observed_log_prob is not None
    np.testing.assert_allclose(answer.observed_log_prob[1, 0], answer.observed_log_prob[0, 0], atol=1e-4)


LEVELS = (0.1, 0.5, 0.9)


def test_what_was_to_be_expected_of_an_observed_event_is_the_marginals_entropy(
    engine: Engine, queries: list[Query]
) -> None:
    observed = np.ones(len(engine.codec.sizes), np.int32)
    answer = engine.answer([queries[1]._replace(observed=observed)])[0]
    assert answer.observed_entropy is not None
    per_category = np.split(answer.log_probs[0].astype(np.float64), np.cumsum(engine.codec.sizes)[:-1])
    expected = [-(np.exp(log_p) * log_p).sum() for log_p in per_category]
    np.testing.assert_allclose(answer.observed_entropy, expected, atol=1e-4)


def test_an_observed_event_is_scored_whatever_is_allowed_and_however_far_it_goes(
    engine: Engine, queries: list[Query]
) -> None:
    observed = np.ones(len(engine.codec.sizes), np.int32)
    start = np.cumsum([0, *engine.codec.sizes])
    allowed = np.ones(start[-1], bool)
    allowed[start[1] : start[2]] = False
    allowed[start[1] + 2] = True
    plain = engine.answer([queries[1]._replace(observed=observed)])[0]
    other = engine.answer([queries[1]._replace(observed=observed, allowed=allowed, horizon=4)])[0]
    assert plain.observed_log_prob is not None
    assert other.observed_log_prob is not None
    np.testing.assert_allclose(plain.observed_log_prob, other.observed_log_prob, atol=1e-5)


def test_no_quantiles_are_sampled_that_are_not_asked_for(engine: Engine, queries: list[Query]) -> None:
    assert engine.answer([queries[0]])[0].when is None


def test_quantiles_of_every_event_increase_and_are_never_before_the_event_before(
    engine: Engine, queries: list[Query]
) -> None:
    asked = [q._replace(horizon=3, quantiles=LEVELS) for q in queries]
    for one, answer in zip(asked, engine.answer(asked), strict=True):
        assert answer.when is not None
        assert answer.when.shape == (3, len(LEVELS))
        assert (np.diff(answer.when, axis=1) >= 0).all()
        assert (answer.when[:, 0] >= np.array([one.now, *answer.timestamp[0, :-1]])).all()


def test_asking_for_quantiles_changes_nothing_else(engine: Engine, queries: list[Query]) -> None:
    for plain, asked in zip(
        engine.answer(queries[:3]), engine.answer([q._replace(quantiles=LEVELS) for q in queries[:3]]), strict=True
    ):
        assert_same(plain, asked)


def test_quantiles_keep_to_the_hours_that_are_allowed(engine: Engine, queries: list[Query]) -> None:
    _, allowed = at_night(engine)
    answer = engine.answer([queries[0]._replace(allowed=allowed, horizon=2, quantiles=LEVELS)])[0]
    assert answer.when is not None
    assert {engine.codec.at_timestamp(int(t)).wall.hour for t in answer.when.flat} <= {3, 4}


def test_the_same_question_gets_the_same_quantiles(engine: Engine, queries: list[Query]) -> None:
    asked = [q._replace(quantiles=LEVELS) for q in queries[:2]]
    for first, second in zip(engine.answer(asked), engine.answer(asked), strict=True):
        assert np.array_equal(first.when, second.when)


def share_of_equal_moments(a: np.ndarray, b: np.ndarray) -> float:
    """Of two samples per event, drawn with the same noise."""
    return float((a == b).mean())


def sampled(engine: Engine, queries: list[Query]) -> np.ndarray:
    """(queries, SAMPLES) moments of the first event."""
    found = []

    def keep(*arguments: object, **others: object) -> np.ndarray:
        found.append(Engine.sample_moments(engine, *arguments, **others))  # type: ignore[arg-type]
        return found[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "sample_moments", keep)
        engine.answer([q._replace(horizon=1, quantiles=LEVELS) for q in queries])
    return found[0]


def test_a_sample_is_the_same_whatever_the_neighbours(engine: Engine, queries: list[Query]) -> None:
    together = sampled(engine, queries)
    alone = np.concatenate([sampled(engine, [q]) for q in queries])
    # rounding may turn a choice between two ids that are as good as tied, and no other
    assert share_of_equal_moments(together, alone) > 0.99


def test_a_sample_is_the_same_in_chunks_of_any_size(
    engine: Engine, queries: list[Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sampled(engine, queries[:2])
    monkeypatch.setattr("eventmodel.engine.times.NUMBERS_AT_A_TIME", 20_011)
    assert share_of_equal_moments(whole, sampled(engine, queries[:2])) > 0.99


@pytest.mark.parametrize("form", ["torchscript", "onnx"])
def test_every_backend_draws_the_same_sample(bundle: Bundle, queries: list[Query], form: str) -> None:
    eager = sampled(open_engine(bundle, "torch", "cpu"), queries)
    other = sampled(open_engine(bundle, form, "cpu"), queries)  # type: ignore[arg-type]
    assert share_of_equal_moments(eager, other) > 0.99


def test_a_bundle_without_the_artefacts_says_how_to_get_them(bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="--formats torchscript"):
        open_engine(replace(bundle, parity={"onnx": 0.0}), "torchscript", "cpu")


def test_traces_do_not_run_on_a_gpu(bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="choose --backend torch for a GPU"):
        open_engine(bundle, "torchscript", "cuda")


def test_a_backend_whose_library_is_missing_is_named_and_is_not_chosen(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "eventmodel.engine.onnx_backend", raising=False)
    with pytest.raises(ValueError, match="backend onnx needs onnxruntime, which is not installed"):
        open_engine(bundle, "onnx", "cpu")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    assert isinstance(open_engine(bundle, "auto", "cpu")._backend, TorchBackend)


def test_the_example_is_json_and_names_the_focus(bundle: Bundle) -> None:
    example = json.loads(json.dumps(bundle.example))
    assert example["streams"]["Actor"][0]["id"] == example["focus"]
