"""ISO 8601 datetimes by the column: some hundred at the price of a few read one by one."""

from collections.abc import Sequence
from operator import truth
from typing import NamedTuple, cast

import numpy as np

_FORM = "0000-00-00T00:00:00"
_LOWEST = np.frombuffer(_FORM.encode(), np.uint8)
_SPAN = np.array([9 if character == "0" else 0 for character in _FORM], np.uint8)
_TENS = np.array([0, 2, 5, 8, 11, 14, 17])  # of century, year, month, day, hour, minute, second
_FIRST = np.array([1, 1, 1, 0, 0, 0])
_LAST = np.array([9999, 12, 31, 23, 59, 59])
_TO_IDS = np.array([0, 0, 1, 1])
_MICROSECONDS = np.array([3_600_000_000, 60_000_000, 1_000_000])
_DAY = 86_400_000_000


class Walls(NamedTuple):
    """Wall-clock readings without a zone, n of them."""

    ids: np.ndarray  # (n, 4) int64, as calendar.datetime_ids gives them; 0 where blank
    timestamp: np.ndarray  # (n,) int64, microseconds since 1970; 0 where blank


def read_walls(values: Sequence[object]) -> Walls | None:
    """Datetimes of the form 2026-01-29T08:00:00, None or empty text.

    Returns:
        None where a value is something else: another form of ISO 8601, or no datetime at all.
    """
    if not set(map(type, values)) <= {str, type(None)}:
        return None
    texts = list(filter(None, values))
    joined = "".join(cast("list[str]", texts))
    if not joined.isascii() or not set(map(len, cast("list[str]", texts))) <= {len(_FORM)}:
        return None
    # unsigned, so that what is below the lowest becomes large
    digits = np.frombuffer(joined.encode("ascii"), np.uint8).reshape(len(texts), len(_FORM)) - _LOWEST
    if (digits > _SPAN).any():
        return None
    pairs = digits[:, _TENS] * np.uint8(10) + digits[:, _TENS + 1]
    parts = pairs[:, 1:].astype(np.int64)  # year, month, day, hour, minute, second
    parts[:, 0] += pairs[:, 0].astype(np.int64) * 100
    if ((parts < _FIRST) | (parts > _LAST)).any():
        return None
    day = parts[:, 2]
    month = ((parts[:, 0] - 1970) * 12 + parts[:, 1] - 1).astype("datetime64[M]")
    days = month.astype("datetime64[D]").astype(np.int64) + day - 1
    if (day > 28).any() and (days >= (month + 1).astype("datetime64[D]").astype(np.int64)).any():
        return None  # 30 February
    ids, timestamp = parts[:, 1:5] + _TO_IDS, days * _DAY + parts[:, 3:] @ _MICROSECONDS
    if len(texts) == len(values):
        return Walls(ids, timestamp)
    is_given = np.fromiter(map(truth, values), bool, len(values))
    walls = Walls(np.zeros((len(values), 4), np.int64), np.zeros(len(values), np.int64))
    walls.ids[is_given], walls.timestamp[is_given] = ids, timestamp
    return walls
