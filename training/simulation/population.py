"""Who works: patterns and habits, and the people who have them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

DAY = 1440
"""Minutes."""
CODES_PER_SITE = 5
JOBS = 8
CANDIDATES = 3
"""Scheduled days among which the next one worked is drawn."""


class Pattern(NamedTuple):
    """A weekly schedule. Shifts come in up to two kinds: early (0) and late (1)."""

    name: str
    days: str
    """Weekdays on which the pattern has a shift, 1 for Monday to 7 for Sunday."""
    starts: tuple[int, int]
    """Minute of the day, by kind."""
    lengths: tuple[int, int]
    """Minutes from the scheduled start to the scheduled end, by kind."""
    shorter_friday: int
    """Minutes that a shift on a Friday is shorter."""
    next_day: tuple[float, float, float]
    """Which of the next three scheduled days is worked next."""
    late_after: tuple[float, float]
    """Probability of a late shift after an early and after a late one."""


ONLY_EARLY = (0.0, 0.0)
PATTERNS = (
    Pattern("office", "12345", (8 * 60, 8 * 60), (510, 510), 120, (0.95, 0.04, 0.01), ONLY_EARLY),
    Pattern("morning", "12345", (390, 390), (480, 480), 0, (0.95, 0.04, 0.01), ONLY_EARLY),
    Pattern("four days", "1245", (10 * 60, 10 * 60), (570, 570), 0, (0.93, 0.05, 0.02), ONLY_EARLY),
    Pattern("evening", "12345", (14 * 60, 14 * 60), (480, 480), 0, (0.95, 0.04, 0.01), ONLY_EARLY),
    Pattern("night", "71234", (22 * 60, 22 * 60), (480, 480), 0, (0.95, 0.04, 0.01), ONLY_EARLY),
    Pattern("part time", "135", (9 * 60, 9 * 60), (300, 300), 0, (0.9, 0.08, 0.02), ONLY_EARLY),
    Pattern("weekend", "567", (12 * 60, 12 * 60), (480, 480), 0, (0.93, 0.05, 0.02), ONLY_EARLY),
    Pattern("alternating", "123456", (6 * 60, 14 * 60), (480, 480), 0, (0.95, 0.04, 0.01), (0.85, 0.15)),
    Pattern("on call", "1234567", (9 * 60, 15 * 60), (300, 360), 0, (0.5, 0.3, 0.2), (0.3, 0.7)),
)
ON_CALL = len(PATTERNS) - 1
"""The pattern whose shifts are announced, one by one."""
START = np.array([p.starts for p in PATTERNS])  # (pattern, kind)
LENGTH = np.array(
    [[[n - p.shorter_friday * (day == 4) for n in p.lengths] for day in range(7)] for p in PATTERNS]
)  # (pattern, weekday, kind)
NEXT_DAY = np.array([p.next_day for p in PATTERNS])
LATE_AFTER = np.array([p.late_after for p in PATTERNS])
DAYS_UNTIL = np.array(
    [[[n for n in range(1, 15) if str((day + n) % 7 + 1) in p.days][:CANDIDATES] for day in range(7)] for p in PATTERNS]
)  # (pattern, weekday, candidate): days from a weekday (0 is Monday) to the next scheduled ones


def peaked(low: int, high: int, mode: int, rise: float, fall: float) -> np.ndarray:
    """A two-sided geometric distribution over the integers low to high, highest at ``mode``."""
    x = np.arange(low, high + 1)
    shape = np.where(x < mode, rise ** (mode - x), fall ** (x - mode))
    return shape / shape.sum()


LATENESS_FROM = -15
_PUNCTUAL = peaked(LATENESS_FROM, 34, -2, 0.6, 0.6)
LATENESS = np.array(
    [
        [_PUNCTUAL, _PUNCTUAL],
        [peaked(LATENESS_FROM, 34, -8, 0.7, 0.7)] * 2,
        [peaked(LATENESS_FROM, 34, 6, 0.7, 0.8), peaked(LATENESS_FROM, 34, 12, 0.7, 0.8)],
        [0.6 * _PUNCTUAL + 0.4 * peaked(LATENESS_FROM, 34, 20, 0.7, 0.7)] * 2,
    ]
)  # (habit, Monday?, minutes from LATENESS_FROM): punctual, early, late and later on Mondays, erratic
BREAK_AFTER = np.array([[240, -1], [180, -1], [120, 300], [150, 270]])
"""By habit, minutes from PunchIn to the first and to the second break; -1 is no such break."""
BREAK_LENGTH = np.array([[30, 0], [45, 0], [15, 15], [15, 60]])
STINT = np.array([-1, 100, 150, 210])
"""By habit, minutes on a cost code before the next one; -1 is the whole shift."""
OVERTIME_FROM = -20
OVERTIME = np.array(
    [
        peaked(OVERTIME_FROM, 60, 0, 0.5, 0.6),
        peaked(OVERTIME_FROM, 60, -8, 0.7, 0.7),
        peaked(OVERTIME_FROM, 60, 20, 0.85, 0.9),
    ]
)  # (habit, minutes from OVERTIME_FROM): on the dot, early, overtime
ABSENCE_RATE = np.array([0.02, 0.07])
LOAN_RATE = np.array([0.02, 0.15])
APPROVAL_AT = np.array([450, 540, 780])
"""By the site's habit, the minute of the day from which hours are approved."""


@dataclass(frozen=True)
class Population:
    """N employees and, after them in numbering, one manager per site."""

    sites: int
    pattern: np.ndarray  # (N,) all of them int64 and static
    lateness: np.ndarray
    breaks: np.ndarray
    stint: np.ndarray
    overtime: np.ndarray
    absence: np.ndarray
    lends: np.ndarray  # habit of loans
    home: np.ndarray  # home site
    loan: np.ndarray  # the site that one is lent to
    stride: np.ndarray  # steps of the cost code rotation, 1 to CODES_PER_SITE - 1
    jobs: np.ndarray  # (N, 2): the usual one and the weekend's
    joined: np.ndarray  # first day

    def __len__(self) -> int:
        return len(self.pattern)

    @property
    def is_on_call(self) -> np.ndarray:
        """(N,) bool: whose shifts are announced."""
        return self.pattern == ON_CALL

    @classmethod
    def draw(cls, rng: np.random.Generator, employees: int, sites: int, days: int) -> "Population":
        """Everything uniform and independent; one in five joins on a later day, also uniform."""

        def uniform(below: int) -> np.ndarray:
            return rng.integers(below, size=employees)

        home, usual = uniform(sites), uniform(JOBS)
        return cls(
            sites=sites,
            pattern=uniform(len(PATTERNS)),
            lateness=uniform(len(LATENESS)),
            breaks=uniform(len(BREAK_AFTER)),
            stint=uniform(len(STINT)),
            overtime=uniform(len(OVERTIME)),
            absence=uniform(len(ABSENCE_RATE)),
            lends=uniform(len(LOAN_RATE)),
            home=home,
            loan=(home + 1 + uniform(2)) % sites,
            stride=1 + uniform(CODES_PER_SITE - 1),
            jobs=np.stack((usual, (usual + 1 + uniform(JOBS - 1)) % JOBS), 1),
            joined=np.where(rng.random(employees) < 0.2, uniform(days), 0),
        )

    def manager(self, site: np.ndarray) -> np.ndarray:
        """Number of a site's manager among the people."""
        return len(self) + site % self.sites

    def approval_at(self, site: np.ndarray) -> np.ndarray:
        """The minute of the day from which a site's hours are approved: the habit goes by site."""
        return APPROVAL_AT[site % len(APPROVAL_AT)]
