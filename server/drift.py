"""Whether requests are still what the model was trained on: values that it knows, and how sure it is."""

import time
from collections import Counter
from collections.abc import Sequence
from threading import Lock

import numpy as np

from eventmodel.codec import Codec
from eventmodel.engine.query import Answer, Query
from server.metrics import PREDICTIONS, TOP1_PROBABILITY, VALUES

_PUBLISH_S = 1.0


def count_unknown(codec: Codec, unknown: np.ndarray) -> None:
    """Count the values of one request that the vocabularies lack; ``unknown`` (k,) holds their categories."""
    for category, n in Counter(unknown.tolist()).items():  # most requests have none
        VALUES.labels(codec.schema.categories[category].name, "unknown").inc(n)


class DriftCounters:
    """What is counted of whole batches, in the model process: for all categories at once, in any thread.

    It is added up here and published about once a second: of a counter for each category, each would
    cost microseconds that a small batch has not got.

    Args:
        codec: of the model.
    """

    def __init__(self, codec: Codec) -> None:
        names = [category.name for category in codec.schema.categories]
        for name in names:  # from the start: of a series that appears with its first value no rate is known before
            VALUES.labels(name, "unknown")
        self._counters = [
            *(VALUES.labels(name, "known") for name in names),
            *(TOP1_PROBABILITY.labels(name) for name in names),
            PREDICTIONS,
        ]
        self._starts = codec.starts[:-1]
        self._unpublished = np.zeros(len(self._counters))
        self._due = 0.0
        self._lock = Lock()

    def count(self, queries: Sequence[Query], answers: Sequence[Answer]) -> None:
        """Add up the known values that were read, and the probabilities of what is likely next."""
        read = np.concatenate([query.histories.events.ids for query in queries])
        known = np.ones(len(read), np.float32) @ (read != 0).astype(np.float32)  # the quickest way to count by column
        next_event = np.stack([answer.log_probs[0] for answer in answers])
        top1 = np.exp(np.maximum.reduceat(next_event, self._starts, axis=1)).sum(0)
        with self._lock:
            self._unpublished += np.concatenate((known, top1, [len(queries)]))

    def publish(self) -> None:
        """Let the metrics show what was added up, unless they did so within the last second."""
        now = time.monotonic()
        if now < self._due or not self._unpublished[-1]:
            return
        with self._lock:
            amounts = self._unpublished.tolist()
            self._unpublished[:] = 0
        for counter, amount in zip(self._counters, amounts, strict=True):
            counter.inc(amount)
        self._due = now + _PUBLISH_S
