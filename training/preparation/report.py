"""What became of a file of events: the numbers that a person looks at before training on it."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

SHOWN_REFUSALS = 10
SHOWN_VALUES = 5
SHOWN_LETTERS = 60
"""Of a refused value; the file of refused rows has it whole."""


@dataclass(frozen=True)
class Part:
    """A part of the chronological split."""

    name: str
    rows: int
    first: datetime
    """Wall time of its oldest event."""
    last: datetime


@dataclass(frozen=True)
class CategoryReport:
    """One category of the prepared log."""

    name: str
    size: int
    """Number of ids, 0 included."""
    unknown: tuple[float, ...]
    """Per part, the share of events with id 0: blank, or a value that is not in the vocabulary."""


@dataclass(frozen=True)
class Report:
    """What prepare read, refused and made."""

    rows_read: int
    rows_kept: int
    refused: pl.DataFrame
    """One row per value that cannot be read, the first ones if there are very many: line, field,
    value, reason, and before them the file where there are several. The line is the one of a CSV file
    on which the row begins, or the number of a Parquet file's row."""
    refused_values: int
    """How many values cannot be read."""
    ignored_columns: tuple[str, ...]
    """Input columns that the schema does not know."""
    missing_fields: tuple[str, ...]
    """Fields that the input does not have: unknown throughout."""
    parts: tuple[Part, ...]
    """Training, validation, test."""
    categories: tuple[CategoryReport, ...]
    entities: dict[str, int]
    """Per keyed stream, how many entities it has."""
    outside: dict[str, tuple[tuple[str, int], ...]]
    """Per enum field, values outside its closed set with their counts, most frequent first; they
    are read as unknown."""

    @property
    def rows_refused(self) -> int:
        """Rows with at least one value that cannot be read."""
        return self.rows_read - self.rows_kept


def print_report(report: Report, console: Console) -> None:
    """Print the report as tables and warnings."""
    say = partial(console.print, soft_wrap=True)  # the terminal wraps; a pipe gets whole lines
    say(
        f"{report.rows_read:,} rows read, {report.rows_refused:,} refused, {report.rows_kept:,} kept, "
        f"from {report.parts[0].first} to {report.parts[-1].last}"
    )
    parts = _table("Split", "part", "events", "first", "last")
    for part in report.parts:
        parts.add_row(part.name, f"{part.rows:,}", str(part.first), str(part.last))
    console.print(parts)

    numbers = ("ids", *(part.name for part in report.parts))
    categories = _table("Categories: number of ids, and the share of unknown values in each part", "category", *numbers)
    for category in report.categories:
        categories.add_row(escape(category.name), f"{category.size:,}", *(f"{rate:.2%}" for rate in category.unknown))
    console.print(categories)

    for stream, count in report.entities.items():
        say(f"Stream {stream}: {count:,} entities")
    if report.missing_fields:
        say(f"Not in the input, unknown throughout: {escape(', '.join(report.missing_fields))}")
    if report.ignored_columns:
        say(f"Columns that the schema does not know, ignored: {escape(', '.join(report.ignored_columns))}")
    for field, values in report.outside.items():
        listed = [f"{value!r} ({count:,})" for value, count in values[:SHOWN_VALUES]]
        more = f" and {len(values) - SHOWN_VALUES:,} more" if len(values) > SHOWN_VALUES else ""
        say(f"Outside the closed set of {escape(field)}, so unknown: {escape(', '.join(listed))}{more}")
    if report.refused_values:
        shown = report.refused.head(SHOWN_REFUSALS)
        say(f"Values that cannot be read: {report.refused_values:,}, the first {shown.height}:")
        for *file, line, field, value, reason in shown.rows():
            place = ", ".join([*file, f"line {line}"])
            shown_value = repr(value) if len(value) <= SHOWN_LETTERS else f"{value[:SHOWN_LETTERS]!r}..."
            say(f"  {escape(place)}, {escape(field)} = {escape(shown_value)}: {escape(reason)}")


def _table(title: str, first: str, *numbers: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right")
    return table
