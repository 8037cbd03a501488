"""Generated datetimes where clocks change: what is chosen, or allowed, is what clocks show."""

import numpy as np
import pytest

from eventmodel.codec import Codec
from eventmodel.engine.clock import Clock
from eventmodel.schema import Schema

EVERYTHING = {"month": 13, "day": 32, "hour": 25, "minute": 61}


@pytest.fixture
def codec(tiny_schema: Schema) -> Codec:
    schema = tiny_schema.model_copy(update={"time_zone": "Europe/Berlin"})
    return Codec(schema, dict.fromkeys(schema.vocabularies, ()))


def settled(codec: Codec, now: str, ids: tuple[int, int, int, int], **allowed: int) -> str:
    masks = []
    for part, size in EVERYTHING.items():
        mask = np.full(size, part not in allowed)
        if part in allowed:
            mask[allowed[part]] = True
        masks.append(mask)
    clock = Clock(codec, codec.moment(now).timestamp, masks, lambda now, month: True)
    return codec.iso(clock.settle(np.array(ids)))


def test_a_reading_that_clocks_show_twice_is_the_second_one_where_the_first_has_passed(codec: Codec) -> None:
    assert settled(codec, "2026-10-25T02:30:00+02:00", (10, 25, 3, 46)) == "2026-10-25T02:45:00+02:00"
    assert settled(codec, "2026-10-25T02:30:00+01:00", (10, 25, 3, 46)) == "2026-10-25T02:45:00+01:00"


def test_a_reading_that_has_passed_and_that_clocks_show_again_is_still_to_come(codec: Codec) -> None:
    assert settled(codec, "2026-10-25T02:50:00+02:00", (10, 25, 3, 11)) == "2026-10-25T02:10:00+01:00"
    assert settled(codec, "2026-10-25T02:50:00+02:00", (10, 25, 3, 56)) == "2026-10-25T02:55:00+02:00"
    assert (
        settled(codec, "2026-10-25T02:50:00+02:00", (10, 25, 2, 56)) == "2026-10-25T02:50:00+02:00"
    )  # passed: at once


def test_the_first_moment_allowed_may_be_a_reading_that_clocks_show_again(codec: Codec) -> None:
    found = settled(codec, "2026-10-25T02:50:00+02:00", (10, 25, 2, 1), minute=11)
    assert found == "2026-10-25T02:10:00+01:00"
    found = settled(codec, "2026-10-25T02:50:00+02:00", (10, 25, 2, 1), minute=53)
    assert found == "2026-10-25T02:52:00+02:00"


def test_what_is_allowed_holds_in_the_hour_that_clocks_show_twice(codec: Codec) -> None:
    found = settled(codec, "2026-10-25T02:30:00+01:00", (10, 25, 3, 31), hour=3, minute=46)
    assert found == "2026-10-25T02:45:00+01:00"


def test_what_is_allowed_holds_where_clocks_are_put_forward(codec: Codec) -> None:
    found = settled(codec, "2026-03-28T12:00:00+01:00", (3, 29, 3, 31), hour=3)
    assert found == "2026-03-30T02:00:00+02:00"


def test_a_reading_that_clocks_skip_is_the_first_moment_that_can_be(codec: Codec) -> None:
    assert settled(codec, "2026-03-28T12:00:00+01:00", (3, 29, 3, 31)) == "2026-03-28T12:00:00+01:00"
