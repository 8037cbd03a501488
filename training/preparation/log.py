"""Rows of events to a log: read, check, order, split, learn vocabularies, encode, index.

Neither the rows nor the log need to fit in memory: what grows with them lies on the disk. Rows are
read a batch at a time and kept as numbers, sorted within the batch; the sorted batches are merged,
first for when each event happened, which says where the training part ends and so what the
vocabularies are, then for the rest. The same happens to a frame in memory.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import polars as pl

from eventmodel.codec import Codec, Moment, Vocabularies
from eventmodel.event_log import EventLog, array_path
from eventmodel.log_writer import LogWriter, write_timestamps
from eventmodel.schema import Schema
from training.preparation.report import CategoryReport, Part, Report
from training.preparation.row_reader import REFUSED, RowReader
from training.preparation.sorted_runs import SortedRuns
from training.preparation.split import split
from training.preparation.vocabularies import ids_of_numbers, learn_vocabularies
from training.read_table import FIRST_LINE

BATCH_ROWS = 1 << 18
"""Rows that are read at a time."""
MERGE_ROWS = 1 << 20
"""Rows that are merged at a time."""
KEPT_REFUSALS = 10_000
"""Refused values that the report holds; the file beside the log has all of them."""
PART_KEYS = 1 << 60
"""Distance of the sort keys of one part and the next; no time of the calendar is as far from 1970."""


class Batch(NamedTuple):
    """Rows of the input."""

    frame: pl.DataFrame
    lines: np.ndarray
    """(n,) int64: where each one is in its file, as ``number_rows`` counts."""
    file: str = ""


Advance = Callable[[str, int, int], object]
"""Called now and then with a step's name, and with how many rows of how many are done."""


class Table(NamedTuple):
    """An input that is read once."""

    columns: Sequence[str]
    rows: int
    """How many; what is refused counts as well. Only the display of progress goes by it."""
    batches: Iterable[Batch]


def prepare(
    frame: pl.DataFrame,
    schema: Schema,
    train: float = 0.8,
    validation: float = 0.1,
    parts: np.ndarray | None = None,
    batch_rows: int = BATCH_ROWS,
) -> tuple[EventLog, Report]:
    """Order, check and encode events, and index the streams of their entities.

    Args:
        frame: a column per field of the schema, text or typed; others are ignored.
        schema: what the columns mean.
        train: share of the rows in the training part.
        validation: share of the rows in the validation part.
        parts: (n,) 0, 1 or 2 for training, validation and test: a split by entity, as published
            folds have it, in place of the one by time. Only the focus stream can be read then:
            any other would carry what one part knows into another.
        batch_rows: rows that are read at a time; the result does not depend on it.

    Returns:
        The log in memory, and what became of the input: refused rows, sizes, shares of unknown values.

    Raises:
        ValueError: the log cannot be made at all: no ordering datetime, nothing left to keep, too
            few distinct times to split, a part without an event.
    """
    lines = np.arange(frame.height) + FIRST_LINE
    batches = (
        Batch(frame[begin : begin + batch_rows], lines[begin : begin + batch_rows])
        for begin in range(0, frame.height, batch_rows)
    )
    with TemporaryDirectory() as directory:
        report = write_log(
            Path(directory),
            schema,
            Table(frame.columns, frame.height, batches),
            train,
            validation,
            parts=parts,
            window=min(MERGE_ROWS, batch_rows),
        )
        return EventLog.load(Path(directory), is_mapped=False), report


def write_log(
    directory: Path,
    schema: Schema,
    table: Table,
    train: float,
    validation: float,
    *,
    parts: np.ndarray | None = None,
    vocabularies: Vocabularies | None = None,
    window: int = MERGE_ROWS,
    on_refused: Callable[[pl.DataFrame], object] = lambda values: None,
    advance: Advance = lambda step, done, total: None,
) -> Report:
    """Write a log into an empty directory; arguments beside these as in ``prepare``.

    Memory: the distinct names, one batch, and ``window`` rows or all that happened at one time.
    The disk holds, for the while, the rows once more, in ``directory``.

    Args:
        vocabularies: of a model that this log is for; None learns those of its training part.
        window: rows that are merged at a time.
        on_refused: called with values that cannot be read, in the order of the input.

    Raises:
        ValueError: as ``prepare``.
        OSError: the disk is full.
    """
    _check(schema, table.columns, train, validation, parts)
    scratch = directory / "scratch"
    scratch.mkdir()
    shares, reader = (train, validation), RowReader(schema, table.columns)
    try:
        columns = [(np.dtype(np.int32), len(reader.named)), (reader.id_type, len(reader.closed))]
        if schema.time_zone:
            columns.append((np.dtype(np.int32), 1))
        with SortedRuns(scratch, columns) as runs:
            read = _read(table, reader, runs, parts, on_refused, advance)
            split_as = (shares, parts is not None)
            return _merge(
                directory, schema, table.columns, reader, runs, read, *split_as, vocabularies, window, advance
            )
    except MemoryError:
        names = ", ".join(f"{name} {len(numbers):,}" for name, numbers in reader.numbers.items())
        raise ValueError(
            f"out of memory, which holds every different name: {names}. Leave a field that names each event apart out "
            "of the schema, or prepare fewer files"
        ) from None
    finally:
        shutil.rmtree(scratch)


def _check(schema: Schema, columns: Sequence[str], train: float, validation: float, parts: np.ndarray | None) -> None:
    if not (train > 0 and validation > 0 and train + validation < 1):
        raise ValueError(f"train {train} and validation {validation} must be above 0 and leave something for the test")
    if schema.order_by not in columns:
        raise ValueError(
            f"the input has no column {schema.order_by!r}, the datetime that orders the log; it has {list(columns)}"
        )
    if parts is not None and [stream.name for stream in schema.streams] != [schema.focus]:
        raise ValueError(f"a log that is split by entity reads one stream, {schema.focus!r}; leave out the others")


@dataclass
class _Read:
    """What reading all batches gives beside the rows."""

    rows: int
    refused: pl.DataFrame
    """The first ``KEPT_REFUSALS`` values."""
    refused_values: int


def _read(
    table: Table,
    reader: RowReader,
    runs: SortedRuns,
    parts: np.ndarray | None,
    on_refused: Callable[[pl.DataFrame], object],
    advance: Advance,
) -> _Read:
    """Read all rows, and keep those that can be read as sorted runs.

    Raises:
        ValueError: none can.
    """
    result = _Read(0, pl.DataFrame(schema=REFUSED), 0)
    for batch in table.batches:
        rows, refused = reader.read(batch.frame, batch.lines)
        keys = rows.timestamp
        if parts is not None:
            keys = keys + parts[result.rows + rows.place].astype(np.int64) * PART_KEYS
        columns = [rows.names, rows.ids, rows.utc_offset[:, None]]
        runs.append(keys, *columns[: runs.n_columns])
        if len(refused):
            if batch.file:
                refused = refused.select(pl.lit(batch.file).alias("file"), pl.all())
            on_refused(refused)
            earlier = [result.refused] if result.refused_values else []
            result.refused = pl.concat([*earlier, refused]).head(KEPT_REFUSALS)
        result.rows += batch.frame.height
        result.refused_values += len(refused)
        advance("reading", result.rows, table.rows)
    if not len(runs):
        raise ValueError(f"nothing of the input can be kept: {_why_nothing(result.refused)}")
    return result


def _merge(
    directory: Path,
    schema: Schema,
    columns: Sequence[str],
    reader: RowReader,
    runs: SortedRuns,
    read: _Read,
    shares: tuple[float, float],
    by_part: bool,
    vocabularies: Vocabularies | None,
    window: int,
    advance: Advance,
) -> Report:
    """Write the log from sorted runs."""
    timestamp, ends = _order(directory, runs, shares, by_part, window, advance)
    first_later_key = PART_KEYS // 2 if by_part else int(timestamp[ends[0]])
    if vocabularies is None:
        vocabularies = learn_vocabularies(schema, reader, runs.below(first_later_key, 0, window))
    id_of = ids_of_numbers(reader, vocabularies)

    keyed = [stream for stream in schema.streams if stream.keys]
    place = {field.name: i for i, field in enumerate(reader.named)}
    names_of = {s.name: reader.named[place[s.keys[0]]].names_from for s in keyed}
    n_names = {s.name: len(reader.numbers[names_of[s.name]]) for s in keyed}
    with LogWriter(directory, schema, n_names) as log:
        unknown = _encode(log, schema, reader, runs, id_of, ends, window, advance)
        if not log.entities(schema.focus):
            raise ValueError(
                f"no event names an entity of the focus stream {schema.focus!r}: "
                f"its key fields {list(schema.focus_stream.keys)} are blank or missing throughout"
            )
        for stream in keyed:
            known = schema.key_category(stream) is not None
            ids_of_names = id_of[names_of[stream.name]][:-1] if known else np.zeros(n_names[stream.name], np.int32)
            names = list(reader.numbers[names_of[stream.name]])
            log.index(stream.name, names, ids_of_names, partial(advance, f"indexing {stream.name}"))
        log.finish(vocabularies, *ends[:2])
        entities = {stream.name: log.entities(stream.name) for stream in keyed}
    utc_offset = np.load(array_path(directory, "events.utc_offset"), "r")
    return Report(
        rows_read=read.rows,
        rows_kept=len(runs),
        refused=read.refused,
        refused_values=read.refused_values,
        ignored_columns=tuple(name for name in columns if name not in schema.field_by_name),
        missing_fields=tuple(field.name for field in schema.fields if field.name not in columns),
        parts=tuple(
            Part(name, end - begin, *(Moment(int(timestamp[i]), int(utc_offset[i])).wall for i in (begin, end - 1)))
            for name, begin, end in zip(("training", "validation", "test"), (0, *ends[:-1]), ends, strict=True)
        ),
        categories=tuple(
            CategoryReport(category.name, size, tuple(float(rate) for rate in rates))
            for category, size, rates in zip(
                schema.categories,
                Codec(schema, vocabularies).sizes,
                (unknown / np.diff((0, *ends))[:, None]).T,
                strict=True,
            )
        ),
        entities=entities,
        outside={
            name: tuple(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))
            for name, found in reader.outside.items()
            if found
        },
    )


def _order(
    directory: Path,
    runs: SortedRuns,
    shares: tuple[float, float],
    by_part: bool,
    window: int,
    advance: Advance,
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Write when each event happened: the timestamps (n,) in order, and the row at which each part ends.

    Raises:
        ValueError: the parts cannot be told apart, or one has no event.
    """
    n, of_part = len(runs), np.zeros(3, np.int64)

    def timestamps() -> Iterator[np.ndarray]:
        done = 0
        for keys in runs.merged_keys(window):
            part = (keys + PART_KEYS // 2) // PART_KEYS
            of_part[:] += np.bincount(part, minlength=3)
            yield keys - part * PART_KEYS
            done += len(keys)
            advance("ordering", done, n)

    timestamp = write_timestamps(directory, timestamps())
    if not by_part:
        return timestamp, (*split(timestamp, *shares), n)
    train_end, validation_end = (int(end) for end in of_part.cumsum()[:2])
    if not 0 < train_end < validation_end < n:
        raise ValueError(
            f"training, validation and test each need an event; the parts end at rows {train_end}, "
            f"{validation_end} and {n}"
        )
    return timestamp, (train_end, validation_end, n)


def _encode(
    log: LogWriter,
    schema: Schema,
    reader: RowReader,
    runs: SortedRuns,
    id_of: Mapping[str, np.ndarray],
    ends: tuple[int, int, int],
    window: int,
    advance: Advance,
) -> np.ndarray:
    """Write the events' categories in the order of time; how many are unknown by part and category, (3, C)."""
    unknown = np.zeros((3, len(schema.categories)), np.int64)
    place = {field.name: i for i, field in enumerate(reader.named)}
    done = 0
    for names, closed, *offset in runs.merged(window):
        ids = np.empty((len(names), len(schema.categories)), np.int32)
        ids[:, reader.closed] = closed
        for i, category in enumerate(schema.categories):
            if category.vocabulary:
                ids[:, i] = id_of[category.vocabulary][names[:, place[category.field]]]
        utc_offset = offset[0][:, 0] if offset else np.zeros(len(names), np.int32)
        keys = {s.name: names[:, [place[key] for key in s.keys]] for s in schema.streams if s.keys}
        log.append(ids, utc_offset, keys)
        for part, (begin, end) in enumerate(zip((0, *ends[:-1]), ends, strict=True)):
            unknown[part] += (ids[max(begin - done, 0) : max(end - done, 0)] == 0).sum(0)
        done += len(names)
        advance("encoding", done, len(runs))
    return unknown


def _why_nothing(refused: pl.DataFrame) -> str:
    if refused.is_empty():
        return "it has no rows"
    first = refused.row(0, named=True)
    file = f"{first['file']}, " if "file" in first else ""
    return f"every row is refused; {file}line {first['line']}, {first['field']}: {first['reason']}"
