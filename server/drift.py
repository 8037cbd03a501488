"""Whether requests are still what the model was trained on: values that it knows, and how sure it is."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from eventmodel.codec import Codec
from eventmodel.engine.query import Answer, Query
from server.metrics import PREDICTIONS, TOP1_PROBABILITY, VALUES


def count_unknown(codec: Codec, unknown: np.ndarray) -> None:
    """Count the values of one request that the vocabularies lack; ``unknown`` (k,) holds their categories."""
    for category, n in Counter(unknown.tolist()).items():  # most requests have none
        VALUES.labels(codec.schema.categories[category].name, "unknown").inc(n)


class DriftCounters:
    """What is counted of whole batches, in the model process: for all categories at once.

    Args:
        codec: of the model.
    """

    def __init__(self, codec: Codec) -> None:
        names = [category.name for category in codec.schema.categories]
        self._known = [VALUES.labels(name, "known") for name in names]
        self._top1 = [TOP1_PROBABILITY.labels(name) for name in names]
        self._starts = np.cumsum((0, *codec.sizes))[:-1]

    def count(self, queries: Sequence[Query], answers: Sequence[Answer]) -> None:
        """Count the known values that were read, and the probabilities of what is likely next."""
        read = np.concatenate([histories.events.ids for query in queries for histories in query.streams])
        known = np.ones(len(read), np.float32) @ (read != 0).astype(np.float32)  # the quickest way to count by column
        next_event = np.stack([answer.log_probs[0] for answer in answers])
        top1 = np.exp(np.maximum.reduceat(next_event, self._starts, axis=1)).sum(0)
        for counter, n in zip(self._known, known.tolist(), strict=True):
            counter.inc(n)
        for counter, probability in zip(self._top1, top1.tolist(), strict=True):
            counter.inc(probability)
        PREDICTIONS.inc(len(queries))
