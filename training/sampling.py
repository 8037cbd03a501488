"""Batches from a log: every batch is a pure function of (seed, step).

So a run resumes at any step by counting, and any number of processes can share a batch.

Shapes: B samples, P focus events, T targets.
"""

from functools import cached_property
from threading import Lock
from typing import NamedTuple

import numpy as np

from eventmodel.batch import Batch, Targets
from eventmodel.codec import MICROSECONDS
from eventmodel.config import ModelConfig
from eventmodel.context import StreamRows, decoder_inputs, stream_batch
from eventmodel.entities import context_entities
from eventmodel.event_log import EventLog, window
from training.masking import EntityMask, unknown_shares
from training.windows import own_windows, read_at, shared_windows

ELAPSED_S = (1.0, 30 * 86_400.0)
"""Time from the focus's last event to now, where now is not that event: log-uniform in this range."""


class Nows(NamedTuple):
    """B moments of prediction."""

    position: np.ndarray  # (B,) int64: the focus's last event, as a position in the focus stream's index
    timestamp: np.ndarray  # (B,) int64 microseconds: now
    last_row: np.ndarray  # (B,) int64: the newest row of the table that is not after now


class Noise(NamedTuple):
    """What is random about B samples, drawn per sample: so a batch can be divided among processes."""

    drop: np.ndarray  # (B, S) uniform: which context entities are left out
    cut: np.ndarray  # (B, S) uniform: which histories are cut
    keep: np.ndarray  # (B, S) uniform: how much of a cut history stays
    chain: np.ndarray  # (B,) uniform: which samples learn the chain
    salt: np.ndarray  # (B,) uint64: which ids are masked

    @classmethod
    def draw(cls, rng: np.random.Generator, size: int, slots: int) -> "Noise":
        """Draw for ``size`` samples of ``slots`` memory slots each."""
        drop, cut, keep = (rng.random((size, slots)) for _ in range(3))
        return cls(drop, cut, keep, rng.random(size), rng.integers(2**63, size=size, dtype=np.uint64))

    def part(self, part: slice) -> "Noise":
        """The noise of some of the samples."""
        return Noise(*(column[part] for column in self))


class Sampler:
    """Draws samples whose first target lies in the rows [begin, end) of the log."""

    def __init__(self, log: EventLog, config: ModelConfig, begin: int, end: int) -> None:
        self.log, self.config, self.begin, self.end = log, config, begin, end
        index = log.focus
        # rows increase within an entity, so its targets stand together: two numbers per entity, none per event
        entity = np.arange(len(index.start) - 1)
        self._first = np.maximum(index.end(entity, np.full(len(entity), begin - 1)), index.start[:-1] + 1) - 1
        count = np.maximum(index.end(entity, np.full(len(entity), end - 1)) - self._first - 1, 0)
        self._start = np.append(0, count.cumsum())

    def __len__(self) -> int:
        return int(self._start[-1])

    def position(self, number: np.ndarray) -> np.ndarray:
        """Positions of events that are followed by a target, by their number from 0 to ``len(self) - 1``."""
        entity = np.searchsorted(self._start, number, side="right") - 1
        return self._first[entity] + number - self._start[entity]

    @cached_property
    def positions(self) -> np.ndarray:
        """All of them, in order; of a large training part ask for a few, by number."""
        return self.position(np.arange(len(self)))

    def with_neighbours(self, rng: np.random.Generator, positions: np.ndarray, n: int) -> np.ndarray:
        """Each position (A,), followed by those of the ``n`` - 1 events before it in the log: (A * n,).

        Where such an event is no sample, because nothing follows it, stands any other position.
        """
        index = self.log.focus
        row = index.rows[positions][:, None] - np.arange(n)
        keys = index.keys[np.maximum(row, 0)]  # (A, n, K)
        any_key = np.take_along_axis(keys, rng.integers(keys.shape[2], size=(*row.shape, 1)), 2)[..., 0]
        entity = np.where(any_key >= 0, any_key, keys.max(2)).ravel()
        row, is_named = row.ravel(), entity >= 0
        position = index.end(np.maximum(entity, 0), row) - 1
        following = np.minimum(position + 1, len(index.rows) - 1)
        is_sample = is_named & (row >= 0) & (position + 1 < index.start[entity + 1])
        is_sample &= (index.rows[following] >= self.begin) & (index.rows[following] < self.end)
        found = np.where(is_sample, position, self.position(rng.integers(len(self), size=len(row))))
        found[::n] = positions
        return found

    def at_last_event(self, positions: np.ndarray) -> Nows:
        """Event-triggered: now is the focus's last event, and all streams end at its row."""
        row = self.log.focus.rows[positions]
        return Nows(positions, self.log.events.timestamp[row], row)

    def draw(self, rng: np.random.Generator, positions: np.ndarray) -> Nows:
        """Half of the nows at the focus's last event, half some time later.

        The elapsed time is drawn independently of the actual gap, and where it exceeds the gap
        both are drawn again: what is left tells nothing of the gap but that it is longer.
        """
        nows = self.at_last_event(positions)
        index, events = self.log.focus, self.log.events
        later = np.flatnonzero(rng.random(len(positions)) < 0.5)
        low, high = np.log(ELAPSED_S)
        pending, position = later, positions[later]
        for _ in range(100):  # a log whose gaps are all under a second never accepts: it stays event-triggered
            if len(pending) == 0:
                break
            elapsed = (np.exp(rng.uniform(low, high, len(pending))) * MICROSECONDS).astype(np.int64)
            last = events.timestamp[index.rows[position]]
            accepted = last + elapsed < events.timestamp[index.rows[position + 1]]
            done = pending[accepted]
            nows.position[done] = position[accepted]
            nows.timestamp[done] = (last + elapsed)[accepted]
            newest = np.searchsorted(events.timestamp, nows.timestamp[done], side="right") - 1
            # a log that is split by entity is in the order of time within its parts only
            own, following = index.rows[position[accepted]], index.rows[position[accepted] + 1]
            nows.last_row[done] = np.clip(newest, own, following - 1)
            pending = pending[~accepted]
            position = self.position(rng.integers(len(self), size=len(pending)))
        return nows

    def batch(
        self,
        nows: Nows,
        n_targets: int,
        noise: Noise | None = None,
        entity_dropout: float = 0.0,
        history_cut: float = 0.0,
        neighbours: int = 1,
    ) -> tuple[Batch, Targets]:
        """Gather everything that the samples read, and their targets.

        Args:
            noise: decides dropped entities, cut histories and the samples of the chain;
                None keeps everything, and no sample is of the chain.
            neighbours: so many samples, one after the other, share windows of histories.
        """
        log, config = self.log, self.config
        index = log.focus
        size = len(nows.position)
        focus = index.entity_at(nows.position)
        before = nows.position + 1 - index.start[focus]  # events of the focus up to now

        streams, reads, states, kept, first = [], [], [], before, 0
        for stream in log.schema.streams:
            width = stream.history_length(config.context_length)
            is_focus = stream.name == log.schema.focus
            if stream.keys:
                of_stream = log.streams[stream.name]
                entity = context_entities(log.schema, log.streams, stream, nows.position)
                if noise is not None:
                    drop = noise.drop[:, first : first + stream.max_entities] < entity_dropout
                    drop[:, 0] &= not is_focus
                    entity[drop] = -1
                sample, slot = np.nonzero(entity >= 0)
                key = entity[sample, slot]
                start, end = of_stream.start[key], of_stream.end(key, nows.last_row[sample])
                ids = of_stream.vocabulary_id[key]
                place = np.full(entity.shape, -1)
                place[sample, slot] = np.arange(len(sample))
            else:
                sample = np.arange(size)
                slot = key = start = np.zeros(size, np.int64)
                end = nows.last_row + 1
                ids = np.zeros(size, np.int32)
                place = np.arange(size)[:, None]
            if neighbours == 1:
                windows, history = own_windows(start, end, width)
            else:
                windows, history = shared_windows(sample // neighbours, key, start, end, width)
            if noise is not None:
                at = sample[windows.first], first + slot[windows.first]
                cut = (noise.keep[at] * (windows.length + 1)).astype(np.int64)
                windows = windows._replace(length=np.where(noise.cut[at] < history_cut, cut, windows.length))
            first += stream.max_entities
            rows = window(windows.end, windows.length, int(windows.length.max(initial=1)))  # no wider than the longest
            if stream.keys:
                rows = np.where(rows >= 0, of_stream.rows[rows], -1)
            read = read_at(windows, history, end)
            if is_focus:  # the decoder reads no more of the focus than its history shows
                kept = read.length[place[:, 0]]
            newest = np.where(read.length > 0, rows[history, read.length - 1], -1)
            streams.append(stream_batch(log.events, rows))
            reads.append(read)
            states.append(StreamRows(log.events, newest[:, None], place, ids))

        past = window(nows.position + 1, np.minimum(kept, config.focus_events), config.focus_events, align="right")
        ahead = nows.position[:, None] + 1 + np.arange(n_targets)
        follows = ahead < index.start[focus + 1][:, None]
        target = np.where(follows, index.rows[np.minimum(ahead, len(index.rows) - 1)], -1)
        target = np.where(target < self.end, target, -1)  # nothing of the next part of the log
        decoder = decoder_inputs(
            states,
            focus=log.schema.stream_index(log.schema.focus),
            past=np.where(past >= 0, index.rows[past], -1),
            now=nows.timestamp,
            now_utc_offset=log.events.utc_offset[nows.last_row],  # clocks may have changed since the focus's last event
            future=target[:, :-1],
        )
        is_target = target >= 0
        ids = log.events.ids[np.maximum(target, 0)].astype(np.int64)
        ids[~is_target] = 0
        in_chain = np.zeros(size, bool) if noise is None else noise.chain < 0.5
        batch = Batch(tuple(streams), tuple(reads), *decoder)
        return batch, Targets(ids, is_target, ids, batch.sequence.ids, in_chain)


class TrainingBatches:
    """The batches of a run, by step."""

    def __init__(
        self,
        sampler: Sampler,
        *,
        batch_size: int,
        seed: int,
        entity_masking: float,
        entity_dropout: float,
        history_cut: float,
        neighbours: int,
    ) -> None:
        """
        Args:
            neighbours: samples of a batch that follow one another in the log, and share windows of histories.
        """
        if len(sampler) == 0:
            raise ValueError(
                "the training part holds no entity with two events, so there is no next event to learn; "
                "check the schema's focus stream, or prepare a longer log"
            )
        self.sampler, self.batch_size, self.seed = sampler, batch_size, seed
        self.entity_dropout, self.history_cut, self.neighbours = entity_dropout, history_cut, neighbours
        self.mask = EntityMask(sampler.log.schema, entity_masking, unknown_shares(sampler.log, entity_masking))
        self._per_batch = batch_size // neighbours
        self.per_epoch = max(len(sampler) // self._per_batch, 1)
        self._epoch, self._order = -1, np.empty(0, np.uint8)
        self._lock = Lock()

    def __call__(self, number: int, part: slice = slice(None)) -> tuple[Batch, Targets]:
        """The batch of this number (counted from 0), or one process's part of it."""
        epoch, at = divmod(number, self.per_epoch)
        with self._lock:  # batches are made in several threads
            if epoch != self._epoch:
                # of numbers, as small as they can be: with positions to measure on (8 bytes of a sample) and where
                # entities begin and end (48 bytes of one), it is what grows in memory with the log
                self._order = np.arange(len(self.sampler), dtype=np.min_scalar_type(len(self.sampler)))
                np.random.default_rng([self.seed, 1, epoch]).shuffle(self._order)
                self._epoch = epoch
            numbers = self._order[at * self._per_batch : (at + 1) * self._per_batch]
        rng = np.random.default_rng([self.seed, 2, number])
        positions = self.sampler.with_neighbours(rng, self.sampler.position(numbers.astype(np.int64)), self.neighbours)
        nows = self.sampler.draw(rng, positions)
        noise = Noise.draw(rng, len(positions), len(self.mask.slots))
        # what is hidden from a window is hidden from all who read it
        noise = noise._replace(salt=noise.salt[:: self.neighbours].repeat(self.neighbours)).part(part)
        batch, targets = self.sampler.batch(
            Nows(*(column[part] for column in nows)),
            self.sampler.config.target_length,
            noise,
            self.entity_dropout,
            self.history_cut,
            self.neighbours,
        )
        return self.mask(batch, targets, noise.salt)
