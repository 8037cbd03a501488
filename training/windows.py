"""Windows of histories that several nows share.

A stream encoder is causal: one pass over a window of an entity's events gives its state at every
moment in it. So samples whose nows lie close together read one window where they would read one
each, and each reads it at its own now.
"""

from typing import NamedTuple

import numpy as np

from eventmodel.batch import Reads


class Windows(NamedTuple):
    """W windows of entities' histories, by position."""

    first: np.ndarray  # (W,) int64: the first of the nows that read each
    end: np.ndarray  # (W,) int64, exclusive
    length: np.ndarray  # (W,) int64


def own_windows(start: np.ndarray, end: np.ndarray, width: int) -> tuple[Windows, np.ndarray]:
    """One window per now; arguments and result as in ``shared_windows``."""
    every = np.arange(len(end))
    return Windows(every, end, np.minimum(end - start, width)), every


def shared_windows(
    group: np.ndarray, entity: np.ndarray, start: np.ndarray, end: np.ndarray, width: int
) -> tuple[Windows, np.ndarray]:
    """One window for all nows of a group that see the same entity at about the same time.

    A now sees at least half of the ``width`` events that a window of its own would show, and all of
    them if the entity has no more.

    Args:
        group: (N,) int64, of the sample that each now belongs to; windows are shared within a group.
        entity: (N,) int64.
        start: (N,) int64, position of the entity's first event.
        end: (N,) int64, position after its newest event up to now.
        width: events of a window.

    Returns:
        The windows, and which one each now reads (N,).
    """
    half = max(width // 2, 1)
    code = (group * (entity.max(initial=0) + 1) + entity) * (end.max(initial=0) // half + 1) + end // half
    _, first, history = np.unique(code, return_index=True, return_inverse=True)
    newest = np.zeros(len(first), np.int64)
    np.maximum.at(newest, history, end)
    return Windows(first, newest, np.minimum(newest - start[first], width)), history


def read_at(windows: Windows, history: np.ndarray, end: np.ndarray) -> Reads:
    """How much of its window each now sees, which may have been shortened meanwhile."""
    return Reads(history, np.maximum(windows.length[history] - (windows.end[history] - end), 0))
