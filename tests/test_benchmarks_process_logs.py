"""The protocol of the public benchmark."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.process_logs import END, LABEL, SCHEMAS, fold_parts, published_entries, read_cases, run, table
from eventmodel.config import ModelConfig
from eventmodel.schema import Schema, load_schema
from training.config import TrainConfig
from training.preparation import prepare
from training.sampling import Sampler

SCHEMA = Schema.model_validate(
    {
        "name": "cases",
        "time_zone": "UTC",
        "fields": [
            {"name": "case:concept:name", "kind": "key"},
            {"name": LABEL, "kind": "enum", "values": ["a", "b", "c", END]},
            {"name": "time:timestamp", "kind": "datetime"},
        ],
        "order_by": "time:timestamp",
        "streams": [{"name": "Case", "keys": ["case:concept:name"]}],
        "focus": "Case",
    }
)


def log_file(path: Path, events: list[tuple[str, str, str]], transitions: tuple[str, ...] = ("complete",)) -> Path:
    """Events of (case, activity, time of a day)."""
    frame = pl.DataFrame(events, schema=["case:concept:name", "concept:name", "time"], orient="row")
    frame = frame.with_columns(
        ("2020-01-01T" + pl.col("time") + ".000+01:00").alias("time:timestamp"),
        pl.Series("lifecycle:transition", [transitions[i % len(transitions)] for i in range(len(events))]),
    )
    frame.drop("time").write_csv(path)
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    events = [(case, activity, f"0{i}:00:00") for case in "xyz" for i, activity in enumerate("abc")]
    return log_file(tmp_path / "log.csv", events)


def of_case(frame: pl.DataFrame, case: str) -> list[str]:
    return frame.filter(pl.col("case:concept:name") == case)[LABEL].to_list()


def test_every_case_ends_with_the_end_marker(log: Path) -> None:
    assert of_case(read_cases(log, SCHEMA), "y") == ["a", "b", "c", END]


def test_events_are_ordered_by_time_and_equal_times_keep_the_order_of_the_log(tmp_path: Path) -> None:
    path = log_file(tmp_path / "log.csv", [("x", "c", "09:00:00"), ("x", "b", "08:00:00"), ("x", "a", "08:00:00")])
    assert of_case(read_cases(path, SCHEMA), "x") == ["b", "a", "c", END]


def test_the_life_cycle_joins_the_label_where_it_says_something(tmp_path: Path) -> None:
    events = [("x", "a", "08:00:00"), ("x", "b", "09:00:00")]
    path = log_file(tmp_path / "log.csv", events, ("start", "complete"))
    assert of_case(read_cases(path, SCHEMA), "x") == ["a+start", "b+complete", END]


def test_a_fold_predicts_every_prefix_of_its_test_cases_and_nothing_else(log: Path, tmp_path: Path) -> None:
    folds = tmp_path / "folds.csv"
    folds.write_text("case,fold0\nx,test\ny,train\nz,val\n")
    frame = read_cases(log, SCHEMA)
    prepared, _ = prepare(frame, SCHEMA, parts=fold_parts(frame, "case:concept:name", folds, 0))
    test = Sampler(prepared, ModelConfig(), prepared.validation_end, len(prepared.events.timestamp))
    labels = prepared.events.ids[prepared.focus.rows[test.positions + 1], 0]
    assert [prepared.codec.names[0][i] for i in labels] == ["b", "c", END]


def test_now_after_the_last_event_stays_before_the_next_one_when_the_parts_are_not_in_the_order_of_time(
    log: Path, tmp_path: Path
) -> None:
    folds = tmp_path / "folds.csv"
    folds.write_text("case,fold0\nx,test\ny,train\nz,val\n")
    frame = read_cases(log, SCHEMA)
    prepared, _ = prepare(frame, SCHEMA, parts=fold_parts(frame, "case:concept:name", folds, 0))
    sampler = Sampler(prepared, ModelConfig(), 0, len(prepared.events.timestamp))
    nows = sampler.draw(np.random.default_rng(0), np.repeat(sampler.positions, 50))
    rows = prepared.focus.rows
    assert (nows.timestamp > prepared.events.timestamp[rows[nows.position]]).any()
    assert (rows[nows.position] <= nows.last_row).all()
    assert (nows.last_row < rows[nows.position + 1]).all()


@pytest.mark.parametrize(
    ("activity", "parts"), [("a", [1, 1, 0, 0, 2, 2]), ("b", [0, 0, 1, 1, 2, 2])], ids=["other folds", "another log"]
)
def test_what_was_prepared_of_another_log_or_other_folds_is_refused(
    activity: str, parts: list[int], tmp_path: Path
) -> None:
    def frame(of_x: str) -> pl.DataFrame:
        events = [("x", of_x, "08:00:00"), ("y", "c", "09:00:00"), ("z", "c", "10:00:00")]
        return read_cases(log_file(tmp_path / "log.csv", events), SCHEMA).sort("case:concept:name", maintain_order=True)

    prepare(frame("a"), SCHEMA, parts=np.array([0, 0, 1, 1, 2, 2]))[0].save(tmp_path / "fold0" / "log")
    with pytest.raises(ValueError, match="another log or other folds; name a new --out"):
        run(tmp_path / "fold0", SCHEMA, frame(activity), np.array(parts))


def test_a_fold_whose_log_is_prepared_goes_on(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, parts = read_cases(log, SCHEMA), np.repeat([0, 1, 2], 4)
    prepare(frame, SCHEMA, parts=parts)[0].save(tmp_path / "log")

    def reached(config: TrainConfig) -> None:
        raise InterruptedError(config.data)

    monkeypatch.setattr("benchmarks.process_logs.metrics_of_test_part", reached)
    with pytest.raises(InterruptedError):
        run(tmp_path, SCHEMA, frame, parts)


def test_a_case_without_a_part_is_refused(log: Path, tmp_path: Path) -> None:
    folds = tmp_path / "folds.csv"
    folds.write_text("case,fold0\nx,test\ny,train\n")
    with pytest.raises(ValueError, match="gives some cases of fold 0 the parts"):
        fold_parts(read_cases(log, SCHEMA), "case:concept:name", folds, 0)


def test_a_log_split_by_entity_reads_no_stream_that_crosses_parts(log: Path) -> None:
    both = SCHEMA.model_copy(update={"streams": (*SCHEMA.streams, SCHEMA.streams[0].model_copy(update={"name": "B"}))})
    frame = read_cases(log, SCHEMA)
    with pytest.raises(ValueError, match="reads one stream, 'Case'"):
        prepare(frame, both, parts=np.zeros(frame.height, np.int64))


@pytest.mark.parametrize("parts", ["val,train,val", "test,train,test", "val,test,val"])
def test_a_fold_that_leaves_a_part_empty_is_refused(log: Path, tmp_path: Path, parts: str) -> None:
    folds = tmp_path / "folds.csv"
    folds.write_text("\n".join(["case,fold0", *map(",".join, zip("xyz", parts.split(","), strict=True))]))
    frame = read_cases(log, SCHEMA)
    with pytest.raises(ValueError, match="training, validation and test each need an event"):
        prepare(frame, SCHEMA, parts=fold_parts(frame, "case:concept:name", folds, 0))


def test_our_row_stands_where_its_accuracy_puts_it(tmp_path: Path) -> None:
    path = tmp_path / "published.csv"
    path.write_text("log,method,mean_accuracy_percent,std\ncases,Best,80.0,0.1\ncases,Other,60.0,\nelse,No,90,\n")
    rows = table(published_entries(path, "cases"), [70.0, 72.0])
    assert [row.split(" |")[0] for row in rows[1:]] == ["| Best", "| **this project** (2 folds)", "| Other"]
    assert "71.00 | 1.41" in rows[2]


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_the_schemas_of_the_public_logs_name_the_label_and_the_end(path: Path) -> None:
    schema = load_schema(path)
    label = schema.field_by_name[LABEL]
    assert END in label.values  # type: ignore[union-attr]
    assert schema.name == path.stem
