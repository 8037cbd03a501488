"""Simulated events as the files that people and programs read."""

import numpy as np
import polars as pl

from training.simulation.anomalies import KINDS
from training.simulation.history import Events
from training.simulation.ids import CATEGORIES, FIRST_DAY, SCHEMA
from training.simulation.oracle import Likelihood
from training.simulation.population import CODES_PER_SITE, JOBS, Population


def log_frame(people: Population, events: Events) -> pl.DataFrame:
    """Records of the schema ``workforce``, in the order of the events."""
    sites = [f"S{site:02d}" for site in range(people.sites)]
    codes = [f"{site}-{code}" for site in sites for code in range(CODES_PER_SITE)]
    jobs = [f"J{job}" for job in range(JOBS)]
    enums = {field.name: [None, *getattr(field, "values", ())] for field in SCHEMA.fields}
    hours = pl.Series(events.hours)
    return pl.DataFrame(
        {
            "EventType": _named(enums["EventType"], events.type),
            "ActorRecordId": _named(person_names(people), events.actor),
            "RecipientRecordId": _named(person_names(people), events.recipient),
            "ApprovedByManagerUserRecordId": _named(person_names(people), events.approver),
            "LocationRecordId": _named(sites, events.location),
            "CostCodeRecordId": _named(codes, events.cost),
            "JobCodeRecordId": _named(jobs, events.job),
            "IsTimesheet": _named(enums["IsTimesheet"], events.sheet),
            # two decimals never cross the edge of a bucket, which is a quarter of an hour
            "HoursWorked": pl.select(pl.when(hours >= 0).then((hours / 60).round(2))).to_series(),
            "EventDatetime": _datetime(events.time),
            "ReferenceDatetime": _datetime(events.reference),
        }
    )


def person_names(people: Population) -> list[str]:
    """Employees, then the managers of the sites."""
    return [f"E{i:05d}" for i in range(len(people))] + [f"M{site:02d}" for site in range(people.sites)]


def anomaly_frame(events: Events) -> pl.DataFrame:
    """The rows of the log that are out of character, and how."""
    rows = np.flatnonzero(events.anomaly)
    return pl.DataFrame({"row": rows, "kind": _named([None, *KINDS], events.anomaly[rows])})


def oracle_frame(people: Population, rows: np.ndarray, employee: np.ndarray, found: Likelihood) -> pl.DataFrame:
    """The scored rows of the log with whose event it is, the joint value and those of each category."""
    columns = {"row": pl.Series(rows), "focus": _named(person_names(people), employee)}
    columns["joint"] = pl.Series(found.chain.sum(1))
    for name, values in (("chain", found.chain), ("marginal", found.marginal)):
        columns |= {f"{name}_{category}": pl.Series(values[:, c]) for c, category in enumerate(CATEGORIES)}
    return pl.DataFrame(columns)


def _named(names: list[str] | list[str | None], index: np.ndarray) -> pl.Series:
    """Names by number; -1 is a blank."""
    return pl.Series([*names, None], dtype=pl.String).gather(np.where(index < 0, len(names), index))


def _datetime(minutes: np.ndarray) -> pl.Series:
    """Wall time; -1 is a blank."""
    moment = np.datetime64(FIRST_DAY, "us") + minutes.astype("timedelta64[m]")
    return pl.Series(np.where(minutes < 0, np.datetime64("NaT"), moment))
