"""Which events the oracle scores, and what came before each of them."""

from typing import NamedTuple

import numpy as np

from training.simulation.history import BREAK, CALL, HOME, WORK, Events, State, advance, blank
from training.simulation.ids import Vocabularies
from training.simulation.population import CODES_PER_SITE, DAY, Population

REACH = np.empty(4, np.int64)
"""By phase: no next event is as far away as this, in minutes."""
REACH[[HOME, CALL, WORK, BREAK]] = 8 * DAY, DAY, DAY, DAY


class Coverage(NamedTuple):
    """Events of the test part that are scored."""

    rows: np.ndarray  # (n,) of the log, increasing
    state: State  # of each one's person, before it
    left_out: dict[str, int]
    """Events of the test part that are not, by reason (the first that holds)."""


def cover(people: Population, events: Events, vocabularies: Vocabularies, test_start: int, days: int) -> Coverage:
    """Choose the events to score, by what was known before each of them and never by the event itself.

    An event of the test part is scored if the person's event before it is in the test part too and
    at least ``REACH`` before the end of the log, and the training part knows the person and all that
    the person's usual events name.
    """
    test = np.arange(test_start, len(events.time))
    rows = test[previous_rows(events)[test] >= test_start]
    left_out = {"the person's event before it is not in the test part": len(test) - len(rows)}
    state = states_before(people, events, rows)
    kept = state.now + REACH[state.phase] <= days * DAY
    left_out["the person's event before it is too near to the end of the log"] = int((~kept).sum())
    known = is_known(people, vocabularies, state, events.employee[rows])
    left_out["the training part does not know the person, or what the person's events name"] = int(
        (kept & ~known).sum()
    )
    kept &= known
    return Coverage(rows[kept], state.take(np.flatnonzero(kept)), left_out)


def previous_rows(events: Events) -> np.ndarray:
    """(n,) the row of the same person's event before, -1 where there is none."""
    order = np.argsort(events.employee, kind="stable")
    follows = events.employee[order[1:]] == events.employee[order[:-1]]
    result = np.full(len(order), -1)
    result[order[1:][follows]] = order[:-1][follows]
    return result


def states_before(people: Population, events: Events, rows: np.ndarray) -> State:
    """Replay the recorded events up to each of these rows, which increase."""
    place = np.full(len(events.time), -1)
    place[rows] = np.arange(len(rows))
    order = np.argsort(events.employee, kind="stable")
    count = np.bincount(events.employee, minlength=len(people))
    start = np.cumsum(count) - count
    employee = np.flatnonzero(count)
    state = blank(people, employee)
    columns = np.empty((len(State._fields), len(rows)), np.int64)
    step = 0
    while len(employee):
        now = order[start[employee] + step]
        at = place[now]
        columns[:, at[at >= 0]] = np.stack(state.take(np.flatnonzero(at >= 0)))
        state = advance(state, events.take(now), people)
        step += 1
        goes_on = np.flatnonzero(count[employee] > step)
        employee, state = employee[goes_on], state.take(goes_on)
    return State(*columns)


def is_known(people: Population, vocabularies: Vocabularies, state: State, employee: np.ndarray) -> np.ndarray:
    """(n,) bool: whether the vocabularies hold all that the next event's distribution goes by."""
    home, loan = people.home[employee], people.loan[employee]
    # an anomaly may have brought a person to any site
    sites = np.stack((home, loan, state.out_site, state.site), 1)
    managers = np.concatenate((people.manager(sites), people.manager(sites + 1)), 1)
    own_codes = home[:, None] * CODES_PER_SITE + np.arange(CODES_PER_SITE)
    named = (
        (vocabularies.people, employee[:, None]),
        (vocabularies.people, managers),
        (vocabularies.sites, sites),
        (vocabularies.codes, own_codes),
        (vocabularies.codes, loan[:, None] * CODES_PER_SITE),
        (vocabularies.jobs, people.jobs[employee]),
    )
    known = [(values.id_of[value] > 0).all(1) for values, value in named]
    return np.logical_and.reduce(known)
