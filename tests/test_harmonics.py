"""Ordered ids: circles, lines, and the time of day."""

import numpy as np
import pytest
import torch

from eventmodel.harmonics import OrderedRows, TimeOfDay, harmonics
from eventmodel.schema import Category

HOUR = Category("Time_Event_Hour", "EventDatetime", "datetime", "Hour", None)
MINUTE = Category("Time_Event_Minute", "EventDatetime", "datetime", "Minute", None)
NUMBER = Category("Distance", "Distance", "number", None, None)
NAME = Category("Site", "Site", "id", None, "sites")
D_MODEL = 7


def distance(features: np.ndarray, a: int, b: int) -> float:
    return float(np.linalg.norm(features[a] - features[b]))


@pytest.mark.parametrize(("category", "size"), [(HOUR, 25), (MINUTE, 61), (NUMBER, 12), (NUMBER, 3)])
def test_known_ids_have_features_of_length_one_on_average_and_the_unknown_one_none(
    category: Category, size: int
) -> None:
    features = harmonics(category, size)
    assert (features[1:] ** 2).sum(1).mean() == pytest.approx(1, rel=1e-5)
    assert not features[0].any()


def test_ids_of_a_datetime_stand_on_a_circle() -> None:
    features = harmonics(HOUR, 25)
    step = distance(features, 1, 2)
    assert distance(features, 24, 1) == pytest.approx(step, rel=1e-5)
    assert distance(features, 13, 1) > step


def test_buckets_of_a_number_stand_on_a_line() -> None:
    features = harmonics(NUMBER, 12)
    assert distance(features, 11, 1) > distance(features, 6, 1) > distance(features, 2, 1)


@pytest.mark.parametrize("size", [1, 2])
def test_too_few_ids_have_no_order(size: int) -> None:
    assert not harmonics(NUMBER, size).any()


def test_only_rows_with_an_order_are_changed() -> None:
    sizes, starts = (5, 12), (0, 5)
    rows = OrderedRows(D_MODEL, (NAME, NUMBER), sizes, starts, std=1.0)
    table = torch.randn(17, D_MODEL)
    is_same = (rows(table) == table).all(1)
    assert is_same.tolist() == [True] * 6 + [False] * 11  # the names, and the number's unknown id


def time_of_day(hour: int, minute: int) -> torch.Tensor:
    torch.manual_seed(0)
    return TimeOfDay(D_MODEL, (NAME, HOUR, MINUTE), std=1.0)(torch.tensor([3, hour, minute]))


def test_midnight_is_a_minute_after_the_last_of_the_day() -> None:
    clock = TimeOfDay(D_MODEL, (NAME, HOUR, MINUTE), std=1.0)
    with torch.no_grad():
        clock.map = torch.nn.Identity()  # what is mapped, where distances are the clock's own
        last, midnight, next_one = (clock(torch.tensor([3, *time])) for time in ((24, 60), (1, 1), (1, 2)))
    torch.testing.assert_close((last - midnight).norm(), (midnight - next_one).norm(), rtol=1e-5, atol=0)
    assert (last - next_one).norm() > (midnight - next_one).norm()


@pytest.mark.parametrize(("hour", "minute"), [(0, 5), (5, 0), (0, 0)])
def test_a_time_of_day_that_is_not_known_adds_nothing(hour: int, minute: int) -> None:
    assert not time_of_day(hour, minute).any()
