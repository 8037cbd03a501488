"""Counting predictors that a model has to beat, as probabilities on the same targets.

Each predicts every category of the event that follows position p of the focus stream's index,
from the training part and from the focus's own events up to p (``DESCRIPTION``).
Smoothing is (counts + k * prior) / (total + k). k, the addend of frequency, and the half-life of recency
(in events of the focus), are those of the lowest negative log-likelihood on the validation part, per category.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from eventmodel.config import ModelConfig
from eventmodel.event_log import EventLog
from training.evaluation.counts import Counts, Entries
from training.evaluation.distribution import Distribution
from training.evaluation.scores import choose
from training.sampling import Sampler

DESCRIPTION = {
    "frequency": "how often each value occurs in the training part, plus an addend for those that never do",
    "last value": "the focus's last value, smoothed with frequency",
    "entity recency": "the focus's values so far, older ones counting less, smoothed with frequency",
    "Markov": "what followed the last value in the training part, smoothed with frequency",
    "entity Markov": "what followed the last value for this focus so far, smoothed with Markov",
}
BASELINES = tuple(DESCRIPTION)
CHEAP_BASELINES = ("frequency", "last value", "entity Markov")
"""Those that are shown at the end of a training."""
_PRIOR = {
    "last value": "frequency",
    "entity recency": "frequency",
    "Markov": "frequency",
    "entity Markov": "Markov",
}
STRENGTHS = np.logspace(-4, 4, 33)
"""Values of k that are tried."""
ADDENDS = np.logspace(-2, 6, 33)
"""Addends of frequency that are tried: what a value that never occurred is given decides what it costs."""
HALF_LIVES = (1.0, 3.0, 10.0, 30.0, 100.0, np.inf)
"""Half-lives that are tried, in events of the focus; infinity is plain frequency."""
FIT_TARGETS = 4_096
"""Targets of the validation part that all of these are fitted on."""
MAX_ENTRIES = 2_000_000
"""Counts that are held at a time."""


@dataclass(frozen=True)
class BaselineScores:
    """What one baseline says of n targets in C categories."""

    log_prob: np.ndarray  # (n, C) float64: of the label, nats
    rank: np.ndarray  # (n, C) int64: the label's among all ids, from 1; among equals the lower id first
    parameters: list[dict[str, float]]
    """Per category, the fitted ``addend``, strength ``k`` and ``half_life_events``, where the baseline has them."""


def score_baselines(
    log: EventLog,
    positions: np.ndarray,
    names: tuple[str, ...] = BASELINES,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, BaselineScores]:
    """Score baselines on the events after ``positions`` (n,).

    Args:
        advance: called when a category is done.
    """
    n, n_categories = len(positions), len(log.schema.categories)
    fit_on = choose(Sampler(log, ModelConfig(), *log.part("validation")), FIT_TARGETS)
    result = {
        name: BaselineScores(np.empty((n, n_categories)), np.empty((n, n_categories), np.int64), []) for name in names
    }
    for c in range(n_categories):
        category = CategoryBaselines(log, c, names, fit_on)
        for part in category.parts(positions):
            label = category.ids[positions[part] + 1]
            distributions = category.distributions(positions[part], names)
            for name in names:
                result[name].log_prob[part, c] = np.log(distributions[name].of(label))
                result[name].rank[part, c] = distributions[name].rank(label)
        for name in names:
            result[name].parameters.append(category.parameters(name))
        advance()
    return result


def _with_priors(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names and what they are smoothed with, each after its prior; frequency is always first."""
    needed = {"frequency", *names, *(_PRIOR[name] for name in names if name in _PRIOR)}
    return tuple(name for name in BASELINES if name in needed)


class CategoryBaselines:
    """The baselines of one category, fitted."""

    def __init__(self, log: EventLog, c: int, names: tuple[str, ...], fit_on: np.ndarray) -> None:
        """Count, and fit on the events after the positions ``fit_on`` of the validation part."""
        index, size = log.focus, log.codec.sizes[c]
        names = _with_priors(names)
        self.ids = log.events.ids[index.rows, c].astype(np.int64)
        """(M,) the category's values in the order of the focus stream's index."""
        self._size, self._entity = size, index.entity
        count = np.bincount(log.events.ids[: log.train_end, c], minlength=size)
        self._addend = _fit_addend(count, self.ids[fit_on + 1])
        self._frequency = (count + self._addend) / (count + self._addend).sum()
        after = np.flatnonzero(index.entity[1:] == index.entity[:-1]) + 1
        learned = after[index.rows[after] < log.train_end]  # for all of time, so of the training part only
        seen_at = {"entity recency": np.arange(len(self.ids)), "Markov": learned, "entity Markov": after}
        self._counts: dict[str, Counts] = {}
        for name in set(names) & set(seen_at):
            at = seen_at[name]
            context = self._context(name, at if name == "entity recency" else at - 1)
            self._counts[name] = Counts(context, self.ids[at], at, size)
        self._strength: dict[str, float] = {}
        self._half_life: dict[str, float] = {}
        self._decayed: dict[str, np.ndarray] = {}
        for name in names:
            if name in _PRIOR:
                self._fit(name, fit_on)

    def distributions(self, positions: np.ndarray, names: tuple[str, ...]) -> dict[str, Distribution]:
        """What the baselines (and their priors) say of the events after ``positions``; no later event is read."""
        result = {"frequency": Distribution.shared(self._frequency, len(positions))}
        for name in _with_priors(names)[1:]:
            result[name] = result[_PRIOR[name]].smoothing(self._entries(name, positions), self._strength[name])
        return result

    def parts(self, positions: np.ndarray) -> Iterator[slice]:
        """Cut positions so that no part counts much more than ``MAX_ENTRIES``."""
        breadth = np.ones(len(positions), np.int64)
        for name, counts in self._counts.items():
            breadth += counts.breadth(self._context(name, positions))
        number = np.cumsum(breadth) // MAX_ENTRIES
        cuts = [0, *(np.flatnonzero(np.diff(number)) + 1), len(positions)]
        return (slice(int(start), int(end)) for start, end in pairwise(cuts))

    def parameters(self, name: str) -> dict[str, float]:
        """What was fitted: ``addend``, or ``k`` and ``half_life_events`` (left out where it is infinite)."""
        if name == "frequency":
            return {"addend": self._addend}
        found = {"k": self._strength[name]} if name in self._strength else {}
        half_life = self._half_life.get(name, np.inf)
        return found if np.isinf(half_life) else found | {"half_life_events": half_life}

    def _context(self, name: str, positions: np.ndarray) -> np.ndarray:
        """The condition under which a baseline counts, as one number."""
        if name == "entity recency":
            return self._entity[positions]
        value = self.ids[positions]
        return value if name == "Markov" else self._entity[positions] * self._size + value

    def _entries(self, name: str, positions: np.ndarray) -> Entries:
        """What a baseline has counted at each position."""
        if name == "last value":
            return Entries(np.arange(len(positions)), self.ids[positions], np.ones(len(positions)))
        until = np.full(len(positions), len(self.ids)) if name == "Markov" else positions
        return self._counts[name].entries(
            self._context(name, positions), until, self._decayed[name], self._half_life[name]
        )

    def _fit(self, name: str, positions: np.ndarray) -> None:
        """Choose strength and half-life; without a target to fit on, 1 and no decay."""
        half_lives = HALF_LIVES if name == "entity recency" else (np.inf,)
        best, strength = len(half_lives) - 1, len(STRENGTHS) // 2
        if len(positions):
            nll = np.stack([self._nll(name, positions, half_life) for half_life in half_lives])
            best, strength = (int(i) for i in np.unravel_index(nll.argmin(), nll.shape))
        self._set_half_life(name, half_lives[best])
        self._strength[name] = float(STRENGTHS[strength])

    def _set_half_life(self, name: str, half_life: float) -> None:
        self._half_life[name] = half_life
        if name in self._counts:
            self._decayed[name] = self._counts[name].decayed(half_life)

    def _nll(self, name: str, positions: np.ndarray, half_life: float) -> np.ndarray:
        """For each of ``STRENGTHS`` the negative log-likelihood of the events after ``positions``."""
        self._set_half_life(name, half_life)
        nll = np.zeros(len(STRENGTHS))
        for part in self.parts(positions):
            label = self.ids[positions[part] + 1]
            prior = self.distributions(positions[part], (_PRIOR[name],))[_PRIOR[name]].of(label)
            entries = self._entries(name, positions[part])
            is_label = entries.value == label[entries.row]
            total = np.bincount(entries.row, entries.weight, minlength=len(label))
            of_label = np.bincount(entries.row[is_label], entries.weight[is_label], minlength=len(label))
            smoothed = (of_label[:, None] + STRENGTHS * prior[:, None]) / (total[:, None] + STRENGTHS)
            nll -= np.log(smoothed).sum(0)
        return nll


def _fit_addend(count: np.ndarray, label: np.ndarray) -> float:
    """That of the most probable labels, given how often each value occurred; 1 without a label."""
    if not len(label):
        return 1.0
    log_prob = np.log(count[label, None] + ADDENDS).sum(0) - len(label) * np.log(count.sum() + len(count) * ADDENDS)
    return float(ADDENDS[log_prob.argmax()])
