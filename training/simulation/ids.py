"""Events as the ids that a prepared log holds: the oracle scores these.

Values that the training part shows less than twice share the id 0 with blanks. Which number a
known value gets does not matter to a probability, only which values are the same.
"""

from datetime import date
from typing import NamedTuple

import numpy as np

from eventmodel.schema import NumberField, load_schema
from training.preparation.vocabularies import LEAST_COUNT
from training.simulation.history import Events
from training.simulation.population import CODES_PER_SITE, DAY, JOBS, Population

SCHEMA = load_schema("workforce")
CATEGORIES = tuple(category.name for category in SCHEMA.categories)
FIRST_DAY = date(2024, 1, 1)
"""Day 0, a Monday."""
_HOURS = SCHEMA.field_by_name["HoursWorked"]
assert isinstance(_HOURS, NumberField)
BUCKET = 15
"""Minutes; the schema's buckets of hours worked are equally wide."""
assert all(edge * 60 == BUCKET * i for i, edge in enumerate(_HOURS.edges, start=1))
_N_EDGES = len(_HOURS.edges)


class Values(NamedTuple):
    """The values of one vocabulary, and the ids that they have."""

    id_of: np.ndarray  # (n + 1,) int64; the last one is that of a blank, so that -1 finds it
    n_with: np.ndarray  # (n + 1,) int64: values with each id

    @classmethod
    def learn(cls, n: int, *columns: np.ndarray) -> "Values":
        """Known are the values that these columns hold at least twice."""
        seen = np.bincount(np.concatenate(columns) + 1, minlength=n + 1)[1:]
        id_of = np.append(np.where(seen >= LEAST_COUNT, np.arange(n) + 1, 0), 0)
        return cls(id_of, np.bincount(id_of[:-1], minlength=n + 1))

    def equal(self, value: np.ndarray, id_: np.ndarray) -> np.ndarray:
        """1.0 where the value has the id."""
        return (self.id_of[value] == id_).astype(np.float64)

    def other(self, value: np.ndarray, id_: np.ndarray) -> np.ndarray:
        """The probability that a value drawn uniformly from all others has the id."""
        is_value = value >= 0
        fitting = self.n_with[id_] - (is_value & (self.id_of[value] == id_))
        return fitting / (len(self.id_of) - 1 - is_value)


class Vocabularies(NamedTuple):
    """Those of the schema."""

    people: Values
    sites: Values
    codes: Values
    jobs: Values

    @classmethod
    def learn(cls, people: Population, training: Events) -> "Vocabularies":
        """From the events of the training part."""
        return cls(
            Values.learn(len(people) + people.sites, training.actor, training.recipient, training.approver),
            Values.learn(people.sites, training.location),
            Values.learn(people.sites * CODES_PER_SITE, training.cost),
            Values.learn(JOBS, training.job),
        )


_DATES = np.datetime64(FIRST_DAY, "D") + np.arange(100 * 366)
_MONTH = (_DATES.astype("datetime64[M]").astype(np.int64) % 12 + 1).astype(np.int32)
_DAY = ((_DATES - _DATES.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1).astype(np.int32)


def month_id(time: np.ndarray) -> np.ndarray:
    """Of minutes since the first day; 0 where there are none (-1), as in the next three."""
    return np.where(time >= 0, _MONTH[time // DAY], 0)


def day_id(time: np.ndarray) -> np.ndarray:
    """Of the month."""
    return np.where(time >= 0, _DAY[time // DAY], 0)


def hour_id(time: np.ndarray) -> np.ndarray:
    """One above the hour."""
    return np.where(time >= 0, time // 60 - time // DAY * 24 + 1, 0)  # numpy divides faster than it takes remainders


def minute_id(time: np.ndarray) -> np.ndarray:
    """One above the minute."""
    return np.where(time >= 0, time - time // 60 * 60 + 1, 0)


DATETIME_IDS = (month_id, day_id, hour_id, minute_id)


def hours_id(minutes: np.ndarray) -> np.ndarray:
    """Of hours worked, given in minutes."""
    return np.where(minutes >= 0, np.minimum(minutes // BUCKET, _N_EDGES) + 1, 0)


def event_ids(events: Events, vocabularies: Vocabularies) -> np.ndarray:
    """(n, C) ids in the order of the schema's categories."""
    people, sites, codes, jobs = (values.id_of for values in vocabularies)
    columns = (
        events.type,
        people[events.actor],
        people[events.recipient],
        people[events.approver],
        sites[events.location],
        codes[events.cost],
        jobs[events.job],
        events.sheet,
        hours_id(events.hours),
        *(id_of(events.time) for id_of in DATETIME_IDS),
        *(id_of(events.reference) for id_of in DATETIME_IDS),
    )
    return np.stack(columns, 1)
