"""A sequence that grows by one event is the longer sequence, without being read again."""

import numpy as np
import pytest

from eventmodel.batch import Batch
from eventmodel.bundle import Bundle
from eventmodel.engine import Engine, open_engine
from eventmodel.engine.decoding import Decoding
from eventmodel.event_log import EventLog
from training.sampling import Sampler

STEPS = 4


@pytest.fixture(scope="module", params=("torch", "torchscript", "onnx"))
def engine(request: pytest.FixtureRequest, bundle: Bundle) -> Engine:
    return open_engine(bundle, request.param, "cpu", threads=1)


@pytest.fixture(scope="module")
def batch(small_log: EventLog, bundle: Bundle) -> Batch:
    """Samples of which the decoder reads NOW and STEPS events after it; some have a short past."""
    sampler = Sampler(small_log, bundle.config, 0, len(small_log.events.timestamp))
    positions = np.concatenate((sampler.positions[:3], sampler.positions[5::97][:8]))
    batch, _ = sampler.batch(sampler.at_last_event(positions), STEPS + 1)
    return batch


def decode(engine: Engine, batch: Batch, events: int, room: int = 0) -> Decoding:
    """The first of the events after now, read at once."""
    states = np.concatenate(
        [
            engine._backend.host(engine.encode(stream.name, of_kind))
            for stream, of_kind in zip(engine.codec.schema.streams, batch.streams, strict=True)
        ]
    )
    q = engine.config.focus_events + 1 + events
    ids, gap, weekday, is_token, now_hour = batch.sequence
    shorter = type(batch.sequence)(ids[:, :q], gap[:, :q], weekday[:, :q], is_token[:, :q], now_hour)
    return engine.decode(engine._backend.native(states), batch.memory, shorter, room)


def append(decoding: Decoding, batch: Batch, number: int, p: int) -> None:
    at = p + 1 + number
    decoding.append(batch.sequence.ids[:, at], batch.sequence.gap[:, at], batch.sequence.weekday[:, at])


def chain(decoding: Decoding) -> np.ndarray:
    width = decoding.log_probs.shape[1]
    n = len(decoding)
    forced = np.ones((n, 17), np.int32)
    return decoding.chain(slice(None), np.zeros((n, width), np.float32), np.ones((n, width), bool), forced).log_prob


def test_an_appended_event_is_read_like_one_that_was_there(engine: Engine, batch: Batch) -> None:
    growing = decode(engine, batch, 0, room=STEPS)
    for number in range(STEPS):
        append(growing, batch, number, engine.config.focus_events)
        at_once = decode(engine, batch, number + 1)
        np.testing.assert_allclose(np.exp(growing.log_probs), np.exp(at_once.log_probs), atol=1e-5)
        np.testing.assert_allclose(np.exp(chain(growing)), np.exp(chain(at_once)), atol=1e-5)


def test_room_changes_nothing(engine: Engine, batch: Batch) -> None:
    without, with_room = decode(engine, batch, 0), decode(engine, batch, 0, room=3)
    np.testing.assert_array_equal(without.log_probs, with_room.log_probs)
    np.testing.assert_array_equal(chain(without), chain(with_room))


def test_sequences_that_are_left_go_on_as_before(engine: Engine, batch: Batch) -> None:
    p = engine.config.focus_events
    whole, part = decode(engine, batch, 0, room=2), decode(engine, batch, 0, room=2)
    append(whole, batch, 0, p)
    append(part, batch, 0, p)
    part = part.take(slice(3))
    append(whole, batch, 1, p)
    part.append(*(column[:3, p + 2] for column in (batch.sequence.ids, batch.sequence.gap, batch.sequence.weekday)))
    np.testing.assert_allclose(np.exp(part.log_probs), np.exp(whole.log_probs[:3]), atol=1e-6)


def test_repeated_sequences_grow_apart(engine: Engine, batch: Batch) -> None:
    p = engine.config.focus_events
    twice = decode(engine, batch, 0, room=1).take(np.array([0, 1, 0]))
    ids, gap, weekday = (column[[0, 1, 1], p + 1] for column in batch.sequence[:3])
    twice.append(ids, gap, weekday)
    once = decode(engine, batch, 0, room=1)
    append(once, batch, 0, p)
    np.testing.assert_allclose(np.exp(twice.log_probs[:2]), np.exp(once.log_probs[:2]), atol=1e-6)
    assert not np.allclose(np.exp(twice.log_probs[2]), np.exp(once.log_probs[0]), atol=1e-3)
