"""Draws events, person by person in parallel: each step draws everyone's next event."""

import numpy as np

from training.simulation.anomalies import disturb
from training.simulation.history import PUNCH_OUT, Events, State, advance, blank
from training.simulation.next_event import TYPES, Part, attributes, parts
from training.simulation.population import DAY, Population

LEAVING = 0.001
"""Probability that a person who has just punched out is never seen again."""


def simulate(rng: np.random.Generator, people: Population, days: int, anomaly_rate: float) -> Events:
    """All events of all people before the end of the last day, in the order of time, then of people."""
    employee = np.arange(len(people))
    state = blank(people, employee)
    steps = []
    while len(employee):
        events = draw(rng, state, people, employee, anomaly_rate)
        steps.append(events.take(np.flatnonzero(events.time < days * DAY)))
        is_left = (events.type == PUNCH_OUT) & (rng.random(len(employee)) < LEAVING)
        stays = np.flatnonzero((events.time < days * DAY) & ~is_left)
        state = advance(state, events, people).take(stays)
        employee = employee[stays]
    joined = Events(*(np.concatenate(column) for column in zip(*steps, strict=True)))
    return joined.take(np.lexsort((joined.employee, joined.time)))


def draw(
    rng: np.random.Generator, state: State, people: Population, employee: np.ndarray, anomaly_rate: float
) -> Events:
    """The next event of each person."""
    n = len(employee)
    columns = {name: np.empty(n, np.int64) for name in Events._fields}
    columns["employee"] = employee
    is_weekend = np.empty(n, bool)
    for phase in TYPES:
        rows = np.flatnonzero(state.phase == phase)
        if len(rows):
            first = _first(rng, parts(phase, state.take(rows), people, employee[rows]))
            for name in ("type", "time", "reference", "hours"):
                columns[name][rows] = first[name]
            is_weekend[rows] = first["is_weekend"]
    for type_ in np.unique(columns["type"]):
        rows = np.flatnonzero(columns["type"] == type_)
        rest = attributes(int(type_), state.take(rows), people, employee[rows])
        at, here = choose(rng, rest.share), np.arange(len(rows))
        for name in ("actor", "recipient", "approver", "location", "cost"):
            columns[name][rows] = getattr(rest, name)[here, at]
        columns["job"][rows] = rest.job[here, choose(rng, rest.job_share[here, is_weekend[rows].astype(np.int64)])]
        columns["sheet"][rows] = 1 + choose(rng, rest.sheet_share)
    columns["anomaly"][:] = 0
    return disturb(rng, Events(**columns), people, anomaly_rate)


def _first(rng: np.random.Generator, racing: tuple[Part, ...]) -> dict[str, np.ndarray]:
    """Ring all clocks; what the earliest one brings (of those at the same minute, the first)."""
    rung = [part.clock.ring(rng) for part in racing]
    winner = np.argmin([time for time, _ in rung], 0)
    columns: dict[str, np.ndarray] = {}
    for i, (part, (time, place)) in enumerate(zip(racing, rung, strict=True)):
        rows = np.flatnonzero(winner == i)
        if not len(rows):
            continue
        n_outcomes = part.type.shape[-1]
        share = np.broadcast_to(part.share, (len(time), 1, n_outcomes))[rows, 0]
        outcome = choose(rng, share)
        brought = {"type": part.type[None], "time": time[:, None, None]}
        brought |= {name: getattr(part, name) for name in ("reference", "hours", "is_weekend")}
        shape = (len(time), len(part.type), n_outcomes)
        for name, column in brought.items():
            values = np.broadcast_to(column, shape)[rows, place[rows], outcome]
            columns.setdefault(name, np.empty(len(time), values.dtype))[rows] = values
    return columns


def choose(rng: np.random.Generator, share: np.ndarray) -> np.ndarray:
    """One of K alternatives per row, by their probabilities (B, K)."""
    if share.shape[1] == 1:
        return np.zeros(len(share), np.int64)
    total = share.cumsum(1)
    # the last one at most: rounding may leave the uniform draw above every sum
    return np.minimum((total <= rng.random((len(share), 1)) * total[:, -1:]).sum(1), share.shape[1] - 1)
