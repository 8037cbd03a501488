"""Several nows per window: each sees its own past, and no more."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY

from eventmodel.batch import Batch, Reads, StreamBatch, Targets
from eventmodel.codec import MICROSECONDS, Events
from eventmodel.event_log import EventLog
from eventmodel.model import EventModel
from training.prefetch import to_tensors
from training.sampling import Nows, Sampler, TrainingBatches
from training.windows import read_at, shared_windows

GROUP = 8
SITE = 4


@pytest.fixture(scope="module")
def sampler(small_log: EventLog) -> Sampler:
    return Sampler(small_log, TINY, 0, small_log.train_end)


@pytest.fixture(scope="module")
def model(small_log: EventLog) -> EventModel:
    torch.manual_seed(0)
    return EventModel(TINY, small_log.codec).eval()


def nows_of(sampler: Sampler, groups: int, seed: int = 0) -> Nows:
    """Half of them later than the focus's last event, as training draws them."""
    rng = np.random.default_rng(seed)
    anchors = rng.choice(sampler.positions, groups)
    return sampler.draw(rng, sampler.with_neighbours(rng, anchors, GROUP))


@torch.no_grad()
def predict(model: EventModel, batch: Batch, targets: Targets) -> torch.Tensor:
    """Log-probabilities (B, N, V)."""
    batch, targets = to_tensors((batch, targets), torch.device("cpu"))
    return model.heads.all_log_probs(model(batch, targets), targets.source_ids)


def shortened(batch: Batch, lengths: list[np.ndarray]) -> Batch:
    """A batch of own windows without the oldest events: histories of the given lengths."""
    streams, reads = [], []
    for stream, length in zip(batch.streams, lengths, strict=True):
        at = np.arange(stream.ids.shape[1]) + (stream.length - length)[:, None]
        keep = at < stream.length[:, None]
        at = np.minimum(at, stream.ids.shape[1] - 1)
        ids = np.take_along_axis(stream.ids, at[..., None], 1) * keep[..., None]
        gap, weekday = (np.take_along_axis(column, at, 1) * keep for column in (stream.gap, stream.weekday))
        gap[:, 0] = 0  # nothing is known of what was before
        streams.append(StreamBatch(ids, gap, weekday, length))
        reads.append(Reads(np.arange(len(length)), length))
    return batch._replace(streams=tuple(streams), reads=tuple(reads))


def test_a_prediction_at_each_of_several_nows_is_that_of_a_sample_of_its_own_with_a_shorter_history(
    sampler: Sampler, model: EventModel
) -> None:
    nows = nows_of(sampler, groups=9)
    shared, targets = sampler.batch(nows, TINY.target_length, neighbours=GROUP)
    alone, _ = sampler.batch(nows, TINY.target_length)
    assert sum(len(s.length) for s in shared.streams) < 0.8 * sum(len(s.length) for s in alone.streams)
    short = shortened(alone, [reads.length for reads in shared.reads])
    torch.testing.assert_close(predict(model, shared, targets).exp(), predict(model, short, targets).exp())


def test_what_happens_after_a_now_never_reaches_its_prediction(sampler: Sampler, model: EventModel) -> None:
    log = sampler.log
    nows = nows_of(sampler, groups=4, seed=1)
    batch, targets = sampler.batch(nows, 1, neighbours=GROUP)
    before, n_changed = predict(model, batch, targets), 0
    for i in range(0, len(nows.position), 3):
        cut = int(nows.last_row[i]) + 1
        ids, timestamp = log.events.ids.copy(), log.events.timestamp.copy()
        ids[cut:], timestamp[cut:] = 1, timestamp[cut:] + 3600 * MICROSECONDS
        other = replace(log, events=Events(ids, timestamp, log.events.utc_offset))
        changed, _ = Sampler(other, TINY, 0, log.train_end).batch(nows, 1, neighbours=GROUP)
        after = predict(model, changed, targets)
        assert torch.equal(before[i], after[i])
        n_changed += not torch.equal(before, after)
    assert n_changed > 5  # a later now of the same window saw it


def test_a_now_sees_half_a_window_at_least_or_all_that_there_is() -> None:
    rng = np.random.default_rng(0)
    group, entity = rng.integers(5, size=(2, 700))
    start = entity * 100
    end = start + rng.integers(1, 101, size=700)
    for width in (1, 2, 7, 16):
        windows, history = shared_windows(group, entity, start, end, width)
        length = read_at(windows, history, end).length
        assert (length >= np.minimum(end - start, width - width // 2)).all()
        assert (length <= np.minimum(end - start, width)).all()
        assert np.array_equal(group[windows.first[history]], group)
        assert np.array_equal(entity[windows.first[history]], entity)


def test_a_window_that_was_cut_shows_its_nows_less() -> None:
    end = np.array([19, 17, 12])
    windows, history = shared_windows(*np.zeros((3, 3), np.int64), end=end, width=40)
    assert read_at(windows, history, end).length.tolist() == [19, 17, 12]
    assert read_at(windows._replace(length=np.array([5])), history, end).length.tolist() == [5, 3, 0]


def test_neighbours_are_samples_whose_events_precede_the_anchor_s(sampler: Sampler, small_log: EventLog) -> None:
    anchors = np.random.default_rng(0).permutation(sampler.positions)[:50]
    found = sampler.with_neighbours(np.random.default_rng(1), anchors, GROUP).reshape(-1, GROUP)
    assert np.array_equal(found[:, 0], anchors)
    assert np.isin(found, sampler.positions).all()
    behind = small_log.focus.rows[anchors][:, None] - small_log.focus.rows[found]
    assert (behind == np.arange(GROUP)).mean() > 0.8  # the others have no next event


def test_what_is_hidden_from_a_window_is_hidden_from_all_who_read_it(sampler: Sampler) -> None:
    settings = {"batch_size": 64, "seed": 0, "entity_dropout": 0.0, "history_cut": 0.0, "neighbours": GROUP}
    plain, _ = TrainingBatches(sampler, entity_masking=0.0, **settings)(1)
    hidden, _ = TrainingBatches(sampler, entity_masking=0.5, **settings)(1)
    first, n_hidden = 0, 0
    for before, after, reads in zip(plain.streams, hidden.streams, hidden.reads, strict=True):
        for sample, slot in np.argwhere(
            (plain.memory.place > first) & (plain.memory.place <= first + len(reads.history))
        ):
            at = reads.history[plain.memory.place[sample, slot] - 1 - first]
            was = np.concatenate([before.ids[at, :, SITE], plain.sequence.ids[sample, :, SITE]])
            is_ = np.concatenate([after.ids[at, :, SITE], hidden.sequence.ids[sample, :, SITE]])
            for value in np.unique(was[was > 0]):
                fate = np.unique(is_[was == value])
                assert len(fate) == 1
                n_hidden += fate[0] == 0
        first += len(reads.history)
    assert n_hidden > 100
