"""A user's file of events as a polars frame, or one clear line about what is wrong with it."""

import csv
from pathlib import Path

import polars as pl

HEADER_LINES = 1
FIRST_LINE = 1 + HEADER_LINES
"""Line of the first record: row i of the frame is line i + 2, where no quoted value spans lines."""


def read_table(path: Path) -> pl.DataFrame:
    """Read a CSV or Parquet file, rows in the order of the file.

    A CSV file's columns are all text, so that ids keep theirs (leading zeros); a blank line is a
    row of blanks, so that rows and lines count alike.

    Raises:
        ValueError: broken, ragged or of another format; the message names the file.
        OSError: missing or not readable.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give a .csv or .parquet file")
    if path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"{path} must end in .csv or .parquet")
    try:
        frame = pl.read_csv(path, infer_schema=False) if path.suffix == ".csv" else pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        if path.suffix == ".csv":
            _check_widths(path)
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{path} cannot be read as {path.suffix.removeprefix('.')}: {reason}") from None
    # A short line gives nulls at its end, so without any the slower check cannot find one.
    if path.suffix == ".csv" and frame.width and frame.to_series(-1).has_nulls():
        _check_widths(path)
    return frame


def _check_widths(path: Path) -> None:
    """Every line of a CSV file has as many values as its header, or none at all.

    Raises:
        ValueError: names the first line that differs.
    """
    line = 1
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, strict=True)
            width = len(next(lines, []))
            for values in lines:
                line = lines.line_num
                if len(values) not in (0, width):
                    raise ValueError(f"{path}, line {line}: {len(values)} values, but the header names {width} columns")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{path}, after line {line}: {error}") from None
