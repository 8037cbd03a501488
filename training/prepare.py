"""Files of events to a prepared log, which training reads.

python -m training.prepare --schema flights --input flights.parquet --out log
"""

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl
import tyro
from rich.console import Console
from rich.progress import TaskID

from eventmodel.codec import Vocabularies
from eventmodel.directory import write_directory
from eventmodel.event_log import FORMAT
from eventmodel.schema import Schema, builtin_schemas, load_schema
from training.errors import exit_on_user_error
from training.preparation.log import BATCH_ROWS, Batch, Table, write_log
from training.preparation.report import print_report
from training.progress import COUNT, bars
from training.read_table import columns_of, count_rows, find_tables, number_rows, scan_table


@dataclass(frozen=True)
class PrepareConfig:
    """Turn files of events into the log that training reads."""

    schema: str
    """A built-in schema (flights, workforce), the path of a schema file, or a checkpoint as RUN/best: then
    the log is one to measure its model on, in that model's schema and with the names that it knows."""
    input: tuple[str, ...]
    """The events: .csv, .csv.gz, .csv.zst or .parquet files with a column per field of the schema;
    names, or patterns in quotes like "logs/*.csv.gz". They may be larger than memory."""
    out: Path
    """Directory to write; a prepared log that is there already is replaced. Rows that cannot be
    read go to a file beside it, OUT.refused.csv."""
    train: float = 0.8
    """Share of the events, the oldest, to learn from."""
    validation: float = 0.1
    """Share of the events that follow, to choose by; the newest are left for the test."""


def read_files(schema: Schema, names: Sequence[str], but: Path) -> Table:
    """The rows of files, one file after the other; ``but`` as in ``find_tables``.

    Raises:
        ValueError: a file is broken, or lacks a field that another one has.
        OSError: a file is missing.
    """
    paths = find_tables(names, but)
    columns = columns_of(paths[0])
    for path in paths[1:]:
        differs = set(columns).symmetric_difference(columns_of(path)) & set(schema.field_by_name)
        for field in (f for f in schema.field_by_name if f in differs):
            has, lacks = (paths[0], path) if field in columns else (path, paths[0])
            raise ValueError(f"{lacks} has no column {field!r}, which {has} has; add it, blank where nothing is known")

    def batches() -> Iterator[Batch]:
        for path in paths:
            for frame, lines in number_rows(path, scan_table(path, BATCH_ROWS)):
                yield Batch(frame, lines, str(path) if len(paths) > 1 else "")

    return Table(columns, sum(map(count_rows, paths)), batches())


def _schema_of(name: str) -> tuple[Schema, Vocabularies | None]:
    """A schema, and of a checkpoint its vocabularies."""
    if name in builtin_schemas() or not Path(name).is_dir():
        return load_schema(name), None
    from eventmodel.checkpoint import load_checkpoint  # brings torch, which takes seconds

    codec = load_checkpoint(Path(name)).codec
    return codec.schema, codec.vocabularies


def run(config: PrepareConfig, console: Console) -> None:
    """Prepare files and save the log, the refused rows beside it; print the report.

    Raises:
        ValueError: the schema or a file is at fault.
        OSError: a file is missing, or ``config.out`` cannot be written or holds something else.
    """
    if not config.out.name:  # as of "."
        raise ValueError(f"--out {config.out} has no name to put files beside it by; name a new directory")
    schema, vocabularies = _schema_of(config.schema)
    refused = config.out.with_name(f"{config.out.name}.refused.csv")
    draft = config.out.with_name(f".{refused.name}.writing-{os.getpid()}")

    def write_refused(values: pl.DataFrame) -> None:
        with draft.open("ab") as file:
            values.write_csv(file, include_header=file.tell() == 0)

    try:
        with write_directory(config.out, replaces=FORMAT.file) as directory, _Bars(console) as bars:
            report = write_log(
                directory,
                schema,
                read_files(schema, config.input, but=refused),
                config.train,
                config.validation,
                vocabularies=vocabularies,
                on_refused=write_refused,
                advance=bars.advance,
            )
        refused.unlink(missing_ok=True)  # an earlier run's
        if report.refused_values:
            os.replace(draft, refused)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(
                f"{config.out} cannot be written: the disk is full; while it is prepared, a log takes half of "
                "its size more. What was there before is as it was"
            ) from None
        raise
    finally:
        draft.unlink(missing_ok=True)
    print_report(report, console)
    if report.refused_values:
        console.print(f"All refused rows: {refused}", soft_wrap=True, markup=False)
    console.print(f"Prepared log: {config.out}", soft_wrap=True, markup=False)


class _Bars:
    """A bar per step, with the time that it still takes."""

    def __init__(self, console: Console) -> None:
        self._progress = bars(console, COUNT)
        self._task: dict[str, TaskID] = {}

    def advance(self, step: str, done: int, total: int) -> None:
        if step not in self._task:
            self._task[step] = self._progress.add_task(step)
        self._progress.update(self._task[step], completed=done, total=max(total, done))

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def main() -> None:
    """Read the command line and run."""
    config = tyro.cli(PrepareConfig, prog="python -m training.prepare")
    with exit_on_user_error():
        run(config, Console())


if __name__ == "__main__":
    main()
