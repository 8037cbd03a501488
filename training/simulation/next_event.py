"""The distribution of a person's next event, given their state: the one that is drawn from and scored.

When and what comes from clocks that race (``moments``); who, where and charged to what depends on
what happens, not on when (``attributes``), but for the job, which goes by weekend.

Shapes: B people, K moments, A alternatives.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from training.simulation.clocks import Clock, race, shaped
from training.simulation.history import (
    ABSENCE,
    APPROVAL,
    BREAK,
    BREAK_END,
    BREAK_START,
    CALL,
    CORRECTION,
    HOME,
    NONE,
    PUNCH_IN,
    PUNCH_OUT,
    SCHEDULE,
    TRANSFER,
    WORK,
    State,
)
from training.simulation.population import (
    ABSENCE_RATE,
    BREAK_AFTER,
    BREAK_LENGTH,
    CANDIDATES,
    CODES_PER_SITE,
    DAY,
    DAYS_UNTIL,
    LATE_AFTER,
    LATENESS,
    LATENESS_FROM,
    LENGTH,
    LOAN_RATE,
    NEXT_DAY,
    OVERTIME,
    OVERTIME_FROM,
    START,
    STINT,
    Population,
    peaked,
)

SHIFT_KINDS = 2
CALL_IN = 20
"""Absences are called in 35 to 16 minutes before the scheduled start."""
BREAK_SPREAD = peaked(-30, 30, 0, 0.9, 0.9)
BREAK_END_SPREAD = peaked(-4, 10, 0, 0.4, 0.6)
STINT_SPREAD = peaked(-30, 30, 0, 0.9, 0.9)
MAX_TRANSFERS = 2
APPROVAL_SPREAD = peaked(0, 30, 0, 0.5, 0.85)
NEVER_APPROVED = 0.08
ANNOUNCED_AFTER = 30
ANNOUNCED_SPREAD = peaked(0, 30, 5, 0.7, 0.85)
CORRECTED = np.array([0.02, 0.4])
"""Probability that the manager corrects rather than approves: hours as punched, hours adjusted."""
CORRECTIONS = np.array([-15, 15, 30])
CORRECTION_SHARES = np.array([0.3, 0.5, 0.2])


class Moments(NamedTuple):
    """What may happen next and when, all alternatives of B people in one phase."""

    type: np.ndarray  # (K,)
    weight: np.ndarray  # (B, K): probabilities; each row sums to 1
    time: np.ndarray  # (B, K)
    reference: np.ndarray  # (B, K)
    hours: np.ndarray  # (B, K) minutes
    is_weekend: np.ndarray  # (B, K) bool: of the shift's day; False where nothing goes by it


class Attributes(NamedTuple):
    """The rest of an event of one type: A alternatives; independently a job and a timesheet."""

    share: np.ndarray  # (B, A): probabilities of the alternatives
    actor: np.ndarray  # (B, A)
    recipient: np.ndarray
    approver: np.ndarray
    location: np.ndarray
    cost: np.ndarray
    job: np.ndarray  # (B, 2): two jobs
    job_share: np.ndarray  # (B, 2, 2): their probabilities, by weekend
    sheet_share: np.ndarray  # (B, 3): probabilities of FALSE, TRUE, ADJUSTED


TYPES = {
    HOME: (PUNCH_IN, ABSENCE, APPROVAL, CORRECTION),
    CALL: (SCHEDULE, APPROVAL, CORRECTION),
    WORK: (BREAK_START, TRANSFER, PUNCH_OUT, APPROVAL, CORRECTION),
    BREAK: (BREAK_END, APPROVAL, CORRECTION),
}
"""What can happen, by phase."""


class Part(NamedTuple):
    """One clock and what it brings; each minute may have several outcomes (last axis, O)."""

    clock: Clock
    type: np.ndarray  # (W * K, O)
    share: np.ndarray  # (B or 1, 1, O): of the outcomes
    reference: np.ndarray  # broadcasts to (B, W * K, O), like the others
    hours: np.ndarray
    is_weekend: np.ndarray


def parts(phase: int, state: State, people: Population, employee: np.ndarray) -> tuple[Part, ...]:
    """The clocks that race from now on; arguments as in ``moments``."""
    return (*_OWN[phase](state, people, employee), _manager(state, people))


def moments(phase: int, state: State, people: Population, employee: np.ndarray) -> Moments:
    """What may happen next, and when.

    Args:
        phase: the phase that all the people are in.
        employee: (B,) who they are.
    """
    found = parts(phase, state, people, employee)
    weights = race([part.clock for part in found])
    columns = []
    for part, weight in zip(found, weights, strict=True):
        shape = (*weight.shape, part.type.shape[-1])
        time = part.clock.times.reshape(*weight.shape, 1)
        of_outcome = (weight[..., None] * part.share, time, part.reference, part.hours, part.is_weekend)
        columns.append([np.broadcast_to(column, shape).reshape(len(weight), -1) for column in of_outcome])
    joined = (np.concatenate(column, 1) for column in zip(*columns, strict=True))
    return Moments(np.concatenate([part.type.ravel() for part in found]), *joined)


def _simple(clock: Clock, type_: int, reference: np.ndarray, hours: np.ndarray | None = None) -> Part:
    """A clock of one window with one outcome; reference (B,), hours (B, K)."""
    return Part(
        clock,
        np.full((clock.pmf.shape[-1], 1), type_),
        np.ones((1, 1, 1)),
        reference[:, None, None],
        np.full((1, 1, 1), NONE) if hours is None else hours[..., None],
        np.zeros((1, 1, 1), bool),
    )


def _at_home(state: State, people: Population, employee: np.ndarray) -> tuple[Part, ...]:
    """PunchIn or Absence on one of the next scheduled days, early or late; or as announced."""
    pattern = people.pattern[employee]
    day = state.handled[:, None] + DAYS_UNTIL[pattern, state.handled % 7]  # (B, candidate)
    start = day[..., None] * DAY + START[pattern][:, None]  # (B, candidate, kind)
    late = LATE_AFTER[pattern, kind_of(state.in_reference, pattern)]
    share = NEXT_DAY[pattern][..., None] * np.stack((1 - late, late), 1)[:, None]
    announced = people.is_on_call[employee]
    start[announced] = state.planned[announced, None, None]
    share[announced] = np.eye(1, CANDIDATES * SHIFT_KINDS).reshape(CANDIDATES, SHIFT_KINDS)

    start, share = start.reshape(len(day), -1), share.reshape(len(day), -1)  # (B, W)
    weekday = start // DAY % 7
    is_edge = (weekday == 0) | (weekday == 4)
    absent = ABSENCE_RATE[people.absence[employee], None] * np.where(is_edge, 1.5, 1.0)
    absent = np.where(state.was_absent[:, None] == 1, 0.5, absent) * share
    present = LATENESS[people.lateness[employee, None], (weekday == 0).astype(np.int64)] * (share - absent)[..., None]
    called_in = np.broadcast_to(absent[..., None] / CALL_IN, (*absent.shape, CALL_IN))
    pmf = np.concatenate((called_in, present), 2)
    clock = Clock(start + LATENESS_FROM - CALL_IN, pmf, np.zeros(len(day)))
    slots = pmf.shape[-1]
    part = Part(
        clock.after(state.now, overdue_slot=CALL_IN),
        np.tile(np.where(np.arange(slots) < CALL_IN, ABSENCE, PUNCH_IN), start.shape[1])[:, None],
        np.ones((1, 1, 1)),
        np.repeat(start, slots, axis=1)[..., None],
        np.full((1, 1, 1), NONE),
        np.repeat(weekday >= 5, slots, axis=1)[..., None],
    )
    return (part,)


def _on_call(state: State, people: Population, employee: np.ndarray) -> tuple[Part, ...]:
    """The announcement of a shift on one of the next days, early or late."""
    pattern = people.pattern[employee]
    late = LATE_AFTER[pattern, kind_of(state.in_reference, pattern)]
    day = state.handled[:, None] + 1 + np.arange(CANDIDATES)
    start = day[..., None] * DAY + START[pattern][:, None]  # (B, candidate, kind)
    share = NEXT_DAY[pattern][..., None] * np.stack((1 - late, late), 1)[:, None]
    hours = np.broadcast_to(LENGTH[pattern, 0][:, None], start.shape)
    clock = shaped(state.free_since + ANNOUNCED_AFTER, ANNOUNCED_SPREAD).after(state.now)
    outcomes = (len(start), 1, CANDIDATES * SHIFT_KINDS)
    part = Part(
        clock,
        np.full((clock.pmf.shape[-1], outcomes[-1]), SCHEDULE),
        share.reshape(outcomes),
        start.reshape(outcomes),
        hours.reshape(outcomes),
        np.zeros((1, 1, 1), bool),
    )
    return (part,)


def _at_work(state: State, people: Population, employee: np.ndarray) -> tuple[Part, ...]:
    """The next break, the next cost code, or the end."""
    habit = people.breaks[employee]
    after = BREAK_AFTER[habit, np.minimum(state.breaks, 1)]
    has_break = (state.breaks < 2) & (after > 0)
    stint = STINT[people.stint[employee]]
    has_transfer = (state.transfers < MAX_TRANSFERS) & (stint > 0)
    end = scheduled_end(state, people, employee)
    clocks = (
        shaped(state.in_time + after - 30, BREAK_SPREAD, has_break),
        shaped(state.code_since + stint - 30, STINT_SPREAD, has_transfer),
        shaped(end + OVERTIME_FROM, OVERTIME[people.overtime[employee]]),
    )
    break_, transfer, out = (clock.after(state.now) for clock in clocks)
    worked = out.times[:, 0] - (state.in_time + state.break_minutes)[:, None]
    return (
        _simple(break_, BREAK_START, np.full(len(end), NONE)),
        _simple(transfer, TRANSFER, state.code_since),
        _simple(out, PUNCH_OUT, end, worked),
    )


def _at_break(state: State, people: Population, employee: np.ndarray) -> tuple[Part, ...]:
    """The end of the break."""
    length = BREAK_LENGTH[people.breaks[employee], np.clip(state.breaks - 1, 0, 1)]
    clock = shaped(state.break_start + length - 4, BREAK_END_SPREAD).after(state.now)
    return (_simple(clock, BREAK_END, state.break_start),)


_OWN: dict[int, Callable[[State, Population, np.ndarray], tuple[Part, ...]]] = {
    HOME: _at_home,
    CALL: _on_call,
    WORK: _at_work,
    BREAK: _at_break,
}


def _manager(state: State, people: Population) -> Part:
    """Approval or Correction of the newest shift ended, on the next working day."""
    day = state.out_time // DAY + 1
    day += np.array([0, 0, 0, 0, 0, 2, 1])[day % 7]  # Saturday and Sunday wait for Monday
    start = day * DAY + people.approval_at(state.out_site)
    is_pending = state.pending[:, None, None] == 1
    pmf = np.where(is_pending, APPROVAL_SPREAD * (1 - NEVER_APPROVED), 0.0)
    clock = Clock(start[:, None], pmf, np.where(state.pending == 1, NEVER_APPROVED, 1.0)).after(state.now)
    corrected = CORRECTED[state.out_adjusted.astype(np.int64), None]
    outcomes = np.array([APPROVAL] + [CORRECTION] * len(CORRECTIONS))
    changed = np.maximum(state.out_hours[:, None] + CORRECTIONS, 0)
    return Part(
        clock,
        np.tile(outcomes, (clock.pmf.shape[-1], 1)),
        np.concatenate((1 - corrected, corrected * CORRECTION_SHARES), 1)[:, None],
        state.out_time[:, None, None],
        np.concatenate((state.out_hours[:, None], changed), 1)[:, None],
        np.zeros((1, 1, 1), bool),
    )


def kind_of(reference: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """0 for an early shift and 1 for a late one, from its scheduled start."""
    start = START[pattern]
    return ((reference % DAY == start[:, 1]) & (start[:, 0] != start[:, 1])).astype(np.int64)


def scheduled_end(state: State, people: Population, employee: np.ndarray) -> np.ndarray:
    """(B,) of the shift that is on."""
    pattern, reference = people.pattern[employee], state.in_reference
    return reference + LENGTH[pattern, reference // DAY % 7, kind_of(reference, pattern)]


def attributes(type_: int, state: State, people: Population, employee: np.ndarray) -> Attributes:
    """Who, where, charged to what and as which job, if an event of this type comes next."""
    n = len(employee)
    blank = np.full((n, 1), NONE)
    home, usual = people.home[employee], people.jobs[employee]
    share, who, recipient, approver = np.ones((n, 1)), employee[:, None], blank, blank
    site, cost, job = state.site[:, None], state.code[:, None], np.stack((state.job, state.job), 1)
    job_share = np.broadcast_to([[1.0, 0.0], [1.0, 0.0]], (n, 2, 2))
    sheet = np.broadcast_to([1.0, 0.0, 0.0], (n, 3))
    if type_ == PUNCH_IN:
        is_lent = state.out_site != home
        lent = np.where(is_lent, 0.6, LOAN_RATE[people.lends[employee]])[:, None]
        share = np.concatenate((lent, (1 - lent) * 0.75, (1 - lent) * 0.25), 1)
        site = np.stack((people.loan[employee], home, home), 1)
        steps = (rotated(state.out_code, people, employee, steps) for steps in (1, 0))
        cost = np.stack((people.loan[employee] * CODES_PER_SITE, *steps), 1)
        job, job_share = usual, np.broadcast_to([[0.95, 0.05], [0.2, 0.8]], (n, 2, 2))
    elif type_ == TRANSFER:
        share = np.broadcast_to([0.9, 0.1], (n, 2))
        cost = np.stack([rotated(state.code, people, employee, steps) for steps in (1, 2)], 1)
    elif type_ == PUNCH_OUT:
        was_late = state.in_time - state.in_reference > 5
        adjusted = np.where(was_late, 0.5, 0.05)
        sheet = np.stack((np.zeros(n), 1 - adjusted, adjusted), 1)
    elif type_ == ABSENCE:
        site, cost, job = home[:, None], blank, usual
    elif type_ in (APPROVAL, CORRECTION, SCHEDULE):
        site = (home if type_ == SCHEDULE else state.out_site)[:, None]
        share = np.broadcast_to([0.9, 0.1], (n, 2))
        who = np.concatenate((people.manager(site), people.manager(site + 1)), 1)
        recipient, cost = employee[:, None], blank
        job = usual if type_ == SCHEDULE else np.full((n, 2), NONE)
        if type_ != SCHEDULE:
            approver = who
            adjusted = np.where(state.out_adjusted == 1, 0.9, 0.03) if type_ == APPROVAL else np.ones(n)
            sheet = np.stack((np.zeros(n), 1 - adjusted, adjusted), 1)
    who, recipient, approver, site, cost = (
        np.broadcast_to(column, share.shape) for column in (who, recipient, approver, site, cost)
    )
    return Attributes(share, who, recipient, approver, site, cost, job, job_share, sheet)


def rotated(code: np.ndarray, people: Population, employee: np.ndarray, steps: int) -> np.ndarray:
    """The cost code some steps on in a person's rotation; from a code outside of it, its first one."""
    home = people.home[employee]
    place = (code % CODES_PER_SITE + people.stride[employee] * steps) % CODES_PER_SITE
    first = home * CODES_PER_SITE
    return np.where(code // CODES_PER_SITE == home, first + place, first)
