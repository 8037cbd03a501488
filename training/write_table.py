"""Tables for people and programs to read, as CSV or Parquet by the file's suffix."""

from pathlib import Path

import polars as pl

SUFFIXES = (".csv", ".parquet")


def check_suffix(path: Path) -> None:
    """Said before the work, not after.

    Raises:
        ValueError: it is none of ``SUFFIXES``.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path} must end in {' or '.join(SUFFIXES)}")


def write_table(table: pl.LazyFrame, path: Path) -> None:
    """Write a table as it comes; datetimes of a CSV in ISO 8601 to the second.

    Raises:
        OSError: it cannot be written.
    """
    if path.suffix == ".csv":
        table.sink_csv(path, datetime_format="%Y-%m-%dT%H:%M:%S")
    else:
        table.sink_parquet(path)
