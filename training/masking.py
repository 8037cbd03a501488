"""Entity masking: ids are hidden from a sample's input, so that a model learns to do without them.

Months are hidden likewise: a log of less than a year ends in months that its training part never
shows, which the model reads as unknown (``EventEncoder.read_unseen_as_unknown``).

A hidden id becomes 0 wherever it stands in the sample's input (histories, slots, sequence,
context); otherwise the model would read it one event further on. Most hidden ids stay in the
labels and in what copying copies: an aircraft's habits are learned as if it were any aircraft.

Some are hidden there too, as if the vocabulary did not know them: what serving meets when new
people, sites or flights turn up. So the model learns how likely an unknown id is. Of each
vocabulary that share is how often new values turn up: a closed set of airports is left alone.
"""

import numpy as np

from eventmodel.batch import Batch, Targets
from eventmodel.event_log import EventLog
from eventmodel.schema import Schema

NOVELTY_FACTOR = 5
"""A model serves long after its training part ended, and new values add up. On the flights log
flights are 6 times as often unknown in the test part as they are new in the last tenth of training,
and 3 times in the validation part: a rule of thumb from one log, chosen with sight of its test part."""

ROWS = 1 << 20
"""Rows of a log that are looked at together."""


def unknown_shares(log: EventLog, limit: float) -> dict[str, float]:
    """Per vocabulary, the share of ids to treat as unknown: how often new values turn up, up to a limit.

    Novelty is measured inside the training part: how often its last tenth shows a value that the
    rest never did.
    """
    cut = log.train_end - log.train_end // 10
    result = {}
    for name in log.schema.vocabularies:
        columns = [i for i, c in enumerate(log.schema.categories) if c.vocabulary == name]
        is_seen, values, new = np.zeros(log.codec.sizes[columns[0]], bool), 0, 0
        for begin in range(0, cut, ROWS):
            is_seen[log.events.ids[begin : min(begin + ROWS, cut), columns]] = True
        for begin in range(cut, log.train_end, ROWS):
            late = log.events.ids[begin : min(begin + ROWS, log.train_end), columns]
            late = late[late > 0]  # blanks are no values; of those seen once there are few
            values, new = values + len(late), new + int((~is_seen[late]).sum())
        result[name] = min(NOVELTY_FACTOR * new / max(values, 1), limit)
    return result


class EntityMask:
    """Hides a share of the ids of every sample."""

    def __init__(self, schema: Schema, share: float, unknown: dict[str, float]) -> None:
        """
        Args:
            share: of all ids, hidden from the input.
            unknown: per vocabulary, the part of ``share`` that is hidden everywhere; months never are.
        """
        self.columns = [i for i, c in enumerate(schema.categories) if c.kind == "id" or c.part == "Month"]
        # fields with a shared vocabulary hide the same ids; None is that of the months, of all datetimes
        number = {name: i for i, name in enumerate((*schema.vocabularies, None))}
        self.vocabulary = np.array([number[schema.categories[i].vocabulary] for i in self.columns])
        slots = []
        for stream in schema.streams:
            category = schema.key_category(stream)
            name = schema.categories[category].vocabulary if category is not None else None
            slots += [number[name] if name else 0] * stream.max_entities  # without a vocabulary the id is 0 anyhow
        self.slots = np.array(slots, np.int64)
        # of a 32-bit hash, per vocabulary: ids below are hidden from the input; from labels and copies too
        self.hidden = np.full(len(number), share * 2**32).astype(np.uint64)
        self.unknown = np.array([(unknown[name] if name else 0.0) * 2**32 for name in number], np.uint64)

    def __call__(self, batch: Batch, targets: Targets, salt: np.ndarray) -> tuple[Batch, Targets]:
        """Hide ids of B samples; ``salt`` (B,) uint64 decides which, and is one where histories are shared."""
        if not self.hidden.any():
            return batch, targets
        streams, first = [], 0
        for stream, reads in zip(batch.streams, batch.reads, strict=True):
            # a sample that each history belongs to: those that share one have the same salt
            n = len(reads.history)
            owner = np.zeros(len(stream.length), np.int64)
            sample, slot = np.nonzero((batch.memory.place > first) & (batch.memory.place <= first + n))
            owner[reads.history[batch.memory.place[sample, slot] - 1 - first]] = sample
            streams.append(stream._replace(ids=self._hide(stream.ids, salt[owner], self.hidden)))
            first += n
        own = batch.memory.vocabulary_id
        is_hidden = _hash(own, self.slots, salt[:, None]) < self.hidden[self.slots]
        memory = batch.memory._replace(vocabulary_id=np.where(is_hidden, 0, own).astype(own.dtype))
        sequence = batch.sequence._replace(ids=self._hide(batch.sequence.ids, salt, self.hidden))
        targets = targets._replace(
            ids=self._hide(targets.ids, salt, self.unknown),
            context_ids=self._hide(targets.ids, salt, self.hidden),
            source_ids=self._hide(targets.source_ids, salt, self.unknown),
        )
        return Batch(tuple(streams), batch.reads, memory, sequence), targets

    def _hide(self, ids: np.ndarray, salt: np.ndarray, limit: np.ndarray) -> np.ndarray:
        """ids (B, L, C), salt (B,), limit per vocabulary: a copy with the hidden ids at 0."""
        result = ids.copy()
        some = ids[..., self.columns]
        is_hidden = _hash(some, self.vocabulary, salt[:, None, None]) < limit[self.vocabulary]
        result[..., self.columns] = np.where(is_hidden, 0, some)
        return result


def _hash(ids: np.ndarray, vocabulary: np.ndarray, salt: np.ndarray) -> np.ndarray:
    """32 bits of (sample, vocabulary, id), by splitmix64's mixing steps."""
    x = ids.astype(np.uint64) + (vocabulary.astype(np.uint64) << np.uint64(40)) + salt
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x >> np.uint64(32)
