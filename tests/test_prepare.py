"""The program: files in, a log and a report out, and what goes wrong with them."""

import errno
import gzip
import os
import signal
import time
from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import zstandard
from event_frames import at, frame_of
from logs import assert_equal
from rich.console import Console

from eventmodel.event_log import EventLog
from eventmodel.log_writer import LogWriter
from eventmodel.schema import Schema, load_schema
from training.column import Column
from training.preparation import prepare
from training.preparation.report import print_report
from training.preparation.row_reader import RowReader
from training.prepare import PrepareConfig, _schema_of, main, run
from training.read_table import columns_of, read_table


@pytest.fixture
def schema_file(tiny_schema: Schema, tmp_path: Path) -> str:
    path = tmp_path / "tiny.json"
    path.write_text(tiny_schema.model_dump_json(), "utf-8")
    return str(path)


def test_csv_and_parquet_give_the_same_log(small_frame, small_log, tmp_path):
    small_frame.write_csv(tmp_path / "events.csv")
    small_frame.write_parquet(tmp_path / "events.parquet")
    for name in ("events.csv", "events.parquet"):
        log, _ = prepare(read_table(tmp_path / name), load_schema("workforce"))
        assert log.codec.vocabularies == small_log.codec.vocabularies
        np.testing.assert_array_equal(log.events.ids, small_log.events.ids)


def test_an_id_of_a_csv_file_keeps_its_leading_zeros(tmp_path):
    (tmp_path / "events.csv").write_text("Worker\n0042\n", "utf-8")
    assert read_table(tmp_path / "events.csv").rows() == [("0042",)]


def test_a_blank_line_counts_as_a_row(tmp_path):
    (tmp_path / "events.csv").write_text("a,b\n1,2\n\n3,4\n", "utf-8")
    assert read_table(tmp_path / "events.csv").rows() == [("1", "2"), (None, None), ("3", "4")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n3\n", "events.csv, line 3: 1 values, but the header names 2 columns"),
        (b"a,b\n1,2\n3,4,5\n", "events.csv, line 3: 3 values, but the header names 2 columns"),
        (b'a,b\n1,"2\n', "events.csv, after line 1: unexpected end of data"),
        (b'a,b\n1\n2,3\n4,"x\n', "events.csv, line 2: 1 values, but the header names 2 columns"),
        (b"a,b\n1,\xff\n", "events.csv is not UTF-8 text"),
        (b"", "events.csv cannot be read as csv: empty CSV"),
        (b"a,b\n1\n2,3\n4\n", "events.csv, line 2: 1 values, but the header names 2 columns; 2 such lines in all"),
        (b"gr\xf6\xdfe,b\n1,2\n", "events.csv is not UTF-8 text"),
        (b"a,b,a\n1,2,3\n", "events.csv has two columns 'a'; rename or remove one"),
        (b"a,b\r1,2\r3,4\r", "events.csv: the header cannot be told from what follows"),
        (b"a;b\n1,5;2\n", "events.csv separates its columns by semicolons; save it with commas"),
        (b"a\tb\n1\t2\n", "events.csv separates its columns by tabs"),
        (b'a,b\nx,1\n5" pipe,1\n' + b"y,2\n" * 50 + b'6" pipe,2\n', 'events.csv, line 3: a " within a value'),
    ],
)
def test_a_broken_csv_file_is_named_with_its_fault(tmp_path, content, message):
    (tmp_path / "events.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "events.csv")


def test_a_long_value_is_read_beside_a_blank_at_the_end_of_a_line(tmp_path):
    (tmp_path / "events.csv").write_text(f"a,note,b\n1,{'x' * 200_000},\n2,y,3\n")
    assert read_table(tmp_path / "events.csv")["b"].to_list() == [None, "3"]


def test_a_broken_parquet_file_is_named(tmp_path):
    (tmp_path / "events.parquet").write_text("PAR1", "utf-8")
    with pytest.raises(ValueError, match=r"events\.parquet cannot be read as parquet"):
        read_table(tmp_path / "events.parquet")


@pytest.mark.parametrize("name", ["nowhere.csv", "."])
def test_a_path_that_is_no_file_is_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="is not a file"):
        read_table(tmp_path / name)


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "events.xlsx").touch()
    with pytest.raises(ValueError, match=r"must end in \.csv, .* or \.parquet"):
        read_table(tmp_path / "events.xlsx")


def test_a_run_leaves_the_log_and_beside_it_the_refused_rows(schema_file, tmp_path):
    frame_of(9, Hours=["1"] * 8 + ["x"]).write_csv(tmp_path / "events.csv")
    out = StringIO()
    config = PrepareConfig(schema_file, (str(tmp_path / "events.csv"),), tmp_path / "log")
    run(config, Console(file=out, width=80))
    assert len(EventLog.load(config.out).events.timestamp) == 8
    refused = pl.read_csv(tmp_path / "log.refused.csv")
    assert refused.columns == ["line", "field", "value", "reason"]
    assert refused["line"].to_list() == [10]
    assert "9 rows read, 1 refused, 8 kept" in out.getvalue()


def test_a_clean_run_takes_an_earlier_list_of_refused_rows_away(schema_file, tmp_path):
    (tmp_path / "log.refused.csv").touch()
    frame_of(9).write_csv(tmp_path / "events.csv")
    run(PrepareConfig(schema_file, (str(tmp_path / "events.csv"),), tmp_path / "log"), Console(quiet=True))
    assert not (tmp_path / "log.refused.csv").exists()


def test_the_report_shows_ten_of_many_refused_values(tiny_schema):
    _, report = prepare(frame_of(30, Hours=["1"] * 9 + ["[x]"] * 21), tiny_schema)
    out = StringIO()
    print_report(report, Console(file=out, width=100))
    text = out.getvalue()
    assert "21, the first 10" in text
    assert text.count("Hours = '[x]': '[x]' is not a number") == 10


def test_the_report_shows_how_a_long_refused_value_begins(tiny_schema):
    _, report = prepare(frame_of(30, Hours=["1"] * 29 + ["x" * 100_000]), tiny_schema)
    out = StringIO()
    print_report(report, Console(file=out, width=100))
    assert len(out.getvalue()) < 10_000
    assert "..." in out.getvalue()


def test_several_files_are_one_log(schema_file, tiny_schema, tmp_path):
    frame = frame_of(30, Site=["north", "south"] * 15, Hours=["1"] * 14 + ["x"] + ["2"] * 15)
    names = [str(tmp_path / f"{name}.csv") for name in ("b", "a")]
    frame[:10].write_csv(names[0])
    frame[10:].select("Hours", "Site", "EventDatetime", "Worker").write_csv(names[1])
    run(PrepareConfig(schema_file, tuple(names), tmp_path / "log"), Console(quiet=True))
    assert_equal(EventLog.load(tmp_path / "log"), prepare(frame, tiny_schema)[0])
    refused = pl.read_csv(tmp_path / "log.refused.csv")
    assert refused.select("file", "line", "field").rows() == [(names[1], 6, "Hours")]


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zst"])
def test_compressed_files_of_a_pattern_are_read_in_the_order_of_their_names(schema_file, tiny_schema, tmp_path, suffix):
    frame = frame_of(30, Site=[f"s{i % 7}" for i in range(30)], EventDatetime=[at(i // 3) for i in range(30)])
    for i, place in enumerate(("2", "1", "3")):
        text = frame[i * 10 : i * 10 + 10].write_csv().encode()
        compressed = gzip.compress(text) if suffix.endswith("gz") else zstandard.compress(text)
        (tmp_path / f"{place}{suffix}").write_bytes(compressed)
    run(PrepareConfig(schema_file, (str(tmp_path / f"*{suffix}"),), tmp_path / "log"), Console(quiet=True))
    in_order = pl.concat([frame[10:20], frame[:10], frame[20:]])
    assert_equal(EventLog.load(tmp_path / "log"), prepare(in_order, tiny_schema)[0])


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zst"])
def test_a_fault_inside_a_compressed_file_is_named_with_its_line(tmp_path, suffix):
    compress = gzip.compress if suffix.endswith("gz") else zstandard.compress
    (tmp_path / f"events{suffix}").write_bytes(compress(b"a,b\n1,2\n3\n"))
    with pytest.raises(ValueError, match="line 3: 1 values, but the header names 2 columns"):
        read_table(tmp_path / f"events{suffix}")


def test_a_compressed_file_that_ends_early_is_named(tmp_path):
    random = np.random.default_rng(0).integers(1 << 30, size=(5000, 2))
    text = "a,b\n" + "\n".join(f"{a},{b}" for a, b in random)
    (tmp_path / "events.csv.gz").write_bytes(gzip.compress(text.encode())[:20_000])
    with pytest.raises(ValueError, match=r"events\.csv\.gz can"):
        read_table(tmp_path / "events.csv.gz")


def test_a_file_that_lacks_a_field_of_another_is_refused_by_name(schema_file, tmp_path):
    frame_of(9, Site=["north"] * 9).write_csv(tmp_path / "a.csv")
    frame_of(9).write_csv(tmp_path / "b.csv")
    config = PrepareConfig(schema_file, (str(tmp_path / "*.csv"),), tmp_path / "log")
    with pytest.raises(ValueError, match=r"b\.csv has no column 'Site', which .*a\.csv has"):
        run(config, Console(quiet=True))
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a.csv", "*.csv"), r"a\.csv is named twice"),
        (("a.csv", "../{}/a.csv"), r"a\.csv is named twice"),
        (("b*.csv",), "no file matches .*b"),
        ((), "no input"),
    ],
)
def test_names_that_give_no_clear_list_of_files_are_refused(schema_file, tmp_path, names, message):
    frame_of(9).write_csv(tmp_path / "a.csv")
    config = PrepareConfig(
        schema_file, tuple(str(tmp_path / name.format(tmp_path.name)) for name in names), tmp_path / "log"
    )
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(config, Console(quiet=True))


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(schema_file, tmp_path):
    frame_of(9).write_csv(tmp_path / "events[1].csv")
    config = PrepareConfig(schema_file, (str(tmp_path / "events[1].csv"),), tmp_path / "log")
    run(config, Console(quiet=True))
    assert len(EventLog.load(config.out).events.timestamp) == 9


def test_a_full_disk_is_reported_and_an_earlier_log_stays(schema_file, tmp_path, monkeypatch):
    frame_of(9).write_csv(tmp_path / "events.csv")
    config = PrepareConfig(schema_file, (str(tmp_path / "events.csv"),), tmp_path / "log")
    run(config, Console(quiet=True))
    frame_of(11, Hours=["x"] + ["1"] * 10).write_csv(tmp_path / "events.csv")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LogWriter, "append", full)
    with pytest.raises(OSError, match=r"log cannot be written: the disk is full"):
        run(config, Console(quiet=True))
    assert len(EventLog.load(config.out).events.timestamp) == 9
    assert {path.name for path in tmp_path.iterdir()} == {"events.csv", "tiny.json", "log"}


def test_out_of_memory_says_what_takes_it(tiny_schema, monkeypatch):
    def no_room(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(RowReader, "read", no_room)
    with pytest.raises(ValueError, match="out of memory, which holds every different name: people 0, Site 0, Case 0"):
        prepare(frame_of(9), tiny_schema)


def test_a_refused_row_is_named_by_the_line_on_which_it_begins(schema_file, tmp_path):
    notes = ["one", "two\nlines", 'three\r\n"quoted"\nlines', "one", "two\nlines", *"1234"]
    hours = ["8", "many", "8", "8", "few", *"8888"]
    frame_of(9).with_columns(Note=pl.Series(notes), Hours=pl.Series(hours)).write_csv(tmp_path / "events.csv")
    run(PrepareConfig(schema_file, (str(tmp_path / "events.csv"),), tmp_path / "log"), Console(quiet=True))
    assert pl.read_csv(tmp_path / "log.refused.csv")["line"].to_list() == [3, 9]


def test_a_refused_row_of_a_parquet_file_is_named_by_its_number(schema_file, tmp_path):
    hours = ["8", "many", "8", "8", "few", *"8888"]
    frame_of(9).with_columns(Hours=pl.Series(hours)).write_parquet(tmp_path / "events.parquet")
    run(PrepareConfig(schema_file, (str(tmp_path / "events.parquet"),), tmp_path / "log"), Console(quiet=True))
    assert pl.read_csv(tmp_path / "log.refused.csv")["line"].to_list() == [2, 5]


def test_a_short_float_of_a_parquet_file_is_the_decimal_that_csv_has(tmp_path):
    pl.DataFrame({"Hours": pl.Series([0.1, 0.7, None, 16777216.0], dtype=pl.Float32)}).write_parquet(
        tmp_path / "events.parquet"
    )
    column = Column.of(read_table(tmp_path / "events.parquet")["Hours"])
    assert [column.values[code] for code in column.codes] == [0.1, 0.7, None, 16777216.0]


def test_a_file_that_is_missing_is_named_once(tmp_path):
    for name in ("none.csv", "none.parquet"):
        with pytest.raises(
            FileNotFoundError, match=rf"^{tmp_path / name} is not a file; give a .csv or .parquet file$"
        ):
            columns_of(tmp_path / name)


def test_a_pattern_does_not_take_in_the_rows_that_the_last_run_refused(schema_file, tmp_path):
    frame = frame_of(9).with_columns(Hours=pl.Series(["many", *"12345678"]))
    frame.write_csv(tmp_path / "events.csv")
    config = PrepareConfig(schema_file, (str(tmp_path / "*.csv"),), tmp_path / "log")
    for _ in range(2):
        run(config, Console(quiet=True))
    assert (tmp_path / "log.refused.csv").exists()
    assert len(EventLog.load(config.out).events.timestamp) == 8


def test_a_built_in_schema_is_meant_where_a_directory_bears_its_name(tmp_path, monkeypatch):
    (tmp_path / "flights").mkdir()
    monkeypatch.chdir(tmp_path)
    assert _schema_of("flights")[0] == load_schema("flights")


def test_booleans_of_a_parquet_file_are_the_values_that_the_schema_spells(tiny_schema):
    document = tiny_schema.model_dump(mode="json")
    document["fields"].append({"name": "Vip", "kind": "enum", "values": ["True", "False"]})
    log, report = prepare(frame_of(30, Vip=[True, False] * 15), Schema.model_validate(document))
    assert set(log.events.ids[:, [c.name for c in log.schema.categories].index("Vip")]) == {1, 2}
    assert report.outside == {}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_stopped_leaves_nothing_behind(schema_file, tmp_path, monkeypatch, number, code):
    frame_of(9).write_csv(tmp_path / "events.csv")
    monkeypatch.setattr(RowReader, "read", lambda *_: os.kill(os.getpid(), number) or time.sleep(9))
    arguments = ["--schema", schema_file, "--input", str(tmp_path / "events.csv"), "--out", str(tmp_path / "log")]
    monkeypatch.setattr("sys.argv", ["prepare", *arguments])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs it in the background
    try:
        with pytest.raises(SystemExit) as caught:
            main()
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught.value.code == code
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.csv", Path(schema_file).name]


def test_a_place_without_a_name_is_refused(schema_file, tmp_path, monkeypatch):
    frame_of(9).write_csv(tmp_path / "events.csv")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="name a new directory"):
        run(PrepareConfig(schema_file, ("events.csv",), Path()), Console(quiet=True))


@pytest.mark.parametrize("fault", ["schema", "input", "out"])
def test_a_users_mistake_is_one_line_and_exit_code_2(schema_file, tmp_path, monkeypatch, capsys, fault):
    frame_of(9).write_csv(tmp_path / "events.csv")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").touch()
    arguments = {"schema": schema_file, "input": str(tmp_path / "events.csv"), "out": str(tmp_path / "log")}
    arguments[fault] = {"schema": "nowhere.json", "input": "nowhere.csv", "out": str(tmp_path / "mine")}[fault]
    monkeypatch.setattr(
        "sys.argv", ["prepare", *(part for name in arguments for part in (f"--{name}", arguments[name]))]
    )
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_quotation_marks_in_a_csv_column_s_name_are_those_of_its_name(tmp_path):
    (tmp_path / "events.csv").write_text('a,"say ""b"""\n1,2\n', "utf-8")
    assert read_table(tmp_path / "events.csv").columns == ["a", 'say "b"']
