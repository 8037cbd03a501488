"""A user's files of events as polars frames, or one clear line about what is wrong with one of them.

A table is read whole, or, where it may be larger than memory, a batch of rows at a time.
"""

import csv
import glob
import gzip
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import polars as pl
import zstandard

HEADER_LINES = 1
FIRST_LINE = 1 + HEADER_LINES
"""Line of the first record."""
SUFFIXES = (".csv", ".csv.gz", ".csv.zst", ".parquet")
csv.field_size_limit(2**31 - 1)  # a value may be long
_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
_OPEN = {".csv": open, ".csv.gz": gzip.open, ".csv.zst": zstandard.open}


def find_tables(names: Sequence[str], but: Path | None = None) -> list[Path]:
    """The files that are named, in this order: a path, or a pattern whose matches come in the order of their names.

    Args:
        but: a file that no pattern means.

    Raises:
        ValueError: a file is of another kind, or named twice.
        OSError: there is none.
    """
    found: dict[Path, Path] = {}  # by where links and dots lead to
    for name in names:
        is_pattern = glob.has_magic(name) and not Path(name).exists()
        matches = [Path(match) for match in sorted(glob.glob(name, recursive=True))] if is_pattern else [Path(name)]
        if not matches:
            raise FileNotFoundError(f"no file matches {name}; give .csv or .parquet files")
        for path in matches:
            place = path.resolve()
            if is_pattern and but is not None and place == but.resolve():
                continue
            _suffix(path)
            if place in found:
                raise ValueError(f"{path} is named twice; each of its events would count twice")
            found[place] = path
    if not found:
        raise ValueError(f"no input; name files that end in {_any_of(SUFFIXES)}")
    return list(found.values())


def read_table(path: Path) -> pl.DataFrame:
    """Read a CSV or Parquet file, rows in the order of the file.

    A CSV file's columns are all text, so that ids keep theirs (leading zeros); a blank line is a
    row of blanks, so that rows and lines count alike.

    Raises:
        ValueError: broken, ragged or of another format; the message names the file.
        OSError: missing or not readable.
    """
    return pl.concat(scan_table(path))


def scan_table(path: Path, rows: int | None = None) -> Iterator[pl.DataFrame]:
    """The same, about ``rows`` at a time (by default, as many as suits polars); there is always a first one.

    Raises:
        ValueError, OSError: as ``read_table``, and where ``rows`` is given a ragged CSV file only at its end.
    """
    scan, is_csv = _scan(path), _suffix(path) != ".parquet"
    has_blank_ends = False
    try:
        columns = scan.clear().collect()  # also of a table without a row
        _check_separator(path, columns.columns)
        yield columns
        for batch in scan.collect_batches(chunk_size=rows, lazy=True):
            has_blank_ends |= is_csv and batch.width > 0 and batch.to_series(-1).has_nulls()
            yield batch
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None
    # A short line gives nulls at its end, so without any the slower check cannot find one.
    if has_blank_ends:
        _check_widths(path)


def number_rows(path: Path, frames: Iterable[pl.DataFrame]) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
    """Each batch of a file's rows with (n,) int64 where to find them: the line of a CSV file on which each one
    begins, its number in a Parquet file, counted from 1."""
    is_csv = _suffix(path) != ".parquet"
    line = FIRST_LINE if is_csv else 1
    for frame in frames:
        taken = np.ones(frame.height, np.int64)
        if is_csv and frame.width:  # a quoted value may span lines
            taken += frame.select(pl.all().str.count_matches("\n", literal=True)).sum_horizontal().to_numpy()
        yield frame, line + np.cumsum(taken) - taken
        line += int(taken.sum())


def columns_of(path: Path) -> list[str]:
    """Names of the columns.

    Raises:
        ValueError, OSError: as ``read_table``.
    """
    try:
        names = _scan(path).collect_schema().names()
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None
    _check_separator(path, names)
    return names


def _check_separator(path: Path, columns: Sequence[str]) -> None:
    """Most programs that do not separate columns by commas do so by one of three others."""
    for name, separator in (("semicolons", ";"), ("tabs", "\t"), ("bars", "|")):
        if _suffix(path) != ".parquet" and len(columns) == 1 and separator in columns[0]:
            raise ValueError(f"{path} separates its columns by {name}; save it with commas")


def count_rows(path: Path) -> int:
    """How many rows ``scan_table`` will give; exact where the file is sound, and much faster than reading it."""
    try:
        return int(_scan(path).select(pl.len()).collect().item())
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None


def _scan(path: Path) -> pl.LazyFrame:
    suffix = _suffix(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give a .csv or .parquet file")
    source = path.absolute()  # what looks like the address of a web page is a file as well
    if suffix == ".parquet":
        return pl.scan_parquet(source, glob=False)
    table = pl.scan_csv(source, infer_schema=False, glob=False)
    try:
        found = table.collect_schema().names()
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None
    return table.rename(dict(zip(found, _header(path, len(found)), strict=True)))


def _header(path: Path, width: int) -> list[str]:
    """Names of a CSV file's columns: polars leaves the marks within a quoted one, and renames equal ones.

    Raises:
        ValueError: they are not as many as polars found, or not different.
    """
    try:
        with _open(path) as file:
            names = next(csv.reader(file), [])
    except UnicodeDecodeError as error:
        raise _no_text(path, error) from None
    if len(names) != width:
        raise ValueError(f"{path}: the header cannot be told from what follows; end lines with \\n or \\r\\n")
    for at, name in enumerate(names):
        if name and name in names[:at]:
            raise ValueError(f"{path} has two columns {name!r}; rename or remove one")
    # columns without a name are nobody's
    return [name or " " * at for at, name in enumerate(names)]


def _suffix(path: Path) -> str:
    """Which of ``SUFFIXES`` a file has."""
    found = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)
    if found is None and path.is_dir():
        raise FileNotFoundError(f"{path} is not a file; give a .csv or .parquet file")
    if found is None:
        raise ValueError(f"{path} must end in {_any_of(SUFFIXES)}")
    return found


def _any_of(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _unreadable(path: Path, error: BaseException) -> ValueError | OSError:
    """What to say of a file that polars cannot read; a CSV file is searched for the line at fault."""
    if isinstance(error, FileNotFoundError):
        return error
    if _suffix(path) != ".parquet":
        _check_widths(path)
    if isinstance(error, OSError) and error.errno:
        return error
    if _suffix(path) != ".parquet" and (line := _lone_quote(path)):
        return ValueError(f'{path}, line {line}: a " within a value that is not quoted; write "" in a quoted one')
    panic = re.search(r'ErrString\("([^"\\\\]*)', str(error))
    reason = panic[1] if panic else str(error).strip().splitlines()[0]
    return ValueError(f"{path} cannot be read as {path.suffix.removeprefix('.')}: {reason}")


def _lone_quote(path: Path) -> int | None:
    """The first line of a CSV file with a quotation mark that neither begins, ends nor stands doubled in a value."""
    read: list[str] = []

    def lines(file: TextIO) -> Iterator[str]:
        for line in file:
            read.append(line)
            yield line

    with _open(path) as file:
        rows = csv.reader(lines(file))
        for values in rows:
            text = "".join(read)
            if any('"' in value and value.replace('"', '""') not in text for value in values):
                return rows.line_num
            read.clear()
    return None


def _check_widths(path: Path) -> None:
    """Every line of a CSV file has as many values as its header, or none at all.

    Raises:
        ValueError: names the first line that differs, and says how many do.
    """
    line, first, wrong = 1, "", 0
    try:
        with _open(path) as file:
            lines = csv.reader(file, strict=True)
            width = len(next(lines, []))
            for values in lines:
                line = lines.line_num
                if len(values) not in (0, width):
                    first = first or f"line {line}: {len(values)} values, but the header names {width} columns"
                    wrong += 1
    except UnicodeDecodeError as error:
        raise _no_text(path, error) from None
    except csv.Error as error:
        raise ValueError(f"{path}, {first or f'after line {line}: {error}'}") from None
    except (EOFError, zstandard.ZstdError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} cannot be decompressed: {error}") from None
    if wrong:
        raise ValueError(f"{path}, {first}" + (f"; {wrong:,} such lines in all" if wrong > 1 else ""))


def _no_text(path: Path, error: UnicodeDecodeError) -> ValueError:
    return ValueError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8")


def _open(path: Path) -> TextIO:
    return _OPEN[_suffix(path)](path, "rt", newline="", encoding="utf-8-sig")  # type: ignore[operator]
