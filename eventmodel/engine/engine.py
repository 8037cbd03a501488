"""The engine: a batch of queries to their answers, on any backend."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from eventmodel.batch import Batch, MemoryBatch, SequenceBatch, StreamBatch
from eventmodel.bundle import Bundle
from eventmodel.calendar import datetime_ids
from eventmodel.codec import MICROSECONDS, Codec, Moment
from eventmodel.config import ModelConfig
from eventmodel.engine.backend import Backend, DecodedStep
from eventmodel.engine.clock import Clock
from eventmodel.engine.layout import lay_out
from eventmodel.engine.query import Answer, Query
from eventmodel.engine.times import quantiles, sample_events
from eventmodel.event_log import gap_bucket, weekday
from eventmodel.surprise import entropy

BackendName = Literal["auto", "torch", "torchscript", "onnx"]
DeviceName = Literal["auto", "cpu", "cuda"]


class Engine:
    """Answers queries with one model."""

    def __init__(self, codec: Codec, config: ModelConfig, backend: Backend) -> None:
        self.codec, self.config, self.backend = codec, config, backend
        schema = codec.schema
        self._starts = np.cumsum((0, *codec.sizes))  # (C + 1,)
        self._focus = [stream.name for stream in schema.streams].index(schema.focus)
        order = [i for i, c in enumerate(schema.categories) if c.field == schema.order_by]
        self._order = slice(order[0], order[-1] + 1)
        # a future event has a time: the categories of the ordering datetime are never unknown
        self._possible = np.ones(self._starts[-1], bool)
        self._possible[self._starts[order]] = False

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer a batch; horizons may differ, and queries that are done leave the batch.

        Raises:
            FloatingPointError: the model gave something that is no number.
        """
        batch = lay_out(queries, self.codec.schema, self.config)
        states = self._encode(batch.streams)
        rollouts = [_Rollout(query, self._allowed(query), self._last_read(query)) for query in queries]
        memory, sequence = batch.memory, batch.sequence
        active = rollouts
        while active:
            step = self.backend.decode(states, memory, sequence)
            if not np.isfinite(step.log_probs).all():
                raise FloatingPointError("the model gave a probability that is not a number")
            if active[0].n_steps == 0:
                self._score_observed(active, step, sequence)
            allowed = np.stack([rollout.allowed for rollout in active])
            self._sample_when(active, step, sequence, allowed)
            chosen = self._choose(step, sequence, allowed)
            for rollout, log_probs, ids in zip(active, self._restrict(step.log_probs, allowed), chosen, strict=True):
                rollout.take(log_probs, *self._settle(ids, rollout.timestamp, rollout.allowed))
            sequence = _append(sequence, active)
            goes_on = np.array([rollout.n_steps < rollout.query.horizon for rollout in active])
            active = [rollout for rollout, more in zip(active, goes_on, strict=True) if more]
            memory = MemoryBatch(*(column[goes_on] for column in memory))
            sequence = SequenceBatch(*(column[goes_on] for column in sequence))
        return [rollout.answer() for rollout in rollouts]

    def decode(self, batch: Batch) -> DecodedStep:
        """The next event of every sample of a batch, as the answer to a query decodes it."""
        return self.backend.decode(self._encode(batch.streams), batch.memory, batch.sequence)

    def _encode(self, streams: Sequence[StreamBatch]) -> np.ndarray:
        """States of all kinds, one after the other: one forward pass per stream kind."""
        states = [np.zeros((0, self.config.d_model), np.float32)]
        for stream, histories in zip(self.codec.schema.streams, streams, strict=True):
            if len(histories.length):
                states.append(self.backend.encode(stream.name, histories))
        return np.concatenate(states)

    def _allowed(self, query: Query) -> np.ndarray:
        return np.ones(self._starts[-1], bool) if query.allowed is None else query.allowed

    def _last_read(self, query: Query) -> int | None:
        """Time of the newest event that the decoder reads; None where it reads none."""
        histories = query.streams[self._focus]
        if self.config.focus_events == 0 or len(histories.length) == 0 or histories.length[0] == 0:
            return None
        return int(histories.events.timestamp[histories.length[0] - 1])

    def _choose(self, step: DecodedStep, sequence: SequenceBatch, allowed: np.ndarray) -> np.ndarray:
        """The chain's greedy event (B, C)."""
        noise = np.zeros(allowed.shape, np.float32)
        free = np.full((len(allowed), len(self.codec.sizes)), -1, np.int32)
        # a future event has a time, so the ordering datetime's categories are never unknown
        return self.backend.chain(step, sequence.ids, noise, allowed & self._possible, free).chosen

    def _score_observed(self, rollouts: Sequence["_Rollout"], step: DecodedStep, sequence: SequenceBatch) -> None:
        """Probability of the observed events as the next ones, whatever ``allowed`` says."""
        rows = [row for row, rollout in enumerate(rollouts) if rollout.query.observed is not None]
        if not rows:
            return
        ids = np.stack([observed for r in rollouts if (observed := r.query.observed) is not None])
        some = DecodedStep(*(column[rows] for column in step))
        marginal = np.take_along_axis(some.log_probs, ids + self._starts[:-1], axis=1)
        everything = np.ones(some.log_probs.shape, bool)
        noise = np.zeros(everything.shape, np.float32)
        chain = self.backend.chain(some, sequence.ids[rows], noise, everything, ids.astype(np.int32)).log_prob
        expected = entropy(some.log_probs, self._starts[:-1]).astype(np.float32)
        for row, *scores in zip(rows, marginal, chain, expected, strict=True):
            rollouts[row].observed = np.stack(scores[:2])
            rollouts[row].observed_entropy = scores[2]

    def _sample_when(
        self, rollouts: Sequence["_Rollout"], step: DecodedStep, sequence: SequenceBatch, allowed: np.ndarray
    ) -> None:
        """Quantiles of the next event's time, for the queries that ask for them."""
        rows = [row for row, rollout in enumerate(rollouts) if rollout.query.quantiles]
        if not rows:
            return
        asking = [rollouts[row] for row in rows]
        moments = self.sample_moments(
            DecodedStep(*(column[rows] for column in step)),
            sequence.ids[rows],
            np.array([rollout.timestamp for rollout in asking], np.int64),
            allowed[rows],
            n_steps=asking[0].n_steps,
        )
        for rollout, sample in zip(asking, moments, strict=True):
            rollout.when.append(quantiles(sample, rollout.query.quantiles))

    def sample_moments(
        self, step: DecodedStep, source_ids: np.ndarray, not_before: np.ndarray, allowed: np.ndarray, n_steps: int = 0
    ) -> np.ndarray:
        """When the next event takes place: a sample from the chain, not in order.

        Args:
            step: the decoded next event of B sequences.
            source_ids: (B, Q, C) the sequences' ids.
            not_before: (B,) microseconds: now, or the time of the event generated before.
            allowed: (B, V) bool.
            n_steps: events generated before.

        Returns:
            (B, SAMPLES) int64 microseconds.
        """
        seeds = [(int(time) % 2**64, n_steps) for time in not_before]
        events = sample_events(self.backend, step, source_ids, allowed & self._possible, seeds)
        result = np.empty(events.shape[:2], np.int64)
        for row, (time, mask) in enumerate(zip(not_before, allowed, strict=True)):
            clock = self._clock(int(time), mask)
            result[row] = [clock.settle(ids).timestamp for ids in events[row, :, self._order]]
        return result

    def _restrict(self, log_probs: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Give the allowed ids of each category all of its probability: (B, V)."""
        if allowed.all():
            return log_probs
        kept = np.where(allowed, log_probs, -np.inf)
        total = np.logaddexp.reduceat(kept, self._starts[:-1], axis=1)  # (B, C)
        return (kept - np.repeat(total, np.diff(self._starts), axis=1)).astype(np.float32)

    def _settle(self, ids: np.ndarray, not_before: int, allowed: np.ndarray) -> tuple[np.ndarray, Moment]:
        """Make a chosen event's ordering datetime a real moment that is allowed and not in the past.

        Args:
            allowed: (V,) bool.

        Returns:
            The ids, of which the ordering datetime's agree with the moment, and the moment.
        """
        moment = self._clock(not_before, allowed).settle(ids[self._order])
        settled = ids.astype(np.int32)
        settled[self._order] = datetime_ids(moment.wall)
        return settled, moment

    def _clock(self, not_before: int, allowed: np.ndarray) -> Clock:
        parts = range(self._order.start, self._order.stop)
        return Clock(self.codec, not_before, [allowed[self._starts[c] : self._starts[c + 1]] for c in parts])


class _Rollout:
    """One query on its way: the events that were generated for it."""

    def __init__(self, query: Query, allowed: np.ndarray, last_read: int | None) -> None:
        self.query, self.allowed, self._last_read = query, allowed, last_read
        self.observed: np.ndarray | None = None
        self.observed_entropy: np.ndarray | None = None
        self.when: list[np.ndarray] = []
        self.timestamp = query.now
        self.log_probs: list[np.ndarray] = []
        self.ids: list[np.ndarray] = []
        self.moments: list[Moment] = []

    @property
    def n_steps(self) -> int:
        return len(self.ids)

    @property
    def previous(self) -> int | None:
        """Time of the event that the decoder read before the newest one; None where it read none."""
        if self.n_steps > 1:
            return self.moments[-2].timestamp
        return self._last_read

    def take(self, log_probs: np.ndarray, ids: np.ndarray, moment: Moment) -> None:
        self.log_probs.append(log_probs)
        self.ids.append(ids)
        self.moments.append(moment)
        self.timestamp = moment.timestamp

    def answer(self) -> Answer:
        timestamps = np.array([moment.timestamp for moment in self.moments], np.int64)
        when = np.stack(self.when) if self.when else None
        log_probs, ids = np.stack(self.log_probs), np.stack(self.ids)
        return Answer(log_probs, ids, timestamps, self.observed, self.observed_entropy, when)


def _append(sequence: SequenceBatch, rollouts: Sequence[_Rollout]) -> SequenceBatch:
    """The sequence with each rollout's newest event at its end."""
    ids = np.stack([rollout.ids[-1] for rollout in rollouts])[:, None]
    timestamp = np.array([rollout.timestamp for rollout in rollouts], np.int64)
    offset = np.array([rollout.moments[-1].utc_offset for rollout in rollouts], np.int32)
    has_previous = np.array([rollout.previous is not None for rollout in rollouts])
    previous = np.array([rollout.previous or 0 for rollout in rollouts], np.int64)
    gap = np.where(has_previous, gap_bucket((timestamp - previous) / MICROSECONDS), 0)
    return SequenceBatch(
        ids=np.concatenate((sequence.ids, ids), 1),
        gap=np.concatenate((sequence.gap, gap[:, None].astype(np.int32)), 1),
        weekday=np.concatenate((sequence.weekday, weekday(timestamp, offset)[:, None]), 1),
        is_token=np.concatenate((sequence.is_token, np.ones((len(ids), 1), bool)), 1),
        now_hour=sequence.now_hour,
    )


def open_engine(bundle: Bundle, backend: BackendName = "auto", device: DeviceName = "auto", threads: int = 1) -> Engine:
    """Load a bundle's model.

    Args:
        backend: ``auto`` is ONNX Runtime on a CPU where the bundle has it (twice as fast as eager
            at batch 1), torch otherwise.
        device: ``auto`` is a GPU where the backend finds one.
        threads: of one computation, on a CPU; more than there are free cores is very slow.

    Raises:
        ValueError: the bundle or the machine lacks what was asked for.
    """
    if device == "auto" and backend != "onnx":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    if backend == "auto":
        backend = "onnx" if device == "cpu" and "onnx" in bundle.formats else "torch"
    return Engine(bundle.codec, bundle.config, _open_backend(bundle, backend, device, threads))


def _open_backend(bundle: Bundle, backend: BackendName, device: DeviceName, threads: int) -> Backend:
    """Each backend's library is imported only where it is used."""
    streams = [stream.name for stream in bundle.schema.streams]
    if backend == "onnx":
        _require(bundle, backend)
        from eventmodel.engine.onnx_backend import OnnxBackend

        return OnnxBackend(bundle.path, streams, device, threads)

    import torch

    from eventmodel.engine.torch_backend import TorchBackend

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but torch finds no GPU")
    torch.set_num_threads(threads)
    if backend == "torchscript":
        _require(bundle, backend)
        return TorchBackend.of_traces(bundle.path, streams, torch.device(device))
    return TorchBackend.of_bundle(bundle, torch.device(device))


def _require(bundle: Bundle, form: str) -> None:
    if form not in bundle.formats:
        raise ValueError(
            f"{bundle.path} holds no {form} artefacts, only {', '.join(bundle.formats) or 'weights'}; "
            f"export it with --formats {form}, or choose --backend torch"
        )
