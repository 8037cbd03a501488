"""Dates from ids that carry no year."""

from datetime import datetime

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventmodel.calendar import datetime_ids, first_wall, last_day, nearest_wall, next_wall


def test_the_year_of_a_decoded_datetime_is_the_nearest_one():
    assert nearest_wall(datetime(2025, 12, 31, 23), 1, 1, 9, 1) == datetime(2026, 1, 1, 8)


def test_the_29th_of_february_is_the_day_after_the_28th():
    assert nearest_wall(datetime(2026, 2, 28), 2, 29, 1, 1) == datetime(2026, 3, 1)
    assert nearest_wall(datetime(2028, 2, 28), 2, 29, 1, 1) == datetime(2028, 2, 29)


@pytest.mark.parametrize(("near", "last"), [("2026-02-27", 28), ("2027-12-30", 29), ("2027-01-30", 28)])
def test_the_last_day_of_february_is_that_of_the_nearest_one(near: str, last: int) -> None:
    assert last_day(2, datetime.fromisoformat(near)) == last


def test_a_date_that_no_year_has_is_unknown():
    assert nearest_wall(datetime(2026, 2, 28), 2, 30, 1, 1) is None


def masks(month: object = None, day: object = None, hour: object = None, minute: object = None) -> list[np.ndarray]:
    """Masks over the ids of a datetime that allow only these ids; None allows all."""
    result = []
    for ids, size in ((month, 13), (day, 32), (hour, 25), (minute, 61)):
        mask = np.full(size, ids is None)
        if ids is not None:
            mask[ids] = True
        result.append(mask)
    return result


@pytest.mark.parametrize(
    ("now", "ids", "expected"),
    [
        ("2026-01-29 12:00", (1, 29, 14, 31), "2026-01-29 13:30"),
        ("2025-12-31 12:00", (1, 1, 9, 1), "2026-01-01 08:00"),
        ("2026-10-31 17:46", (10, 1, 7, 16), "2026-11-01 06:15"),  # the month has turned
        ("2026-01-29 12:00", (2, 30, 9, 1), "2026-01-30 08:00"),  # no such day: of this month
    ],
)
def test_the_next_date_with_these_ids_is_found(now: str, ids: tuple[int, int, int, int], expected: str) -> None:
    assert next_wall(datetime.fromisoformat(now), *ids) == datetime.fromisoformat(expected)


@given(st.datetimes(datetime(2023, 1, 1), datetime(2029, 1, 1)), st.sampled_from([30, 31]), st.integers(1, 24))
@example(datetime(2023, 3, 1), 31, 1)  # the nearest has passed, two months ago
@example(datetime(2023, 1, 15, 12), 31, 1)  # as far from December's as from January's: the one to come
def test_where_the_month_lacks_the_day_the_nearest_such_day_of_any_month_is_meant(
    near: datetime, day: int, hour: int
) -> None:
    of_any = [wall for month in range(1, 13) if (wall := nearest_wall(near, month, day, hour, 1)) is not None]
    nearest = min(of_any, key=lambda wall: (abs(wall - near), wall < near))
    assert next_wall(near, 2, day, hour, 1) == (nearest if nearest >= near else None)


def test_a_date_that_has_just_passed_has_no_next() -> None:
    assert next_wall(datetime(2026, 1, 29, 12), 1, 29, 12, 1) is None
    assert next_wall(datetime(2026, 1, 15, 12), 1, 14, 12, 1) is None


def test_where_all_is_allowed_the_first_date_is_now() -> None:
    now = datetime(2026, 1, 29, 12, 3, 27)
    assert first_wall(now, masks()) == now


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (masks(hour=[9]), "2026-01-30 08:00"),
        (masks(hour=[13], minute=[31]), "2026-01-29 12:30"),
        (masks(month=[2], day=[29]), "2028-02-29 00:00"),
        (masks(day=[31], minute=[1]), "2026-01-31 00:00"),
    ],
)
def test_the_first_date_that_is_allowed_is_found(allowed: list[np.ndarray], expected: str) -> None:
    assert first_wall(datetime(2026, 1, 29, 12, 3), allowed) == datetime.fromisoformat(expected)


def test_no_date_is_found_where_no_calendar_has_one() -> None:
    assert first_wall(datetime(2026, 1, 29), masks(month=[2], day=[30])) is None


def test_no_date_is_sought_beyond_the_end_of_the_calendar() -> None:
    assert first_wall(datetime(9999, 12, 31, 10), masks(month=[1])) is None
    assert first_wall(datetime(9999, 12, 31, 23, 59), masks(month=[12])) == datetime(9999, 12, 31, 23, 59)


def test_ids_of_a_date_are_its_month_and_day_and_one_above_hour_and_minute() -> None:
    assert datetime_ids(datetime(2026, 3, 4, 5, 6)) == (3, 4, 6, 7)
