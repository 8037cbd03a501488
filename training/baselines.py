"""Trivial predictors that a model has to beat: counting, on the same targets.

Each predicts every category of the event that follows position p of the focus stream's index.
"""

import numpy as np

from eventmodel.event_log import EventLog

BASELINES = ("most common", "last value", "entity Markov")


def baseline_predictions(log: EventLog, positions: np.ndarray) -> dict[str, np.ndarray]:
    """Per baseline, the predicted ids (n, C) of the events after ``positions`` (n,).

    - most common: of the training part.
    - last value: of the focus's last event.
    - entity Markov: what most often followed this value for this entity in the training part;
      failing that, for any entity; failing that, the last value.
    """
    index, ids = log.focus, log.events.ids
    train = ids[: log.train_end]
    last = ids[index.rows[positions]]
    learned = np.flatnonzero((index.entity[1:] == index.entity[:-1]) & (index.rows[1:] < log.train_end))
    entity = index.entity[positions]
    frequent, markov = np.empty_like(last), np.empty_like(last)
    for c in range(ids.shape[1]):
        frequent[:, c] = np.bincount(train[:, c]).argmax()
        before, after = ids[index.rows[learned], c], ids[index.rows[learned + 1], c]
        value = last[:, c]
        anyone = _most_common(before.astype(np.int64), after, value.astype(np.int64), default=value)
        span = int(ids[:, c].max()) + 1
        markov[:, c] = _most_common(index.entity[learned] * span + before, after, entity * span + value, default=anyone)
    return dict(zip(BASELINES, (frequent, last, markov), strict=True))


def _most_common(key: np.ndarray, value: np.ndarray, asked: np.ndarray, default: np.ndarray) -> np.ndarray:
    """For each asked key the value that occurs with it most often (the smaller one of equals)."""
    if len(key) == 0:
        return default
    span = int(value.max()) + 1
    pair, count = np.unique(key * span + value, return_counts=True)
    keys, values = np.divmod(pair, span)
    order = np.lexsort((values, -count, keys))  # best value of each key first
    first, start = np.unique(keys[order], return_index=True)
    best = values[order][start]
    at = np.minimum(np.searchsorted(first, asked), len(first) - 1)
    return np.where(first[at] == asked, best[at], default)
