"""Small logs as tables, to prepare."""

from collections.abc import Sequence

import polars as pl

from eventmodel.event_log import EventLog


def at(minute: int) -> str:
    return f"2026-01-{1 + minute // 1440:02d}T{minute // 60 % 24:02d}:{minute % 60:02d}:00"


def frame_of(n: int, **columns: Sequence[object] | pl.Series) -> pl.DataFrame:
    """n events a minute apart, by ann throughout, with the given columns in place or in addition."""
    times = [at(minute) for minute in range(n)]
    return pl.DataFrame({"Worker": ["ann"] * n, "EventDatetime": times} | columns)


def names_of(log: EventLog, category: str) -> list[str | None]:
    """What the log says of each event in one category, in the order of the log."""
    index = [c.name for c in log.schema.categories].index(category)
    return [log.codec.names[index][id_] for id_ in log.events.ids[:, index]]
