"""ISO 8601 datetimes by the column: some hundred at the price of a few read one by one."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_FORM = "0000-00-00T00:00:00"
_BLANK = "0001-01-01T00:00:00"
_LOWEST = np.frombuffer(_FORM.encode(), np.uint8)
_SPAN = np.array([9 if character == "0" else 0 for character in _FORM], np.uint8)
# of the digits, in floats: those multiply as matrices many times faster
_WEIGHTS = np.zeros((len(_FORM), 6))
_WEIGHTS[range(4), 0] = 1000, 100, 10, 1
for _part, _at in enumerate((5, 8, 11, 14, 17), start=1):
    _WEIGHTS[[_at, _at + 1], _part] = 10, 1
_FIRST = np.array([1, 1, 1, 0, 0, 0])
_LAST = np.array([9999, 12, 31, 23, 59, 59])
_TO_IDS = np.array([0, 0, 1, 1])
_MICROSECONDS = np.array([3_600_000_000, 60_000_000, 1_000_000])
_DAY = 86_400_000_000


class Walls(NamedTuple):
    """Wall-clock readings without a zone, n of them."""

    ids: np.ndarray  # (n, 4) int64, as calendar.datetime_ids gives them; 0 where blank
    timestamp: np.ndarray  # (n,) int64, microseconds since 1970; of no meaning where blank


def read_walls(values: Sequence[object]) -> Walls | None:
    """Datetimes of the form 2026-01-29T08:00:00, None or empty text.

    Returns:
        None where a value is something else: another form of ISO 8601, or no datetime at all.
    """
    types = set(map(type, values))
    if not types <= {str, type(None)}:
        return None
    has_blanks = type(None) in types or "" in values
    texts: Sequence[str] = [value or _BLANK for value in values] if has_blanks else values  # type: ignore[assignment,misc]
    joined = "".join(texts)
    if not joined.isascii() or not set(map(len, texts)) <= {len(_FORM)}:
        return None
    # unsigned, so that what is below the lowest becomes large
    digits = np.frombuffer(joined.encode("ascii"), np.uint8).reshape(len(texts), len(_FORM)) - _LOWEST
    if (digits > _SPAN).any():
        return None
    parts = (digits @ _WEIGHTS).astype(np.int64)  # year, month, day, hour, minute, second
    if ((parts < _FIRST) | (parts > _LAST)).any():
        return None
    day = parts[:, 2]
    month = ((parts[:, 0] - 1970) * 12 + parts[:, 1] - 1).astype("datetime64[M]")
    days = month.astype("datetime64[D]").astype(np.int64) + day - 1
    if (day > 28).any() and (days >= (month + 1).astype("datetime64[D]").astype(np.int64)).any():
        return None  # 30 February
    ids = parts[:, 1:5] + _TO_IDS
    if has_blanks:
        ids[[not value for value in values]] = 0
    return Walls(ids, days * _DAY + parts[:, 3:] @ _MICROSECONDS)
