"""A file of events to a prepared log: read, check, order, split, learn vocabularies, encode, index.

python -m training.prepare --schema flights --input flights.parquet --out log
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import tyro
from rich.console import Console

from eventmodel.codec import Codec, Events, Moment, text_of
from eventmodel.event_log import EventLog, StreamIndex, index_stream
from eventmodel.schema import EnumField, IdField, Schema, Stream, load_schema
from training.errors import exit_on_user_error
from training.prepare_report import CategoryReport, Part, Report, print_report, unknown_rates
from training.read_table import FIRST_LINE, read_table

LEAST_COUNT = 2
"""A value enters its vocabulary when the training part shows it this often: id 0 is learned
from the values seen once."""


@dataclass(frozen=True)
class PrepareConfig:
    """Turn a file of events into the log that training reads."""

    schema: str
    """A built-in schema (flights, workforce), or the path of a schema file."""
    input: Path
    """The events: a .csv or .parquet file with a column per field of the schema."""
    out: Path
    """Directory to write; a prepared log that is there already is replaced. Rows that cannot be
    read go to a file beside it, OUT.refused.csv."""
    train: float = 0.8
    """Share of the events, the oldest, to learn from."""
    validation: float = 0.1
    """Share of the events that follow, to choose by; the newest are left for the test."""


@dataclass(frozen=True)
class Column:
    """One input column, each distinct value once."""

    values: Sequence[object]
    """U distinct values."""
    codes: np.ndarray
    """(n,) int64: which of them each row holds."""

    @classmethod
    def of(cls, series: pl.Series) -> "Column":
        """The column of a polars series; values keep the order in which they first occur."""
        series = _plain(series).alias("value")
        distinct = series.unique(maintain_order=True).to_frame().with_row_index("code")
        coded = series.to_frame().join(distinct, on="value", how="left", nulls_equal=True, maintain_order="left")
        return cls(distinct["value"].to_list(), coded["code"].to_numpy().astype(np.int64))

    def take(self, rows: np.ndarray) -> "Column":
        """The column of these rows, with the values that they hold."""
        codes = self.codes[rows]
        is_held = np.bincount(codes, minlength=len(self.values)) > 0
        values = [value for value, held in zip(self.values, is_held, strict=True) if held]
        return Column(values, (np.cumsum(is_held) - 1)[codes])

    def counts(self, rows: slice) -> list[int]:
        """How many of these rows hold each of the U values."""
        return np.bincount(self.codes[rows], minlength=len(self.values)).tolist()

    def encode(self, encode: Callable[[object], Sequence[int]], width: int) -> tuple[np.ndarray, dict[int, str]]:
        """Encode each distinct value once.

        Returns:
            (n, width) int64, zeros where the value cannot be read; the reason per code of such a value.
        """
        table = np.zeros((len(self.values), width), np.int64)
        reasons: dict[int, str] = {}
        for code, value in enumerate(self.values):
            try:
                table[code] = encode(value)
            except ValueError as error:
                reasons[code] = str(error)
        return table[self.codes], reasons


def prepare(
    frame: pl.DataFrame,
    schema: Schema,
    train: float = 0.8,
    validation: float = 0.1,
    on_step: Callable[[str], object] = lambda step: None,
    parts: np.ndarray | None = None,
) -> tuple[EventLog, Report]:
    """Order, check and encode events, and index the streams of their entities.

    Args:
        frame: a column per field of the schema, text or typed; others are ignored.
        schema: what the columns mean.
        train: share of the rows in the training part.
        validation: share of the rows in the validation part.
        on_step: called with a few words as each step begins.
        parts: (n,) 0, 1 or 2 for training, validation and test: a split by entity, as published
            folds have it, in place of the one by time. Only the focus stream can be read then:
            any other would carry what one part knows into another.

    Returns:
        The log, and what became of the input: refused rows, sizes, shares of unknown values.

    Raises:
        ValueError: the log cannot be made at all: no ordering datetime, nothing left to keep, too
            few distinct times to split, a part without an event.
    """
    if not (train > 0 and validation > 0 and train + validation < 1):
        raise ValueError(f"train {train} and validation {validation} must be above 0 and leave something for the test")
    if schema.order_by not in frame.columns:
        raise ValueError(
            f"the input has no column {schema.order_by!r}, the datetime that orders the log; it has {frame.columns}"
        )
    if parts is not None and [stream.name for stream in schema.streams] != [schema.focus]:
        raise ValueError(f"a log that is split by entity reads one stream, {schema.focus!r}; leave out the others")
    present = [field for field in schema.fields if field.name in frame.columns]

    on_step("reading values")
    columns = {field.name: Column.of(frame[field.name]) for field in present}
    reader = Codec(schema, dict.fromkeys(schema.vocabularies, ()))
    moments, reasons = columns[schema.order_by].encode(reader.moment, 2)
    places = {f.name: [i for i, c in enumerate(schema.categories) if c.field == f.name] for f in present}
    ids = np.zeros((frame.height, len(schema.categories)), np.int32)
    faults = []
    for name, column in columns.items():
        ids[:, places[name]], unreadable = column.encode(partial(reader.encode_value, name), len(places[name]))
        faults.append(_faults(name, column, reasons if name == schema.order_by else unreadable))
    refused = pl.concat(faults).sort("line", maintain_order=True)

    on_step("ordering")
    is_kept = np.ones(frame.height, bool)
    is_kept[refused["line"].to_numpy() - FIRST_LINE] = False
    rows = np.flatnonzero(is_kept)
    if not len(rows):
        raise ValueError(f"nothing of the input can be kept: {_why_nothing(refused)}")
    rows = rows[np.argsort(moments[rows, 0], kind="stable")]
    if parts is not None:
        rows = rows[np.argsort(parts[rows], kind="stable")]
    ids, timestamp, utc_offset = ids[rows], moments[rows, 0], moments[rows, 1].astype(np.int32)
    columns = {name: column.take(rows) for name, column in columns.items()}
    if parts is None:
        train_end, validation_end = split(timestamp, train, validation)
    else:
        train_end, validation_end = (int(end) for end in np.searchsorted(parts[rows], (1, 2)))
        if not 0 < train_end < validation_end < len(rows):
            raise ValueError(
                f"training, validation and test each need an event; the parts end at rows {train_end}, "
                f"{validation_end} and {len(rows)}"
            )

    on_step("learning vocabularies")
    codec = Codec(schema, learn_vocabularies(schema, columns, slice(0, train_end)))
    for field in present:
        if isinstance(field, IdField):
            encode = partial(codec.encode_value, field.name)
            ids[:, places[field.name]], _ = columns[field.name].encode(encode, 1)

    on_step("indexing streams")
    streams = {s.name: _index(s, codec, columns, len(rows)) for s in schema.streams if s.keys}
    if not len(streams[schema.focus].rows):
        raise ValueError(
            f"no event names an entity of the focus stream {schema.focus!r}: "
            f"its key fields {list(schema.focus_stream.keys)} are blank or missing throughout"
        )
    events = Events(ids, timestamp, utc_offset)
    log = EventLog(schema, codec.vocabularies, events, streams, train_end, validation_end)
    return log, _report(log, frame, refused, columns)


def split(timestamp: np.ndarray, train: float, validation: float) -> tuple[int, int]:
    """Ends of the training and the validation part, in rows.

    The cuts lie as near to the wanted shares as they can without dividing events of equal time.

    Args:
        timestamp: (n,) in order.

    Raises:
        ValueError: fewer than three distinct times.
    """
    n = len(timestamp)
    cuts = np.flatnonzero(np.diff(timestamp)) + 1
    if len(cuts) < 2:
        raise ValueError(
            f"the log is too small to split: {n} events at {len(cuts) + 1} distinct times, and each of "
            "training, validation and test needs at least one"
        )
    first = int(np.argmin(np.abs(cuts[:-1] - n * train)))
    second = first + 1 + int(np.argmin(np.abs(cuts[first + 1 :] - n * (train + validation))))
    return int(cuts[first]), int(cuts[second])


def learn_vocabularies(schema: Schema, columns: dict[str, Column], rows: slice) -> dict[str, list[str]]:
    """Values seen at least twice in these rows, the most frequent first, then by text.

    Fields that share a vocabulary are counted together.
    """
    counters: dict[str, Counter[str]] = {name: Counter() for name in schema.vocabularies}
    for category in schema.categories:
        if category.vocabulary and category.field in columns:
            column = columns[category.field]
            for value, count in zip(column.values, column.counts(rows), strict=True):
                if (text := text_of(value)) is not None:
                    counters[category.vocabulary][text] += count
    return {
        name: sorted((v for v, count in counter.items() if count >= LEAST_COUNT), key=lambda v: (-counter[v], v))
        for name, counter in counters.items()
    }


def _plain(series: pl.Series) -> pl.Series:
    """Column types of Parquet that the codec does not know, as ones that it does."""
    if series.dtype == pl.Date:
        return series.cast(pl.Datetime("us"))
    if series.dtype.is_decimal():
        text = series.cast(pl.String)  # 1042.00 names the same thing as 1042
        return text.str.replace(r"^(-?\d+\.\d*?)0+$", "$1").str.strip_chars_end(".")
    return series


def _faults(field: str, column: Column, reasons: dict[int, str]) -> pl.DataFrame:
    """The rows whose value cannot be read."""
    rows = np.flatnonzero(np.isin(column.codes, list(reasons)))
    codes = column.codes[rows].tolist()
    return pl.DataFrame(
        {
            "line": rows + FIRST_LINE,
            "field": [field] * len(rows),
            "value": ["" if (value := column.values[code]) is None else str(value) for code in codes],
            "reason": [reasons[code] for code in codes],
        },
        schema={"line": pl.Int64, "field": pl.String, "value": pl.String, "reason": pl.String},
    )


def _why_nothing(refused: pl.DataFrame) -> str:
    if refused.is_empty():
        return "it has no rows"
    first = refused.row(0, named=True)
    return f"every row is refused; line {first['line']}, {first['field']}: {first['reason']}"


def _index(stream: Stream, codec: Codec, columns: dict[str, Column], n: int) -> StreamIndex:
    names = []
    for key in stream.keys:
        if key in columns:
            texts = np.array([text_of(value) for value in columns[key].values], object)
            names.append(texts[columns[key].codes].tolist())
        else:
            names.append([None] * n)
    category = codec.schema.key_category(stream)
    vocabulary = codec.schema.categories[category].vocabulary if category is not None else None
    return index_stream(names, codec.vocabularies[vocabulary] if vocabulary else None)


def _report(log: EventLog, frame: pl.DataFrame, refused: pl.DataFrame, columns: dict[str, Column]) -> Report:
    n = len(log.events.timestamp)
    ends = (log.train_end, log.validation_end, n)
    parts = []
    for name, start, end in zip(("training", "validation", "test"), (0, *ends[:-1]), ends, strict=True):
        first, last = (
            Moment(int(log.events.timestamp[row]), int(log.events.utc_offset[row])).wall for row in (start, end - 1)
        )
        parts.append(Part(name, end - start, first, last))
    rates = unknown_rates(log.events.ids, ends)
    outside = {}
    for field in log.schema.fields:
        if isinstance(field, EnumField) and field.name in columns and (found := _outside(field, columns[field.name])):
            outside[field.name] = found
    return Report(
        rows_read=frame.height,
        rows_kept=n,
        refused=refused,
        ignored_columns=tuple(name for name in frame.columns if name not in log.schema.field_by_name),
        missing_fields=tuple(f.name for f in log.schema.fields if f.name not in frame.columns),
        parts=tuple(parts),
        categories=tuple(
            CategoryReport(category.name, size, unknown)
            for category, size, unknown in zip(log.schema.categories, log.codec.sizes, rates, strict=True)
        ),
        entities={name: len(index.start) - 1 for name, index in log.streams.items()},
        outside=outside,
    )


def _outside(field: EnumField, column: Column) -> tuple[tuple[str, int], ...]:
    """Values that the closed set lacks, with their counts, most frequent first."""
    counted = zip(map(text_of, column.values), column.counts(slice(None)), strict=True)
    found = [(text, count) for text, count in counted if text is not None and text not in field.values]
    return tuple(sorted(found, key=lambda pair: (-pair[1], pair[0])))


def run(config: PrepareConfig, console: Console) -> None:
    """Prepare a file and save the log, the refused rows beside it; print the report.

    Raises:
        ValueError: the schema or the file is at fault.
        OSError: a file is missing, or ``config.out`` cannot be written or holds something else.
    """
    schema = load_schema(config.schema)
    with console.status(f"reading {config.input}") as status:
        frame = read_table(config.input)
        log, report = prepare(frame, schema, config.train, config.validation, on_step=status.update)
        status.update(f"writing {config.out}")
        log.save(config.out)
    refused = config.out.with_name(f"{config.out.name}.refused.csv")
    refused.unlink(missing_ok=True)  # an earlier run's
    if not report.refused.is_empty():
        report.refused.write_csv(refused)
    print_report(report, console)
    if report.rows_refused:
        console.print(f"All refused rows: {refused}", soft_wrap=True)
    console.print(f"Prepared log: {config.out}", soft_wrap=True)


def main() -> None:
    """Read the command line and run."""
    config = tyro.cli(PrepareConfig)
    with exit_on_user_error():
        run(config, Console())


if __name__ == "__main__":
    main()
