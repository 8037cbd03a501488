"""Which events a sample reads: never one after now, and nothing that tells the gap."""

from dataclasses import replace

import numpy as np
import pytest

from eventmodel.codec import MICROSECONDS, Events
from eventmodel.config import ModelConfig
from eventmodel.event_log import EventLog, Part
from eventmodel.time_context import hour
from training.masking import EntityMask, unknown_shares
from training.sampling import ELAPSED_S, Nows, Sampler, TrainingBatches

CONFIG = ModelConfig(d_model=20, n_heads=2, context_length=13, focus_events=6, target_length=5)


@pytest.fixture(scope="module")
def sampler(small_log: EventLog) -> Sampler:
    return Sampler(small_log, CONFIG, 0, small_log.train_end)


def batches(sampler: Sampler, **changes: float) -> TrainingBatches:
    settings = {"entity_masking": 0.2, "entity_dropout": 0.1, "history_cut": 0.1} | changes
    return TrainingBatches(sampler, batch_size=32, seed=7, neighbours=8, **settings)


def leaves(tree: object) -> list[np.ndarray]:
    return [tree] if isinstance(tree, np.ndarray) else [leaf for part in tree for leaf in leaves(part)]  # type: ignore[attr-defined]


def test_a_batch_is_a_function_of_seed_and_number(sampler: Sampler) -> None:
    first, again = batches(sampler)(5), batches(sampler)(5)
    assert all(np.array_equal(a, b) for a, b in zip(leaves(first), leaves(again), strict=True))
    other = batches(sampler)(6)
    assert not all(np.array_equal(a, b) for a, b in zip(leaves(first), leaves(other), strict=True))


def test_processes_together_read_the_whole_batch(sampler: Sampler) -> None:
    whole, _ = batches(sampler)(3)
    parts = [batches(sampler)(3, slice(start, start + 8))[0] for start in range(0, 32, 8)]
    assert np.array_equal(whole.sequence.ids, np.concatenate([part.sequence.ids for part in parts]))
    assert np.array_equal(whole.memory.gap, np.concatenate([part.memory.gap for part in parts]))


@pytest.mark.parametrize("part", ["training", "validation", "test", "all"])
def test_positions_are_those_of_events_whose_focus_has_a_next_one_in_the_part(small_log: EventLog, part: Part) -> None:
    begin, end = small_log.part(part)
    index = small_log.focus
    expected = [
        position
        for position in range(len(index.rows) - 1)
        if index.entity[position] == index.entity[position + 1] and begin <= index.rows[position + 1] < end
    ]
    sampler = Sampler(small_log, CONFIG, begin, end)
    assert len(sampler) == len(expected)
    assert sampler.positions.tolist() == expected


def test_an_epoch_reads_every_position_once(sampler: Sampler) -> None:
    source = batches(sampler)
    source(0)
    assert sorted(sampler.position(source._order.astype(np.int64))) == sampler.positions.tolist()


def test_changing_the_future_of_the_log_changes_nothing_that_a_sample_reads(
    small_log: EventLog, sampler: Sampler
) -> None:
    nows = sampler.draw(np.random.default_rng(0), sampler.positions[::7].copy())
    for i in range(0, len(nows.position), 5):
        cut = int(nows.last_row[i]) + 1
        ids, timestamp = small_log.events.ids.copy(), small_log.events.timestamp.copy()
        ids[cut:] = 1
        timestamp[cut:] += 3600 * MICROSECONDS
        other = EventLog(
            small_log.schema,
            small_log.vocabularies,
            Events(ids, timestamp, small_log.events.utc_offset),
            small_log.streams,
            small_log.train_end,
            small_log.validation_end,
        )
        one = Nows(*(column[i : i + 1] for column in nows))
        after, _ = Sampler(other, CONFIG, 0, small_log.train_end).batch(one, n_targets=1)
        alone, _ = sampler.batch(one, n_targets=1)
        assert all(np.array_equal(a, b) for a, b in zip(leaves(alone), leaves(after), strict=True))


def test_streams_end_at_the_row_of_now_even_among_equal_timestamps(small_log: EventLog, sampler: Sampler) -> None:
    nows = sampler.at_last_event(sampler.positions)
    tied = np.flatnonzero(np.diff(small_log.events.timestamp) == 0)
    at_tie = np.isin(nows.last_row, tied)
    assert at_tie.any()
    batch, _ = sampler.batch(Nows(*(column[at_tie] for column in nows)), n_targets=1)
    newest = batch.streams[2].ids[np.arange(at_tie.sum()), batch.streams[2].length - 1]
    assert np.array_equal(newest, small_log.events.ids[nows.last_row[at_tie]])


def test_half_of_the_nows_are_the_focus_s_last_event(sampler: Sampler, small_log: EventLog) -> None:
    nows = sampler.draw(np.random.default_rng(1), np.resize(sampler.positions, 4000).copy())
    at_event = nows.timestamp == small_log.events.timestamp[small_log.focus.rows[nows.position]]
    assert 0.45 < at_event.mean() < 0.55


def test_now_lies_before_the_next_event(sampler: Sampler, small_log: EventLog) -> None:
    nows = sampler.draw(np.random.default_rng(1), np.resize(sampler.positions, 4000).copy())
    following = small_log.events.timestamp[small_log.focus.rows[nows.position + 1]]
    last = small_log.events.timestamp[small_log.focus.rows[nows.position]]
    later = nows.timestamp > last
    assert (nows.timestamp[later] < following[later]).all()


def test_the_next_event_s_time_cannot_be_read_off_the_elapsed_time(sampler: Sampler, small_log: EventLog) -> None:
    """Given that a gap is long enough for any elapsed time in a range, the two are independent."""
    nows = sampler.draw(np.random.default_rng(2), np.resize(sampler.positions, 60_000).copy())
    times = small_log.events.timestamp[small_log.focus.rows]
    elapsed = (nows.timestamp - times[nows.position]) / MICROSECONDS
    gap = (times[nows.position + 1] - times[nows.position]) / MICROSECONDS
    limit = 3600.0
    usable = (elapsed > ELAPSED_S[0]) & (elapsed < limit) & (gap > limit)
    correlation = np.corrcoef(np.log(elapsed[usable]), np.log(gap[usable]))[0, 1]
    assert usable.sum() > 3000
    assert abs(correlation) < 4 / np.sqrt(usable.sum())


def test_targets_never_come_from_the_next_part_of_the_log(sampler: Sampler, small_log: EventLog) -> None:
    nows = sampler.at_last_event(sampler.positions)
    _, targets = sampler.batch(nows, CONFIG.target_length)
    index = small_log.focus
    row = index.rows[np.minimum(nows.position[:, None] + 1 + np.arange(CONFIG.target_length), len(index.rows) - 1)]
    assert (row[targets.is_target] < small_log.train_end).all()
    assert targets.is_target[:, 0].all()


def test_the_decoder_s_targets_are_shifted_by_one(sampler: Sampler) -> None:
    batch, targets = sampler.batch(sampler.at_last_event(sampler.positions), CONFIG.target_length)
    read = batch.sequence.ids[:, CONFIG.focus_events + 1 :]
    real = targets.is_target[:, :-1]
    assert np.array_equal(read[real], targets.ids[:, :-1][real])


def test_the_focus_is_the_first_entity_of_its_stream(sampler: Sampler, small_log: EventLog) -> None:
    nows = sampler.at_last_event(sampler.positions[:50])
    batch, _ = sampler.batch(nows, n_targets=1)
    own = batch.memory.vocabulary_id[:, 0]
    assert np.array_equal(own, small_log.focus.vocabulary_id[small_log.focus.entity[nows.position]])


def test_now_is_on_the_clock_of_the_newest_event_that_is_read(small_log: EventLog) -> None:
    """In a zoned log the clocks may change between the focus's last event and now."""
    offset = (np.arange(len(small_log.events.timestamp), dtype=np.int32) % 24) * 3600
    zoned = replace(small_log, events=small_log.events._replace(utc_offset=offset))
    sampler = Sampler(zoned, CONFIG, 0, zoned.train_end)
    nows = sampler.draw(np.random.default_rng(0), sampler.positions[::7].copy())
    batch, _ = sampler.batch(nows, n_targets=1)
    assert np.array_equal(batch.sequence.now_hour, hour(nows.timestamp, offset[nows.last_row]))


def masked(sampler: Sampler, share: float, unknown: float, size: int = 64) -> tuple[tuple, tuple]:  # type: ignore[type-arg]
    """A batch and its targets before and after masking."""
    schema = sampler.log.schema
    nows = sampler.at_last_event(np.resize(sampler.positions, size))
    plain = sampler.batch(nows, CONFIG.target_length)
    salt = np.random.default_rng(0).integers(2**63, size=size, dtype=np.uint64)
    mask = EntityMask(schema, share, dict.fromkeys(schema.vocabularies, unknown))
    return plain, mask(*plain, salt)


ACTOR, SITE = 1, 4


def test_an_id_is_hidden_everywhere_in_its_sample_or_nowhere(sampler: Sampler) -> None:
    (batch, targets), (hidden, hidden_targets) = masked(sampler, share=0.5, unknown=0.0)
    n_hidden = 0
    for i in range(64):
        before = np.concatenate([batch.sequence.ids[i, :, SITE], targets.ids[i, :, SITE]])
        after = np.concatenate([hidden.sequence.ids[i, :, SITE], hidden_targets.context_ids[i, :, SITE]])
        for value in np.unique(before[before > 0]):
            fate = np.unique(after[before == value])
            assert len(fate) == 1
            n_hidden += fate[0] == 0
    assert n_hidden > 10


def test_what_is_hidden_from_the_input_stays_in_labels_and_copies(sampler: Sampler) -> None:
    (batch, targets), (_, hidden) = masked(sampler, share=0.5, unknown=0.0)
    assert np.array_equal(hidden.ids, targets.ids)
    assert np.array_equal(hidden.source_ids, batch.sequence.ids)


def test_what_is_treated_as_unknown_is_hidden_from_labels_and_copies_too(sampler: Sampler) -> None:
    (_, targets), (hidden, hidden_targets) = masked(sampler, share=0.5, unknown=0.5)
    ids = [i for i, c in enumerate(sampler.log.schema.categories) if c.kind == "id"]
    assert np.array_equal(hidden_targets.ids[..., ids], hidden_targets.context_ids[..., ids])
    assert np.array_equal(hidden_targets.source_ids[..., ids], hidden.sequence.ids[..., ids])
    assert not np.array_equal(hidden_targets.ids, targets.ids)


def test_only_ids_and_months_are_masked(sampler: Sampler) -> None:
    (batch, _), (hidden, _) = masked(sampler, share=1.0, unknown=0.0)
    for c, category in enumerate(sampler.log.schema.categories):
        if category.kind == "id" or category.part == "Month":
            assert not hidden.streams[0].ids[..., c].any()
        else:
            assert np.array_equal(hidden.streams[0].ids[..., c], batch.streams[0].ids[..., c])


def test_a_hidden_month_stays_in_labels(sampler: Sampler) -> None:
    (_, targets), (_, hidden) = masked(sampler, share=1.0, unknown=1.0)
    months = [i for i, c in enumerate(sampler.log.schema.categories) if c.part == "Month"]
    assert np.array_equal(hidden.ids[..., months], targets.ids[..., months])
    assert not hidden.context_ids[..., months].any()


def test_masking_hides_about_its_share_of_ids(sampler: Sampler) -> None:
    (_, targets), (_, hidden) = masked(sampler, share=0.3, unknown=0.2, size=3000)
    known = targets.ids[:, 0, ACTOR] > 0
    assert 0.27 < (hidden.context_ids[known, 0, ACTOR] == 0).mean() < 0.33
    assert 0.17 < (hidden.ids[known, 0, ACTOR] == 0).mean() < 0.23


def test_a_closed_set_of_ids_is_never_treated_as_unknown(small_log: EventLog) -> None:
    shares = unknown_shares(small_log, limit=0.2)
    assert shares["LocationRecordId"] == 0.0  # all sites are there from the first day on


def test_a_log_without_any_second_event_is_refused(small_log: EventLog) -> None:
    nothing = Sampler(small_log, CONFIG, 0, 0)
    with pytest.raises(ValueError, match="no next event to learn"):
        batches(nothing)
