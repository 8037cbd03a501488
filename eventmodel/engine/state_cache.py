"""States by content: the same history of the same kind is encoded once.

A state is a pure function of the bundle, the stream kind and the events, so what is looked up is
a hash of the events. The least recently used states make room for new ones.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from eventmodel.codec import Events
from eventmodel.engine.backend import Backend, Native

ENTRY_BYTES = 256
"""What one state takes beside its vector: its digest, and its place in the order of use."""


def digest(stream: str, events: Events, start: int, end: int) -> bytes:
    """128 bits of one history: rows [start, end) of a table."""
    content = (stream.encode(), *(column[start:end].tobytes() for column in events))
    # SHA-256, because processors have instructions for it
    return hashlib.sha256(b"".join(content)).digest()[:16]


class StateCache:
    """The states that were used last, as many as fit into a number of bytes."""

    def __init__(self, backend: Backend, d_model: int, max_bytes: int) -> None:
        self.capacity = max_bytes // (4 * d_model + ENTRY_BYTES)
        self._backend, self._d_model = backend, d_model
        self._slot: OrderedDict[bytes, int] = OrderedDict()  # the least recently used one first
        self._states: Native = None

    def __len__(self) -> int:
        return len(self._slot)

    def find(self, digests: Sequence[bytes]) -> np.ndarray:
        """(n,) where each state stands, -1 where it is not here; those that are count as used."""
        slots = np.full(len(digests), -1)
        for i, key in enumerate(digests):
            slot = self._slot.get(key)
            if slot is not None:
                self._slot.move_to_end(key)
                slots[i] = slot
        return slots

    def get(self, slots: np.ndarray) -> Native:
        """States (n, D) at places that ``find`` gave, to be used before the next ``put``."""
        return self._states[slots]

    def put(self, digests: Sequence[bytes], states: Native) -> None:
        """Keep states (n, D) that are not here yet; where there are too many, the last ones."""
        keep = min(len(digests), self.capacity)
        if not keep:
            return
        if self._states is None:  # memory is taken as it is written to
            self._states = self._backend.zeros((self.capacity, self._d_model), states)
        slots = []
        for key in digests[len(digests) - keep :]:
            if len(self._slot) < self.capacity:
                slot = len(self._slot)
            else:
                _, slot = self._slot.popitem(last=False)
            self._slot[key] = slot
            slots.append(slot)
        self._states[np.array(slots)] = states[len(digests) - keep :]
