"""A log of random events, in which every history is long: what is measured on it is speed, and no accuracy."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from eventmodel.event_log import EventLog
from eventmodel.schema import Schema
from training.preparation import prepare

BEGAN, MINUTE = datetime(2025, 1, 1), timedelta(minutes=1)


def random_log(schema: Schema, events: int, names: int) -> EventLog:
    """One event a minute, each of random people, places and things.

    Args:
        names: values of each open vocabulary.
    """
    rng = np.random.default_rng(0)
    moments = pl.datetime_range(BEGAN, BEGAN + (events - 1) * MINUTE, MINUTE, eager=True)
    columns = {}
    for field in schema.fields:
        if field.kind == "datetime":
            columns[field.name] = moments
        elif field.kind == "number":
            columns[field.name] = pl.Series(rng.uniform(field.edges[0], field.edges[-1], events))
        else:
            values = list(field.values) if field.kind == "enum" else [f"N{number}" for number in range(names)]
            columns[field.name] = pl.Series(values).gather(rng.integers(len(values), size=events))
    return prepare(pl.DataFrame(columns), schema)[0]
