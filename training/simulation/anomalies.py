"""Events out of character: a small share, drawn independently of everything.

What is disturbed is what is recorded, and so what the person's later events go by.
"""

import numpy as np

from training.simulation.history import PUNCH_OUT, Events
from training.simulation.population import CODES_PER_SITE, JOBS, Population

KINDS = ("location", "cost code", "job", "hour")
"""What is out of character, all equally probable; kind k of ``Events.anomaly`` is KINDS[k - 1]."""
LOCATION, COST, JOB, HOUR = range(1, 5)
HOURS_LATER = (2, 3, 4, 5)
"""How many hours later an event of kind "hour" happens, all equally probable."""


def values(people: Population) -> dict[int, int]:
    """Per kind that takes another value of its field: how many there are."""
    return {LOCATION: people.sites, COST: people.sites * CODES_PER_SITE, JOB: JOBS}


def disturb(rng: np.random.Generator, events: Events, people: Population, rate: float) -> Events:
    """The events as recorded: with probability ``rate`` one thing about them is not as usual."""
    n = len(events.time)
    kind = np.where(rng.random(n) < rate, rng.integers(1, len(KINDS) + 1, n), 0)
    count = values(people)
    later = np.where(kind == HOUR, 60 * rng.choice(HOURS_LATER, n), 0)
    return events._replace(
        location=np.where(kind == LOCATION, _other(rng, events.location, count[LOCATION]), events.location),
        cost=np.where(kind == COST, _other(rng, events.cost, count[COST]), events.cost),
        job=np.where(kind == JOB, _other(rng, events.job, count[JOB]), events.job),
        time=events.time + later,
        hours=events.hours + np.where(events.type == PUNCH_OUT, later, 0),
        anomaly=kind,
    )


def _other(rng: np.random.Generator, value: np.ndarray, count: int) -> np.ndarray:
    """Uniformly one of the other values; any of them where there is none (-1)."""
    drawn = rng.integers(0, count - (value >= 0))
    return drawn + ((value >= 0) & (drawn >= value))
