"""How the model process is doing, in memory that all processes of the server share."""

import ctypes
import time
from collections.abc import Sequence
from multiprocessing import get_context

from litserve.utils import WorkerSetupStatus

_STATES: tuple[str, ...] = ("starting", "ready", "error", "finished")
"""The values of LitServe's WorkerSetupStatus."""

_LOAD_S = 600.0
"""Longest that a model may take to load."""


class _Fields(ctypes.Structure):
    _fields_ = (
        ("state", ctypes.c_int),
        ("generation", ctypes.c_uint64),
        ("heartbeat", ctypes.c_double),
        ("is_stopping", ctypes.c_bool),
        ("n_batch", ctypes.c_uint64),
        ("n_lost", ctypes.c_uint64),
        ("failure", ctypes.c_char * 1000),
    )


class ModelStatus:
    """Written by the process that the value is about, read by all; no locks, one writer per value.

    LitServe reports here as well: this stands in place of its ``workers_setup_status``, a dict in a
    manager process, for the one model process that there is.

    Args:
        max_batch_size: requests in one batch at most.
        stuck_after_s: without a heartbeat for this long, the model process counts as stuck.
    """

    def __init__(self, max_batch_size: int, stuck_after_s: float) -> None:
        context = get_context("spawn")
        self.stuck_after_s = stuck_after_s
        self._fields = context.RawValue(_Fields)
        self.beat()
        self._batch = context.RawArray(ctypes.c_uint64, max_batch_size)
        self._lost = context.RawArray(ctypes.c_uint64, max_batch_size)

    # --- what LitServe calls ----------------------------------------------------------

    def __bool__(self) -> bool:
        """LitServe reports nothing to an empty dict."""
        return True

    def __setitem__(self, worker: str, state: str) -> None:
        self._fields.heartbeat = time.monotonic()
        self._fields.state = _STATES.index(state)

    def values(self) -> list[str]:
        """The states of all model processes."""
        return [self.state]

    # --- the model process ------------------------------------------------------------

    def beat(self) -> None:
        """Say that the process is alive: at every step of a batch, and every second without one."""
        self._fields.heartbeat = time.monotonic()

    def begin_batch(self, uids: Sequence[int]) -> None:
        """Note what is lost if the process dies now."""
        for i, uid in enumerate(uids):
            self._batch[i] = uid
        self._fields.n_batch = len(uids)
        self.beat()

    def end_batch(self) -> None:
        """Nothing is lost any more."""
        self._fields.n_batch = 0
        self.beat()

    def fail(self, reason: str) -> None:
        """Note in one line why the model does not load."""
        self._fields.failure = " ".join(reason.split()).encode("utf-8", "replace")[:999]

    # --- the main process -------------------------------------------------------------

    def next_generation(self) -> None:
        """The model process is dead; its successor starts. What it worked on becomes ``lost``."""
        self._fields.state = _STATES.index(WorkerSetupStatus.STARTING)
        n = int(self._fields.n_batch)
        for i in range(n):
            self._lost[i] = self._batch[i]
        self._fields.n_lost, self._fields.n_batch = n, 0
        self._fields.failure = b""
        self.beat()
        self._fields.generation += 1  # last: who sees the new number sees the rest

    def stop(self) -> None:
        """The server is going to stop: send no more requests."""
        self._fields.is_stopping = True

    # --- everybody --------------------------------------------------------------------

    @property
    def state(self) -> str:
        """As LitServe has it: starting, ready, error or finished."""
        return _STATES[self._fields.state]

    @property
    def generation(self) -> int:
        """How many model processes there have been before this one."""
        return int(self._fields.generation)

    @property
    def lost(self) -> set[int]:
        """The uids that the previous model process was working on when it died."""
        return set(self._lost[: self._fields.n_lost])

    @property
    def failure(self) -> str:
        """Why the model did not load; empty where that is unknown."""
        return bytes(self._fields.failure).decode("utf-8", "replace")

    @property
    def is_stuck(self) -> bool:
        """A step of a batch that does not end, a process that does not run, or a model that does not load."""
        patience_s = self.stuck_after_s if self.state == WorkerSetupStatus.READY else max(self.stuck_after_s, _LOAD_S)
        return time.monotonic() - self._fields.heartbeat > patience_s

    @property
    def readiness(self) -> str:
        """``ready``, or why not: ``stopping``, ``stuck``, ``starting``, ``error``."""
        if self._fields.is_stopping:
            return "stopping"
        return "stuck" if self.is_stuck else self.state
