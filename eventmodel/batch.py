"""What the network reads, as arrays (or tensors of the same shapes).

Training and serving fill the same structures. B samples, C categories, P focus events that
the decoder reads, T target events, S slots of the memory.

Slots have fixed places: ``max_entities`` of the first stream, then of the second, and so on;
the focus is the first slot of the focus stream.
"""

from typing import Any, NamedTuple

Array = Any
"""A numpy array when batches are made, a torch tensor when the network reads them."""


class StreamBatch(NamedTuple):
    """Histories of one stream kind, right-padded. E entities, L events at most."""

    ids: Array  # (E, L, C) int32; 0 = unknown or padding
    gap: Array  # (E, L)    int32; bucket of the seconds since the previous event of the history
    weekday: Array  # (E, L) int32; 0 = padding
    length: Array  # (E,)   int64; number of real events, 0 = no history


class Reads(NamedTuple):
    """The states of one stream kind that samples read: several nows may read one history, each at its own moment."""

    history: Array  # (N,) int64; which of the E histories
    length: Array  # (N,) int64; its events up to now, 0 = none


class MemoryBatch(NamedTuple):
    """Which states the decoder sees, beside its own learned null slot."""

    place: Array  # (B, S) int64; 1 + the state's place among those of all kinds in order; 0 = empty slot
    vocabulary_id: Array  # (B, S) int32; the entity itself, 0 = unknown
    gap: Array  # (B, S)   int32; bucket of the seconds from the entity's last event to now


class SequenceBatch(NamedTuple):
    """The decoder's sequence: P events of the focus (left-padded), NOW, then future events.

    Q = P + 1 + the number of future events that are read. At NOW, ``ids`` are 0, ``gap`` is
    the time since the focus's last event, and ``weekday`` that of now.
    """

    ids: Array  # (B, Q, C) int32
    gap: Array  # (B, Q)    int32
    weekday: Array  # (B, Q) int32
    is_token: Array  # (B, Q) bool; True = a real event or NOW
    now_hour: Array  # (B,) int32; 0 to 23


class Batch(NamedTuple):
    """B samples: a focus and a now each."""

    streams: tuple[StreamBatch, ...]  # in the schema's order
    reads: tuple[Reads, ...]  # in the schema's order
    memory: MemoryBatch
    sequence: SequenceBatch


class Targets(NamedTuple):
    """The next T events of each sample's focus, and what their probability is computed from."""

    ids: Array  # (B, T, C) int64
    is_target: Array  # (B, T) bool; False = the focus has no such event in this part of the log
    context_ids: Array  # (B, T, C) int64; ``ids`` as the chain's context shows them
    source_ids: Array  # (B, Q, C) int32; the sequence's ids as copying copies them
    in_chain: Array  # (B,) bool; True = the heads see the event's earlier categories
