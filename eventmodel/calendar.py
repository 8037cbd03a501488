"""Wall-clock dates from the ids of a datetime: month, day, hour + 1 and minute + 1, and no year."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import numpy as np

DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""The most that any year has."""

MONTHS = range(1, 13)

_HALF_A_YEAR = timedelta(days=182)
"""Of two years' readings with the same ids only one is as near as that."""

_SINCE_THE_FIRST = (timedelta(0), *map(timedelta, range(31)))
"""Of a month, by day."""

_DAYS = 8 * 366
"""Every date that exists comes within 8 years, 29 February around a year like 2100 included."""


def datetime_ids(wall: datetime) -> tuple[int, int, int, int]:
    """Ids of the month, day, hour and minute of a wall-clock reading."""
    return wall.month, wall.day, wall.hour + 1, wall.minute + 1


def keep_to_calendar(months: np.ndarray, days: np.ndarray) -> bool:
    """Rule out, in place, the allowed months that have no allowed day, and days that no allowed month has.

    Args:
        months, days: masks (bool) over the ids; where id 0, unknown, is allowed, so is every date.

    Returns:
        Whether any is left.
    """
    last = np.array(DAYS_IN_MONTH)
    if not days[0]:
        months[1:] &= last >= days.argmax()
    if not months[0] and months.any():
        days[1:] &= np.arange(1, len(days)) <= last[months[1:]].max()
    return bool(months.any() and days.any())


def nearest_wall(near: datetime, month: int, day: int, hour: int, minute: int) -> datetime | None:
    """The wall-clock reading with these ids that lies nearest to ``near``; None if no year has it.

    An unknown hour or minute (id 0) is read as 0, and 29 February of a year that has none as the day after the 28th:
    who learned in a leap year expects it, and means tomorrow.
    """
    if not month or not 0 < day <= DAYS_IN_MONTH[month - 1]:
        return None
    wall = _of_year(near.year, month, day, hour, minute)
    if abs(wall - near) <= _HALF_A_YEAR:
        return wall
    other = _of_year(near.year + (1 if wall < near else -1), month, day, hour, minute)
    return min(wall, other, key=lambda wall: abs(wall - near))


def _of_year(year: int, month: int, day: int, hour: int, minute: int) -> datetime:
    # not the first and the last year of the calendar: in another zone they may lie outside of it
    year = min(max(year, 2), 9998)
    return datetime(year, month, 1, max(hour - 1, 0), max(minute - 1, 0)) + _SINCE_THE_FIRST[day]


def last_day(month: int, near: datetime) -> int:
    """Of the month that lies nearest; 31 where it is unknown (id 0)."""
    if month == 2:
        nearest = nearest_wall(near, 2, 29, 0, 0)
        return 29 if nearest is not None and nearest.month == 2 else 28
    return DAYS_IN_MONTH[month - 1] if month else 31


def next_wall(
    near: datetime, month: int, day: int, hour: int, minute: int, is_believed: bool = True
) -> datetime | None:
    """The reading with these ids that a clock most likely shows from ``near`` on; None if unlikely.

    That is the nearest one, unless it has passed or its month is not to be believed: then the month is at
    fault if the nearest such day of any month lies ahead (on the 31st, "the 1st of this month" is tomorrow).
    """
    nearest = nearest_wall(near, month, day, hour, minute) if is_believed else None
    if nearest is None or nearest < near:
        # two months to either side: on 1 March the 31st of January is nearer than that of March
        around = (divmod(12 * near.year + near.month - 1 + k, 12) for k in range(-2, 3))
        of_any = [_of_year(y, m + 1, day, hour, minute) for y, m in around if 0 < day <= DAYS_IN_MONTH[m]]
        nearest = min(of_any, key=lambda wall: (abs(wall - near), wall < near), default=None)
    return nearest if nearest is not None and nearest >= near else None


def first_wall(from_: datetime, allowed: Sequence[np.ndarray]) -> datetime | None:
    """The first reading from ``from_`` on whose ids are all allowed; None if no calendar has one.

    Args:
        allowed: of month, day, hour and minute, a mask (bool) over the ids.
    """
    if all(mask[id_] for mask, id_ in zip(allowed, datetime_ids(from_), strict=True)):
        return from_
    months, days, hours, minutes = allowed
    times = [(h - 1, m - 1) for h in np.flatnonzero(hours[1:]) + 1 for m in np.flatnonzero(minutes[1:]) + 1]
    day = from_.replace(hour=0, minute=0, second=0, microsecond=0)
    for _ in range(_DAYS):
        if months[day.month] and days[day.day]:
            for hour, minute in times:
                wall = day.replace(hour=int(hour), minute=int(minute))
                if from_ - wall < timedelta(minutes=1):  # the minute that is running counts
                    return max(wall, from_)
        if day.date() == date.max:
            return None
        day += timedelta(days=1)
    return None
