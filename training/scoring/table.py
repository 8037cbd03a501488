"""Scored events as a table: one row per event and focus, written as it comes.

row             of the event in the prepared log
focus           the entity whose next event it was; an event that concerns two entities has two rows
time            ISO 8601
joint_surprise  nats, along the chain
unusual         how far the most unusual category is above its expected surprise, in standard
                deviations, given the event's earlier categories (eventmodel/surprise.py); values that
                training never showed are left out, and minus infinity is an event of nothing else:
                of that, the next four columns are null
most_unusual    which category that is
value, usual    what it was, and what was most probable; null is unknown
chance          probability of that value, given the event's earlier categories
surprise_NAME, probability_NAME     of each category on its own
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

from eventmodel.event_log import EventLog
from training.scoring.event_scores import EventScores
from training.write_table import check_suffix, write_table

FIRST_COLUMNS = ("row", "focus", "time", "joint_surprise", "unusual", "most_unusual", "value", "usual", "chance")
"""Those that every schema has."""
ROWS_AT_A_TIME = 65_536
"""Rows that are held until they are written."""


def to_frame(log: EventLog, scores: EventScores) -> pl.DataFrame:
    """A batch of scores as a table."""
    schema, codec, index = log.schema, log.codec, log.focus
    row = index.rows[scores.position + 1]
    focus = index.entity_at(scores.position)
    most = scores.unusual.argmax(1)
    at = np.arange(len(row)), most
    names = [codec.names[c] for c in most]
    is_any = np.isfinite(scores.unusual[at])
    columns: dict[str, object] = {
        "row": row,
        "focus": [index.name(int(entity)) for entity in focus],
        "time": [codec.iso(codec.at_timestamp(int(time))) for time in log.events.timestamp[row]],
        "joint_surprise": -scores.chain_log_prob.sum(1),
        "unusual": scores.unusual[at],
        "most_unusual": [schema.categories[c].name for c in most],
        "value": [known[id_] for known, id_ in zip(names, scores.label[at], strict=True)],
        "usual": [known[id_] for known, id_ in zip(names, scores.usual[at], strict=True)],
        "chance": np.exp(scores.chain_log_prob[at]),
    }
    for c, category in enumerate(schema.categories):
        columns[f"surprise_{category.name}"] = -scores.log_prob[:, c]
        columns[f"probability_{category.name}"] = np.exp(scores.log_prob[:, c])
    table = pl.DataFrame(columns, schema_overrides={"value": pl.String, "usual": pl.String})
    of_most = pl.col("most_unusual", "value", "usual", "chance")
    return table.with_columns(pl.when(pl.Series(is_any)).then(of_most).name.keep())


def write_frames(frames: Iterable[pl.DataFrame], out: Path) -> None:
    """Write tables one after the other into one file, whole or not at all.

    Raises:
        ValueError: the suffix is that of no table.
        OSError: it cannot be written.
    """
    check_suffix(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    # beside the file, so that the last step is a change of name
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as directory:
        parts = Path(directory)
        written = []
        for number, frame in enumerate(_grouped(frames)):
            written.append(parts / f"{number:09d}.parquet")
            frame.write_parquet(written[-1])
        draft = parts / out.name
        write_table(pl.scan_parquet(written, glob=False), draft)
        draft.replace(out)


def _grouped(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows in fewer tables."""
    held: list[pl.DataFrame] = []
    for frame in frames:
        held.append(frame)
        if sum(map(len, held)) >= ROWS_AT_A_TIME:
            yield pl.concat(held)
            held = []
    if held:
        yield pl.concat(held)
