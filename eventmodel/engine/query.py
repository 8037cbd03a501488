"""What the engine is asked and what it answers, in arrays: no names, no JSON, no torch."""

from typing import NamedTuple

import numpy as np

from eventmodel.codec import Events

SAMPLES = 200
"""Events that are sampled for the quantiles of one event's time. The share of samples below a
moment is within 0.07 of its probability in 95 of 100 cases."""


class Histories(NamedTuple):
    """The E entities of a query, those of one stream after those of another, in the schema's order.

    In the focus stream the focus comes first.
    """

    events: Events  # n events, one entity's after another's, oldest first
    length: np.ndarray  # (E,) int32: number of events of each entity
    vocabulary_id: np.ndarray  # (E,) int32: each entity in the vocabulary of its category, 0 if none
    entities: tuple[int, ...]  # of each stream


class Sampling(NamedTuple):
    """Rollouts that are drawn, in place of the one that takes the most probable event every time."""

    num_samples: int
    """Rollouts, all from one encoding."""
    temperature: float = 1.0
    """Above 0. Below 1 the probable becomes more probable; it is applied after calibration and ``allowed``."""
    top_p: float = 1.0
    """Of each category, only the most probable ids that together reach this probability are drawn; 1 is all."""
    seed: int = 0
    """The same seed and question, the same rollouts, whatever else is in the batch."""


class Query(NamedTuple):
    """One request: what happened, and what is asked about what comes next."""

    histories: Histories
    now: int
    """Microseconds, as in ``Moment.timestamp``."""
    now_utc_offset: int
    """Seconds."""
    horizon: int
    """How many future events, from 1 up to the model's target length."""
    allowed: np.ndarray | None
    """(sum of category sizes,) bool: the ids that may happen; None allows all."""
    observed: np.ndarray | None
    """(C,) int32: the ids of an event to score as the next one."""
    quantiles: tuple[float, ...] = ()
    """Increasing levels between 0 and 1, at which each event's time is wanted: over the rollouts where they are
    drawn, else over a sample of next events, given the events that the rollout took before."""
    sampling: Sampling | None = None
    """None takes the most probable event, category by category, at each step."""

    @property
    def n_rollouts(self) -> int:
        """How many rollouts answer it."""
        return self.sampling.num_samples if self.sampling else 1

    @property
    def work(self) -> int:
        """Events that answering it generates, which is what the time it takes grows with."""
        samples = SAMPLES if self.quantiles and not self.sampling else 0
        return self.horizon * (self.n_rollouts + samples)


class Answer(NamedTuple):
    """What comes next: R rollouts of ``horizon`` events each; R is 1 unless samples were asked for."""

    log_probs: np.ndarray
    """(horizon, sum of category sizes) float32: each category's distribution on its own, given the events that
    the rollout took before. Of several rollouts the mean of their distributions: what is to be expected of
    each event whatever came before it."""
    ids: np.ndarray
    """(R, horizon, C) int32: the events."""
    timestamp: np.ndarray
    """(R, horizon) int64: when they take place, in microseconds."""
    log_prob: np.ndarray
    """(R, horizon) float32: of each event as it was chosen, along the chain, within ``allowed``."""
    observed_log_prob: np.ndarray | None = None
    """(2, C) float32: of the observed event, each category on its own, then along the chain
    (given the categories before it). The chain's sum is the joint log-probability."""
    observed_entropy: np.ndarray | None = None
    """(C,) float32: of each category on its own: the surprise that was to be expected, whatever
    is ``allowed``."""
    when: np.ndarray | None = None
    """(horizon, levels) int64: the quantiles of each event's time, in microseconds."""
