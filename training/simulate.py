"""A simulated workforce log with a known answer: the floor that no model can beat.

python -m training.simulate --employees 500 --sites 12 --days 420 --out log.parquet

It writes, beside a log of the built-in schema ``workforce`` in the order of time (its row numbers
are those of the prepared log):

    log.anomalies.parquet   row, kind: the events that are out of character
    log.oracle.parquet      row, focus, joint, chain_CATEGORY, marginal_CATEGORY: the true negative
                            log-likelihood, in nats, of events of the test part (the last tenth)
    log.oracle.json         settings, split, what is covered, means

What follows states every distribution. All draws are independent, given what they go by; numbers
that are not here stand in ``training/simulation/population.py`` and ``next_event.py``.

**People.** N employees, S sites, one manager per site. Uniformly and independently, an employee has
one of 9 weekly patterns (office, morning, four days, evening, night, part time, weekend, alternating
early and late, on call), of 4 habits of lateness, 4 of breaks, 4 of changing the cost code, 3 of
overtime, 2 of absence and 2 of being lent; a home site, one of the two next sites to be lent to, two
jobs (of 8), and a stride of 1 to 4 through the home site's five cost codes: the rotation. One in five
joins on a uniform later day. After each PunchOut a person is gone for good with probability 0.001.

**What comes next** is what rings first of several independent clocks, each a stated distribution
over minutes given that it has not rung yet (at the same minute the first of this list):

- At home: PunchIn or Absence on the next of the pattern's days, or the one after it, or the third
  (95%, 4%, 1%; some patterns are less regular). Early or late: alternating ones change with 85%. Absence:
  2% or 7%, half as much again on Mondays and Fridays, 50% after an absence; called in uniformly 35 to
  16 minutes before the start. PunchIn: the start plus the habit's lateness (punctual, early, late and
  later still on Mondays, erratic).
- On call and at home: a Schedule event, 30 to 60 minutes after the last shift, that announces the next
  one: in 1, 2 or 3 days (50%, 30%, 20%), early or late (the same as last time with 70%).
- At work: BreakStart, the habit's time after PunchIn (once or twice a shift) give or take 30 minutes;
  Transfer, the habit's stint after the last change of code give or take 30 minutes (at most two a
  shift); PunchOut, the scheduled end plus the habit's overtime (on the dot, early, long).
- On a break: BreakEnd, the habit's length later, 4 minutes early to 10 late.
- The manager, always: Approval or Correction of the newest shift ended, on the next working day, in the
  half hour from the site's hour; never with 8%, and no more once the next shift has ended. A
  Correction with 40% where the hours were adjusted, 2% where not.

Whatever should have happened by now happens in the next 10 minutes, uniformly.

**The rest of an event**, given its type:

- Site: on PunchIn home, or the loan site with 2% or 15% (60% if the last PunchOut was elsewhere than
  at home); then the same to the end of the shift. Approval and Correction: PunchOut's. Others: home.
- Cost code: on PunchIn the next of the rotation after the last PunchOut's (75%) or the same; on a loan
  the other site's first. Transfer: the next (90%) or the one after it. From a code that is not one's
  own: home's first. None outside of shifts.
- Job: on PunchIn the first (95%; 20% on a weekend) or the second; then the same to the end. Absence and
  Schedule: the first.
- IsTimesheet: PunchOut true, or adjusted with 5% (50% if PunchIn was more than 5 minutes late).
  Approval: adjusted with 90% if PunchOut was, else 3%. Correction: adjusted. Others: false.
- HoursWorked: PunchOut, the minutes since PunchIn without the breaks; Approval repeats them, Correction
  changes them by -15, 15 or 30 minutes (30%, 50%, 20%), not below 0; Schedule, the length announced.
- Managers: of the event's site as usual (90%) or of the next one. The manager is the actor and the
  employee the recipient; every other event is the employee's own.
- ReferenceDatetime: the scheduled start (PunchIn, Absence, Schedule) or end (PunchOut); the break's
  start (BreakEnd); since when on the code that is left (Transfer); the PunchOut approved.

**Anomalies.** With the probability ``anomaly_rate``, independent of everything, one thing about the
event is not as usual, each with a quarter: another site, another cost code, another job (uniformly),
or 2, 3, 4 or 5 hours later. Later events go by what was recorded. The oracle knows the rate and not
which events they are: its probability of an event is the mixture.

**The oracle** is exact, by enumeration, for focus employees and now = their last event. All that an
event goes by is the recorded past of its person (the newest 16 events, but for a long row of
absences), the calendar, and the parameters of the ids, which a model can learn. Other streams hold
nothing that helps. It leaves out, and says how many: managers as focus; events whose predecessor is
not in the test part, or so near to the log's end that the next event might lie behind it (at home the
last 8 days, else the last one: whether an event is scored must not depend on the event); people and
values that the training part does not show twice. A value has the id that it has in the prepared log
(unknown ones share 0; hours go by bucket), and so a probability is one of ids.

A log of fewer than 13 months ends in months that its training part has never shown.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tyro

from training.errors import exit_on_user_error
from training.preparation.split import split
from training.simulation.coverage import REACH, Coverage, cover
from training.simulation.history import APPROVAL, CORRECTION, SCHEDULE, Events
from training.simulation.ids import CATEGORIES, Vocabularies, event_ids
from training.simulation.oracle import Likelihood, World, score
from training.simulation.population import DAY, Population
from training.simulation.records import anomaly_frame, log_frame, oracle_frame
from training.simulation.simulator import simulate
from training.write_table import check_suffix, write_table

LEAST_DAYS = 120
"""So that the last tenth is longer than the oracle looks ahead."""
MOST_DAYS = 36_500
LEAST_SITES = 3


@dataclass(frozen=True)
class SimulateConfig:
    """Simulate a workforce log, and compute the loss that no model can beat on it."""

    out: Path
    """Where to write the log, a new file; the suffix .csv or .parquet decides the format of all tables."""
    employees: int = 500
    """People, managers apart."""
    sites: int = 12
    """Sites, at least 3; each has a manager and five cost codes."""
    days: int = 420
    """Length of the log from 2024-01-01 on, at least 120; from 13 months on, the training part has
    shown every month."""
    anomaly_rate: float = 0.005
    """Share of events that are out of character."""
    seed: int = 0
    """Decides everything."""

    def __post_init__(self) -> None:
        check_suffix(self.out)
        if self.out.exists():
            raise ValueError(f"{self.out} exists, and may be your own; remove it, or write --out elsewhere")
        if not self.out.parent.is_dir():  # said before the work, not after
            raise ValueError(f"{self.out.parent} is not a directory; make it, or write --out elsewhere")
        if self.employees < 1:
            raise ValueError(f"employees is {self.employees}; the least is 1")
        if self.sites < LEAST_SITES:
            raise ValueError(f"sites is {self.sites}; the least is {LEAST_SITES}: a home and two to be lent to")
        if not LEAST_DAYS <= self.days <= MOST_DAYS:
            raise ValueError(
                f"days is {self.days}; it must be {LEAST_DAYS} to {MOST_DAYS}: the newest tenth of the log, which the "
                f"oracle scores, must be longer than the {REACH.max() // DAY} days that it looks ahead"
            )
        if not 0 <= self.anomaly_rate < 1:
            raise ValueError(f"anomaly_rate is {self.anomaly_rate}; it is a share, from 0 to below 1")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; the least is 0")


@dataclass(frozen=True)
class Simulation:
    """A log and its answer."""

    world: World
    events: Events
    train_end: int
    validation_end: int
    coverage: Coverage
    likelihood: Likelihood
    """Of the events covered."""
    seconds: dict[str, float]


def run(config: SimulateConfig) -> Simulation:
    """Simulate, and score the test part.

    Raises:
        ValueError: so few people that there is nothing to score.
    """
    rng = np.random.default_rng(config.seed)
    started = time.perf_counter()
    people = Population.draw(rng, config.employees, config.sites, config.days)
    events = simulate(rng, people, config.days, config.anomaly_rate)
    simulated = time.perf_counter()
    train_end, validation_end = split(events.time, 0.8, 0.1)
    vocabularies = Vocabularies.learn(people, events.take(np.arange(train_end)))
    world = World(people, vocabularies, config.anomaly_rate)
    coverage = cover(people, events, vocabularies, validation_end, config.days)
    if not len(coverage.rows):
        raise ValueError("no event of the test part can be scored; simulate more employees or more days")
    scored = events.take(coverage.rows)
    likelihood = score(world, coverage.state, scored.employee, event_ids(scored, vocabularies))
    assert np.isfinite(likelihood.chain).all(), "what was drawn can happen"
    seconds = {"simulation": simulated - started, "oracle": time.perf_counter() - simulated}
    return Simulation(world, events, train_end, validation_end, coverage, likelihood, seconds)


def summary(config: SimulateConfig, found: Simulation) -> dict[str, object]:
    """What the oracle says on average; nats per event."""
    joint = found.likelihood.chain.sum(1)
    by_manager = np.isin(found.events.type[found.validation_end :], (APPROVAL, CORRECTION, SCHEDULE))
    return {
        "settings": asdict(config) | {"out": config.out.name},
        "rows": len(found.events.time),
        "train_end": found.train_end,
        "validation_end": found.validation_end,
        "anomalies": int((found.events.anomaly > 0).sum()),
        "covered": len(found.coverage.rows),
        "left_out": found.coverage.left_out | {"a manager is the focus": int(by_manager.sum())},
        "method": "exact enumeration",
        "joint": joint.mean(),
        "joint_standard_error_over_events": joint.std() / np.sqrt(len(joint)),
        "mean_over_categories": joint.mean() / len(CATEGORIES),
        "marginal_sum": found.likelihood.marginal.sum(1).mean(),
        "categories": {
            name: {"chain": found.likelihood.chain[:, c].mean(), "marginal": found.likelihood.marginal[:, c].mean()}
            for c, name in enumerate(CATEGORIES)
        },
    }


def save(config: SimulateConfig, found: Simulation) -> None:
    """Write the log, and beside it the anomalies and the oracle: all of them, or none.

    Raises:
        OSError: ``config.out`` cannot be written.
    """
    people, rows = found.world.people, found.coverage.rows
    with TemporaryDirectory(prefix=f".{config.out.name}.", dir=config.out.parent) as directory:
        out = Path(directory) / config.out.name
        write_table(anomaly_frame(found.events).lazy(), beside(out, "anomalies"))
        oracle = oracle_frame(people, rows, found.events.employee[rows], found.likelihood)
        write_table(oracle.lazy(), beside(out, "oracle"))
        text = json.dumps(summary(config, found), indent=2) + "\n"
        beside(out, "oracle").with_suffix(".json").write_text(text, "utf-8")
        write_table(log_frame(people, found.events).lazy(), out)
        for draft in sorted(out.parent.iterdir(), key=lambda draft: draft == out):  # the log last: then all is there
            draft.replace(config.out.with_name(draft.name))


def beside(out: Path, what: str) -> Path:
    """log.parquet to log.WHAT.parquet."""
    return out.with_name(f"{out.stem}.{what}{out.suffix}")


def main() -> None:
    """Read the command line and run."""
    with exit_on_user_error():
        config = tyro.cli(SimulateConfig, prog="python -m training.simulate")
        found = run(config)
        save(config, found)
        n, seconds = len(found.events.time), found.seconds["simulation"]
        joint = found.likelihood.chain.sum(1).mean()
        print(f"{n:,} events in {config.out}: {seconds:.1f} s, {n / seconds:,.0f} events/s")
        print(
            f"{len(found.coverage.rows):,} of {n - found.validation_end:,} test events scored in "
            f"{found.seconds['oracle']:.1f} s: at least {joint:.4f} nats per event, "
            f"{joint / len(CATEGORIES):.4f} per category"
        )


if __name__ == "__main__":
    main()
