"""What happened to people, and all of it that their next event depends on."""

from typing import NamedTuple

import numpy as np

from training.simulation.population import DAY, Population

# ids of the schema's EventType
PUNCH_IN, PUNCH_OUT, BREAK_START, BREAK_END, TRANSFER, ABSENCE, APPROVAL, SCHEDULE, CORRECTION = range(1, 10)
# ids of the schema's IsTimesheet
FALSE, TRUE, ADJUSTED = range(1, 4)
# what a person is doing; HOME waits for a shift, CALL for its announcement
HOME, CALL, WORK, BREAK = range(4)
NONE = -1
"""A blank value."""


class Events(NamedTuple):
    """n events as numbers; people, sites, codes and jobs from 0, times in minutes since the first day."""

    employee: np.ndarray  # (n,) all of them int64: whose event it is
    type: np.ndarray
    actor: np.ndarray
    recipient: np.ndarray
    approver: np.ndarray
    location: np.ndarray
    cost: np.ndarray
    job: np.ndarray
    sheet: np.ndarray
    hours: np.ndarray  # HoursWorked in minutes
    time: np.ndarray
    reference: np.ndarray
    anomaly: np.ndarray  # kind, 0 = none

    def take(self, rows: np.ndarray) -> "Events":
        """Some of the events."""
        return Events(*(column[rows] for column in self))


class State(NamedTuple):
    """What n people's newest events say: a function of what was recorded, anomalies included."""

    now: np.ndarray  # (n,) all of them int64: time of the newest event
    phase: np.ndarray
    handled: np.ndarray  # day of the newest shift that was begun or missed
    planned: np.ndarray  # start of the newest shift announced
    was_absent: np.ndarray  # 1 where the newest shift was missed
    free_since: np.ndarray  # time at which the newest shift ended or was missed
    # the newest shift begun
    in_time: np.ndarray
    in_reference: np.ndarray
    site: np.ndarray
    job: np.ndarray
    code: np.ndarray  # of its PunchIn or newest Transfer
    code_since: np.ndarray
    transfers: np.ndarray
    breaks: np.ndarray
    break_minutes: np.ndarray
    break_start: np.ndarray
    # the newest shift ended
    out_time: np.ndarray
    out_site: np.ndarray
    out_code: np.ndarray
    out_hours: np.ndarray
    out_adjusted: np.ndarray
    pending: np.ndarray  # 1 while no manager has looked at it

    def take(self, rows: np.ndarray) -> "State":
        """Some of the people."""
        return State(*(column[rows] for column in self))


def blank(people: Population, employees: np.ndarray) -> State:
    """People of whom nothing is known: at home, and due from the day they joined."""
    from_ = people.joined[employees]
    home = people.home[employees]
    zero = np.zeros_like(from_)
    state = State(*([zero] * len(State._fields)))
    return state._replace(
        now=from_ * DAY - 1,
        phase=np.where(people.is_on_call[employees], CALL, HOME),
        handled=from_ - 1,
        site=home,
        job=zero + NONE,
        code=zero + NONE,
        free_since=from_ * DAY - 1,
        out_site=home,
        out_code=zero + NONE,
    )


def advance(state: State, event: Events, people: Population) -> State:
    """The state after one more event of each person."""
    is_in, is_out = event.type == PUNCH_IN, event.type == PUNCH_OUT
    is_start, is_end = event.type == BREAK_START, event.type == BREAK_END
    is_transfer, is_absence = event.type == TRANSFER, event.type == ABSENCE
    is_schedule = event.type == SCHEDULE
    by_manager = (event.type == APPROVAL) | (event.type == CORRECTION)
    waiting = np.where(people.is_on_call[event.employee], CALL, HOME)
    begins_code = is_in | is_transfer

    phase = np.where(is_in | is_end, WORK, state.phase)
    phase = np.where(is_start, BREAK, phase)
    phase = np.where(is_schedule, HOME, phase)
    return State(
        now=event.time,
        phase=np.where(is_out | is_absence, waiting, phase),
        handled=np.where(is_in | is_absence, event.reference // DAY, state.handled),
        planned=np.where(is_schedule, event.reference, state.planned),
        was_absent=np.where(is_absence, 1, np.where(is_out, 0, state.was_absent)),
        free_since=np.where(is_out | is_absence, event.time, state.free_since),
        in_time=np.where(is_in, event.time, state.in_time),
        in_reference=np.where(is_in, event.reference, state.in_reference),
        site=np.where(is_in, event.location, state.site),
        job=np.where(is_in, event.job, state.job),
        code=np.where(begins_code, event.cost, state.code),
        code_since=np.where(begins_code, event.time, state.code_since),
        transfers=np.where(is_in, 0, state.transfers + is_transfer),
        breaks=np.where(is_in, 0, state.breaks + is_start),
        break_minutes=np.where(is_in, 0, state.break_minutes + np.where(is_end, event.time - state.break_start, 0)),
        break_start=np.where(is_start, event.time, state.break_start),
        out_time=np.where(is_out, event.time, state.out_time),
        out_site=np.where(is_out, event.location, state.out_site),
        out_code=np.where(is_out, event.cost, state.out_code),
        out_hours=np.where(is_out, event.hours, state.out_hours),
        out_adjusted=np.where(is_out, event.sheet == ADJUSTED, state.out_adjusted),
        pending=np.where(is_out, 1, np.where(by_manager, 0, state.pending)),
    )
