"""The engine: a batch of queries to their answers, on any backend."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from eventmodel.batch import Batch, MemoryBatch, SequenceBatch, StreamBatch
from eventmodel.codec import Codec
from eventmodel.config import ModelConfig
from eventmodel.engine.backend import Backend, Native
from eventmodel.engine.clock import Calendar
from eventmodel.engine.decoding import Decoding
from eventmodel.engine.layout import lay_out
from eventmodel.engine.noise import QUANTILES
from eventmodel.engine.query import Answer, Query
from eventmodel.engine.rollout import Rollout, choose, read_back
from eventmodel.engine.states import StateEncoder, Statistics
from eventmodel.engine.times import quantiles, sample_events
from eventmodel.surprise import entropy

STATE_CACHE_BYTES = 256 * 2**20
ROLLOUTS_AT_A_TIME = 256
"""Rollouts that are generated side by side; more of them take turns, so that memory is bounded."""


class Engine:
    """Answers queries with one model. Not for several threads at a time."""

    def __init__(
        self,
        codec: Codec,
        config: ModelConfig,
        months: Collection[int],
        backend: Backend,
        state_cache_bytes: int = STATE_CACHE_BYTES,
    ) -> None:
        """
        Args:
            months: of the ordering datetime, which training has shown.
        """
        self.codec, self.config = codec, config
        self._backend = backend
        self._states = StateEncoder(backend, config.d_model, state_cache_bytes)
        self._calendar = Calendar(codec, months)
        schema = codec.schema
        self._starts = codec.starts
        self._everything = np.ones(self._starts[-1], bool)
        self._every_date = self._calendar.allowed_dates(self._everything)
        self._focus = schema.stream_index(schema.focus)
        # a future event has a time: the categories of the ordering datetime are never unknown
        self._possible = self._everything.copy()
        self._possible[[self._starts[i] for i, c in enumerate(schema.categories) if c.field == schema.order_by]] = False

    @property
    def statistics(self) -> Statistics:
        """What encoding has done so far."""
        return self._states.statistics

    def encode(self, stream: str, histories: StreamBatch) -> Native:
        """States (E, D) of one kind's histories, at least one, as they are: no cache, no buckets."""
        return self._backend.run(f"encode_{stream}", histories)[0]

    def decode(self, states: Native, memory: MemoryBatch, sequence: SequenceBatch, room: int = 0) -> Decoding:
        """Read B sequences; the result holds the next events' distributions, and takes ``room`` more events.

        Args:
            states: (E, D) of all kinds in the schema's order.
        """
        return Decoding.of(self._backend, self.config, states, memory, sequence, room)

    def read(self, batch: Batch) -> Decoding:
        """Encode and decode a batch as training builds it."""
        states = [self._backend.native(np.zeros((0, self.config.d_model), np.float32))]
        for stream, histories in zip(self.codec.schema.streams, batch.streams, strict=True):
            if len(histories.length):
                states.append(self.encode(stream.name, histories))
        joined = np.concatenate([self._backend.host(of_kind) for of_kind in states])
        return self.decode(self._backend.native(joined), batch.memory, batch.sequence)

    def answer(self, queries: Sequence[Query], on_step: Callable[[], None] = lambda: None) -> list[Answer]:
        """Answer a batch; horizons may differ, and queries that are done leave the batch.

        Args:
            on_step: called before each event of a rollout.

        Raises:
            FloatingPointError: the model gave something that is no number.
        """
        # the longest horizon first: those that are done are always the last ones
        order = sorted(range(len(queries)), key=lambda i: -queries[i].horizon)
        queries = [queries[i] for i in order]
        streams, inputs = lay_out(queries, self.codec.schema, self.config)
        states = self._states.encode(streams)
        decoding = self.decode(states, *inputs, room=queries[0].horizon - 1)
        drafts = [_Draft(query) for query in queries]
        self._score_observed(drafts, decoding)
        for decoding_, rollouts in self._groups(queries, decoding):
            self._roll_out(drafts, decoding_, rollouts, on_step)
        answers: list[Answer] = [draft.answer() for draft in drafts]
        return [answers[at] for at in np.argsort(order)]

    def _groups(self, queries: Sequence[Query], decoding: Decoding) -> Iterator[tuple[Decoding, list["_Row"]]]:
        """The rollouts of all queries, so many at a time, with a decoding that has a row for each."""
        rows = []
        for at, query in enumerate(queries):
            allowed, dates = self._everything, self._every_date
            if query.allowed is not None:
                allowed, dates = query.allowed, self._calendar.allowed_dates(query.allowed)
            last_read = self._last_read(query) if query.horizon > 1 else None  # else no event is read back
            rows += [_Row(at, Rollout(query, number, allowed, dates, last_read)) for number in range(query.n_rollouts)]
        if len(rows) == len(queries) <= ROLLOUTS_AT_A_TIME:
            yield decoding, rows
            return
        for start in range(0, len(rows), ROLLOUTS_AT_A_TIME):
            group = rows[start : start + ROLLOUTS_AT_A_TIME]
            yield decoding.take(np.array([row.query for row in group])), group

    def _roll_out(
        self, drafts: Sequence["_Draft"], decoding: Decoding, rows: list["_Row"], on_step: Callable[[], None]
    ) -> None:
        """Generate all events of some rollouts; the longest horizon comes first."""
        allowed = np.stack([row.rollout.allowed for row in rows])
        choosable = allowed & self._possible
        while True:
            on_step()
            self._observe(drafts, decoding, rows, allowed[: len(rows)])
            rollouts = [row.rollout for row in rows]
            step = choose(decoding, rollouts, choosable[: len(rows)])
            of_rollout = zip(rollouts, step.chosen, step.log_prob.sum(1), decoding.read, strict=True)
            for rollout, ids, log_prob, read in of_rollout:
                settled, moment = self._calendar.settle(ids, rollout.timestamp, rollout.dates, read)
                rollout.take(settled, float(log_prob), moment)
            for row in rows:
                if row.rollout.is_done:
                    drafts[row.query].rollouts.append(row.rollout)
            rows = [row for row in rows if not row.rollout.is_done]
            if not rows:
                return
            if len(rows) < len(decoding):
                decoding = decoding.take(slice(len(rows)))
            read_back(decoding, [row.rollout for row in rows])

    def _observe(
        self, drafts: Sequence["_Draft"], decoding: Decoding, rows: Sequence["_Row"], allowed: np.ndarray
    ) -> None:
        """Note the next event's distribution, and when it takes place where that is asked for."""
        log_probs = decoding.log_probs
        if not np.isfinite(log_probs).all():
            raise FloatingPointError("the model gave a probability that is not a number")
        for row, distribution in zip(rows, self._restrict(log_probs, allowed), strict=True):
            drafts[row.query].add(len(row.rollout.ids), distribution)
        # rollouts that are drawn are a sample themselves
        asking = [at for at, row in enumerate(rows) if row.rollout.query.quantiles and not row.rollout.query.sampling]
        if asking:
            some = [rows[at].rollout for at in asking]
            not_before = np.array([rollout.timestamp for rollout in some], np.int64)
            steps = len(some[0].ids)
            moments = self.sample_moments(decoding, np.array(asking), not_before, allowed[asking], steps)
            for at, rollout, sample in zip(asking, some, moments, strict=True):
                drafts[rows[at].query].when.append(quantiles(sample, rollout.query.quantiles))

    def sample_moments(
        self, decoding: Decoding, rows: np.ndarray, not_before: np.ndarray, allowed: np.ndarray, n_steps: int = 0
    ) -> np.ndarray:
        """When the next event of some sequences takes place: a sample from the chain, not in order.

        Args:
            rows: (n,) the sequences.
            not_before: (n,) microseconds: now, or the time of the event generated before.
            allowed: (n, V) bool.
            n_steps: events generated before.

        Returns:
            (n, SAMPLES) int64 microseconds.
        """
        seeds = [(QUANTILES, int(time) % 2**64, n_steps) for time in not_before]
        events = sample_events(decoding, rows, allowed & self._possible, seeds)
        return np.stack(
            [
                self._calendar.moments(sample, int(time), self._calendar.allowed_dates(mask), read)
                for sample, time, mask, read in zip(events, not_before, allowed, decoding.read[rows], strict=True)
            ]
        )

    def _score_observed(self, drafts: Sequence["_Draft"], decoding: Decoding) -> None:
        """Probability of the observed events as the next ones, whatever ``allowed`` says."""
        rows = np.array([at for at, draft in enumerate(drafts) if draft.query.observed is not None], np.int64)
        if not len(rows):
            return
        ids = np.stack([observed for at in rows if (observed := drafts[at].query.observed) is not None])
        log_probs = decoding.log_probs[rows]
        marginal = np.take_along_axis(log_probs, ids + self._starts[:-1], axis=1)
        noise = np.zeros(log_probs.shape, np.float32)
        chain = decoding.chain(rows, noise, np.ones(log_probs.shape, bool), ids.astype(np.int32)).log_prob
        expected = entropy(log_probs, self._starts[:-1]).astype(np.float32)
        for at, *scores, entropies in zip(rows, marginal, chain, expected, strict=True):
            drafts[at].observed = np.stack(scores)
            drafts[at].observed_entropy = entropies

    def _last_read(self, query: Query) -> int | None:
        """Time of the newest event that the decoder reads; None where it reads none."""
        _, length, _, entities = query.histories
        first = sum(entities[: self._focus])
        if self.config.focus_events == 0 or entities[self._focus] == 0 or length[first] == 0:
            return None
        return int(query.histories.events.timestamp[length[: first + 1].sum() - 1])

    def _restrict(self, log_probs: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Give the allowed ids of each category all of its probability: (B, V)."""
        if allowed.all():
            return log_probs
        kept = np.where(allowed, log_probs, -np.inf)
        total = np.logaddexp.reduceat(kept, self._starts[:-1], axis=1)  # (B, C)
        return (kept - np.repeat(total, np.diff(self._starts), axis=1)).astype(np.float32)


class _Row(NamedTuple):
    """One rollout, and the query that it belongs to."""

    query: int
    rollout: Rollout


class _Draft:
    """One query's answer, as far as it is known."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self.rollouts: list[Rollout] = []
        self.when: list[np.ndarray] = []
        self.observed: np.ndarray | None = None
        self.observed_entropy: np.ndarray | None = None
        self._log_probs: list[np.ndarray] = []
        """Of each event (V,); of several rollouts the sum of probabilities, in a precision that keeps small ones."""

    def add(self, step: int, log_probs: np.ndarray) -> None:
        """One rollout's distribution (V,) of the event at a step."""
        of_step = log_probs if self.query.n_rollouts == 1 else np.exp(log_probs.astype(np.float64))
        if step == len(self._log_probs):
            self._log_probs.append(of_step)
        else:
            self._log_probs[step] += of_step

    def answer(self) -> Answer:
        log_probs = np.stack(self._log_probs) if len(self._log_probs) > 1 else self._log_probs[0][None]
        if (n := self.query.n_rollouts) > 1:
            with np.errstate(divide="ignore"):
                log_probs = np.log(log_probs / n).astype(np.float32)
        rollouts = sorted(self.rollouts, key=lambda rollout: rollout.number)
        timestamp = np.array([[m.timestamp for m in rollout.moments] for rollout in rollouts], np.int64)
        when = np.stack(self.when) if self.when else None
        if self.query.quantiles and self.query.sampling:
            when = quantiles(timestamp.T, self.query.quantiles)
        return Answer(
            log_probs=log_probs,
            ids=np.array([rollout.ids for rollout in rollouts], np.int32),
            timestamp=timestamp,
            log_prob=np.array([rollout.log_prob for rollout in rollouts], np.float32),
            observed_log_prob=self.observed,
            observed_entropy=self.observed_entropy,
            when=when,
        )
