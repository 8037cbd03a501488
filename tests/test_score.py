"""``python -m training.score``: which events, and the same numbers as the server's."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from rich.console import Console

import training.score
from eventmodel.bundle import Bundle
from eventmodel.checkpoint import load_checkpoint
from eventmodel.config import ModelConfig
from eventmodel.engine import open_engine
from eventmodel.event_log import EventLog
from eventmodel.request.reader import read_request
from eventmodel.request.rendering import render
from eventmodel.stream_index import StreamIndex
from training import prepare
from training.evaluation import choose
from training.evaluation.baselines import score_baselines
from training.example import example_request
from training.sampling import Sampler
from training.score import ScoreConfig, _most_unusual, score_log
from training.scoring.average_precision import average_precision
from training.scoring.detection import detect, per_event, read_labels
from training.scoring.event_scores import score_events
from training.scoring.report import in_words, print_report
from training.scoring.table import FIRST_COLUMNS, to_frame, write_frames

QUIET = Console(quiet=True)


def config(run_directory: Path, log_directory: Path, out: Path, **changes: object) -> ScoreConfig:
    plain = {"checkpoint": run_directory / "best", "data": log_directory, "out": out, "device": "cpu"}
    return ScoreConfig(**(plain | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def table(run_directory: Path, log_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    out = tmp_path_factory.mktemp("scores") / "scores.parquet"
    score_log(config(run_directory, log_directory, out), QUIET)
    return pl.read_parquet(out)


def test_the_rows_are_the_events_of_the_part_that_have_a_predecessor(table: pl.DataFrame, small_log: EventLog) -> None:
    index = small_log.focus
    expected = sorted(
        int(index.rows[i])
        for i in range(1, len(index.rows))
        if index.entity[i] == index.entity[i - 1] and index.rows[i] >= small_log.validation_end
    )
    assert table["row"].to_list() == expected


def test_every_category_has_its_surprise_and_its_probability(table: pl.DataFrame, small_log: EventLog) -> None:
    names = [category.name for category in small_log.schema.categories]
    expected = [f"{what}_{name}" for name in names for what in ("surprise", "probability")]
    assert table.columns == [*FIRST_COLUMNS, *expected]


def test_rows_are_in_the_order_of_time(table: pl.DataFrame) -> None:
    assert table["time"].is_sorted()


def test_parts_follow_one_another(small_log: EventLog) -> None:
    ends = [small_log.part(part) for part in ("training", "validation", "test")]
    assert [end for _, end in ends[:-1]] == [begin for begin, _ in ends[1:]]
    assert small_log.part("all") == (0, ends[-1][1])


def test_focus_and_time_are_those_of_the_event(table: pl.DataFrame, small_log: EventLog) -> None:
    for row, focus, time in table.select("row", "focus", "time").head(50).iter_rows():
        record = small_log.codec.decode(small_log.events.ids[row].tolist(), int(small_log.events.timestamp[row]))
        assert focus in (record["ActorRecordId"], record["RecipientRecordId"])
        assert time == record["EventDatetime"]


def test_surprise_is_the_negative_log_of_the_probability(table: pl.DataFrame, small_log: EventLog) -> None:
    for category in small_log.schema.categories:
        surprise, p = table[f"surprise_{category.name}"], table[f"probability_{category.name}"]
        np.testing.assert_allclose(np.exp(-surprise.to_numpy()), p.to_numpy(), rtol=1e-6)


def test_an_event_is_scored_as_the_server_scores_it_when_it_is_observed(
    bundle: Bundle, small_log: EventLog, run_directory: Path
) -> None:
    body = example_request(small_log, bundle.config)
    index, events, codec = small_log.focus, small_log.events, small_log.codec
    focus, now = codec.id_of[1][body["focus"]], codec.moment(body["now"]).timestamp
    is_asked = (events.timestamp[index.rows] == now) & (index.vocabulary_id[index.entity] == focus)
    position = np.flatnonzero(is_asked)[-1:]
    row = int(index.rows[position + 1][0])
    body["observed"] = codec.decode(events.ids[row].tolist(), int(events.timestamp[row]))
    request = read_request(body, bundle)
    answer = open_engine(bundle, "torch", "cpu").answer([request.query])[0]
    observed = render(bundle, request, answer)["observed"]

    model = load_checkpoint(run_directory / "best").model
    sampler = Sampler(small_log, bundle.config, 0, len(events.timestamp))
    (scores,) = score_events(model, sampler, position, torch.device("cpu"))
    for c, category in enumerate(bundle.schema.categories):
        assert observed["categories"][category.name]["surprise"] == pytest.approx(-scores.log_prob[0, c], abs=1e-3)
    assert observed["joint"]["surprise"] == pytest.approx(-scores.chain_log_prob.sum(), abs=1e-2)


def test_the_most_unusual_category_is_named_with_what_was_usual(table: pl.DataFrame, small_log: EventLog) -> None:
    names = [category.name for category in small_log.schema.categories]
    for row, name, value in table.select("row", "most_unusual", "value").head(50).iter_rows():
        c = names.index(name)
        assert value == small_log.codec.names[c][small_log.events.ids[row, c]]
    is_other = table.filter(pl.col("usual") != pl.col("value"))
    assert (is_other["chance"] <= 0.5).all()


def test_a_value_that_training_never_showed_is_never_the_unusual_one(small_log: EventLog, run_directory: Path) -> None:
    model = load_checkpoint(run_directory / "best").model
    sampler = Sampler(small_log, model.config, *small_log.part("test"))
    category = [category.name for category in small_log.schema.categories].index("LocationRecordId")
    model.events.row[int(model.events.row_offset[category]) + 1] = int(model.events.row_offset[category])
    (scores,) = score_events(model, sampler, choose(sampler, 200), torch.device("cpu"))
    is_new = scores.label[:, category] == 1
    assert 0 < is_new.sum() < 200
    assert np.array_equal(np.isneginf(scores.unusual[:, category]), is_new)
    assert np.array_equal(scores.is_seen[:, category], ~is_new)
    table = to_frame(small_log, scores)
    assert not (table["most_unusual"] == "LocationRecordId").fill_null(False).to_numpy()[is_new].any()
    np.testing.assert_allclose(table["joint_surprise"], -scores.chain_log_prob.sum(1))


def test_an_event_of_nothing_that_training_showed_has_no_unusual_value(
    small_log: EventLog, run_directory: Path
) -> None:
    model = load_checkpoint(run_directory / "best").model
    sampler = Sampler(small_log, model.config, *small_log.part("test"))
    (scores,) = score_events(model, sampler, choose(sampler, 5), torch.device("cpu"))
    scores.unusual[2] = -np.inf
    told = to_frame(small_log, scores).select("most_unusual", "value", "usual", "chance")
    assert told.row(2) == (None, None, None, None)
    assert told.drop_nulls("most_unusual").height == 4
    assert _most_unusual(pl.DataFrame(), to_frame(small_log, scores)).height <= 4


def test_the_focus_has_the_name_that_the_input_gives_it(
    run_directory: Path, log_directory: Path, small_log: EventLog, small_frame: pl.DataFrame
) -> None:
    unknown = {name: [] for name in small_log.vocabularies}
    log = replace(small_log, vocabularies=unknown)  # as where a name is new, or a key's
    sampler = Sampler(log, load_checkpoint(run_directory / "best").model.config, *log.part("test"))
    (scores,) = score_events(
        load_checkpoint(run_directory / "best").model, sampler, choose(sampler, 50), torch.device("cpu")
    )
    ordered = small_frame.sort("EventDatetime", maintain_order=True)
    for row, focus in to_frame(small_log, scores).select("row", "focus").iter_rows():
        assert focus in ordered.row(row, named=True).values()


def test_scoring_never_lists_the_entity_of_every_event(
    run_directory: Path, log_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StreamIndex, "entity", property(lambda _: pytest.fail("as large as the log")))
    score_log(config(run_directory, log_directory, tmp_path / "out.csv"), QUIET)


def test_csv_holds_the_same_table(
    table: pl.DataFrame, run_directory: Path, log_directory: Path, tmp_path: Path
) -> None:
    score_log(config(run_directory, log_directory, tmp_path / "scores.csv"), QUIET)
    read = pl.read_csv(tmp_path / "scores.csv")
    assert read.columns == table.columns
    assert read["row"].to_list() == table["row"].to_list()
    np.testing.assert_allclose(read["joint_surprise"], table["joint_surprise"], rtol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]


def test_a_failure_leaves_no_file_behind(tmp_path: Path) -> None:
    def frames():  # type: ignore[no-untyped-def]
        yield pl.DataFrame({"row": [1]})
        raise FloatingPointError

    with pytest.raises(FloatingPointError):
        write_frames(frames(), tmp_path / "scores.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("batch", [512, 1])  # 1 parts the two rows of every event
def test_the_most_unusual_events_come_first_each_as_it_is_to_the_entity_that_expected_it_most(
    batch: int,
    table: pl.DataFrame,
    run_directory: Path,
    log_directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.evaluation.scores.BATCH", batch)
    summary, _ = score_log(config(run_directory, log_directory, tmp_path / "out.csv"), QUIET)
    expected = table.group_by("row").agg(pl.col("unusual").min()).sort("unusual", descending=True).head(10)
    np.testing.assert_allclose(summary.most["unusual"], expected["unusual"], rtol=1e-4)
    assert set(summary.most["row"]) == set(expected["row"])
    of_two = table.filter(pl.col("row").is_duplicated())
    largest = table.group_by("row").agg(pl.col("unusual").max()).sort("unusual", descending=True).head(10)
    assert set(largest["row"]) & set(of_two["row"])  # so that it matters


def test_events_that_are_as_expected_are_not_shown(
    run_directory: Path, log_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.score.LEAST_UNUSUAL", 1e9)
    summary, _ = score_log(config(run_directory, log_directory, tmp_path / "out.csv"), QUIET)
    assert summary.most.is_empty()
    out = StringIO()
    print_report(summary.joint, summary.most, None, Console(file=out))
    assert "No event is unusual." in out.getvalue()


def test_the_rows_of_one_event_stand_together(table: pl.DataFrame) -> None:
    assert table["row"].is_sorted()
    assert table["row"].is_duplicated().any()


def test_labelled_events_are_found_beside_counting(
    table: pl.DataFrame, run_directory: Path, log_directory: Path, tmp_path: Path
) -> None:
    smallest = table.group_by("row").agg(pl.col("unusual").min()).sort("unusual", descending=True)
    smallest.head(3).select("row").write_parquet(tmp_path / "labels.parquet")
    asked = config(run_directory, log_directory, tmp_path / "out.csv", labels=tmp_path / "labels.parquet")
    _, found = score_log(asked, QUIET)
    assert found is not None
    assert found.base_rate == pytest.approx(3 / len(smallest))
    assert found.category["model"] == 1
    assert set(found.whole) == set(found.category) > {"model", "frequency", "entity Markov"}


def test_values_that_training_never_showed_count_neither_for_the_model_nor_for_counting(
    small_log: EventLog,
) -> None:
    positions = choose(Sampler(small_log, ModelConfig(), *small_log.part("test")), 100)
    row = small_log.focus.rows[positions + 1]
    labelled = row[:5]
    surprise = -score_baselines(small_log, positions, ("frequency",))["frequency"].log_prob
    is_seen = np.zeros(surprise.shape, bool)
    is_seen[:, 4] = True
    zero = np.zeros(len(row))
    found = detect(small_log, positions, is_seen, zero, zero, labelled)
    rows, smallest = per_event(row, surprise[:, 4])
    expected = average_precision(np.isin(rows, labelled), smallest)
    assert found.whole["frequency"] == found.category["frequency"] == expected
    is_seen[:] = True
    assert detect(small_log, positions, is_seen, zero, zero, labelled).whole["frequency"] != expected


def test_the_model_s_score_of_the_whole_event_leaves_out_what_training_never_showed(
    small_log: EventLog, run_directory: Path, log_directory: Path, tmp_path: Path
) -> None:
    summary, _ = score_log(config(run_directory, log_directory, tmp_path / "out.csv"), QUIET)
    is_whole = summary.is_seen.all(1)
    assert not is_whole.all()  # the last days of the month
    assert (summary.joint_of_seen[~is_whole] < summary.joint[~is_whole]).all()
    np.testing.assert_allclose(summary.joint_of_seen[is_whole], summary.joint[is_whole])


def test_an_event_of_two_entities_is_as_unusual_as_to_the_one_that_expected_it() -> None:
    rows, score = per_event(np.array([7, 3, 7]), np.array([5.0, 1.0, 2.0]))
    assert rows.tolist() == [3, 7]
    assert score.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("line\n1\n", "no column 'row'"), ("row\nx\n", "whole numbers"), ("row\n99999\n", "no row 99999")],
)
def test_labels_that_cannot_be_used_say_why(small_log: EventLog, tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(ValueError, match=complaint):
        read_labels(tmp_path / "labels.csv", small_log)


def test_labels_of_no_event_of_the_part_are_refused_before_the_work(
    run_directory: Path, log_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labels.csv").write_text("row\n0\n")
    monkeypatch.setattr(training.score, "score_events", lambda *_: pytest.fail("worked"))
    with pytest.raises(ValueError, match="none of the labelled events would be scored"):
        score_log(config(run_directory, log_directory, tmp_path / "a.csv", labels=tmp_path / "labels.csv"), QUIET)


def test_a_place_with_the_signs_of_a_pattern_is_a_place(tmp_path: Path) -> None:
    out = tmp_path / "a[1]" / "s*[2].csv"
    write_frames([pl.DataFrame({"row": [1]})], out)
    assert pl.read_csv(out, glob=False)["row"].to_list() == [1]


def test_a_directory_is_no_file_to_write(run_directory: Path, log_directory: Path, tmp_path: Path) -> None:
    (tmp_path / "s.csv").mkdir()
    with pytest.raises(ValueError, match="is a directory; name a file"):
        config(run_directory, log_directory, tmp_path / "s.csv")


def test_another_log_s_checkpoint_is_refused(run_directory: Path, small_log: EventLog, tmp_path: Path) -> None:
    vocabularies = dict(small_log.vocabularies) | {"LocationRecordId": ["elsewhere"]}
    replace(small_log, vocabularies=vocabularies).save(tmp_path / "log")
    with pytest.raises(ValueError, match=r"knows other names than .*training\.prepare --schema"):
        score_log(config(run_directory, tmp_path / "log", tmp_path / "out.csv"), QUIET)


def test_events_that_are_newer_than_the_training_are_scored_once_they_are_prepared_for_its_model(
    run_directory: Path, small_frame: pl.DataFrame, tmp_path: Path
) -> None:
    newer = small_frame.sort("EventDatetime").tail(300).with_columns(ActorRecordId=pl.lit("newcomer"))
    newer.write_csv(tmp_path / "newer.csv")
    checkpoint = str(run_directory / "best")
    prepare.run(prepare.PrepareConfig(checkpoint, (str(tmp_path / "newer.csv"),), tmp_path / "log"), QUIET)
    log = EventLog.load(tmp_path / "log")
    assert log.codec.vocabularies == load_checkpoint(run_directory / "best").codec.vocabularies
    score_log(config(run_directory, tmp_path / "log", tmp_path / "scores.csv", part="all"), QUIET)
    found = pl.read_csv(tmp_path / "scores.csv")
    assert found.height > 250
    assert "newcomer" in set(found["focus"])


def test_a_part_without_an_event_to_score_names_the_fix(
    run_directory: Path, small_log: EventLog, tmp_path: Path
) -> None:
    replace(small_log, validation_end=len(small_log.events.timestamp)).save(tmp_path / "log")
    with pytest.raises(ValueError, match="no event with a predecessor of the same Actor; name another --part, or"):
        score_log(config(run_directory, tmp_path / "log", tmp_path / "out.csv"), QUIET)


def test_a_file_of_another_kind_is_refused(run_directory: Path, log_directory: Path) -> None:
    with pytest.raises(ValueError, match=r"\.csv or \.parquet"):
        config(run_directory, log_directory, Path("scores.txt"))


def test_an_event_is_told_in_plain_words() -> None:
    event = {
        "row": 12, "focus": "E7", "time": "2026-01-29T08:00:00", "joint_surprise": 21.04, "unusual": 9.0,
        "most_unusual": "CostCode", "value": "C2", "usual": "C1", "chance": 0.00024,
    }  # fmt: skip
    assert in_words(event) == (
        "E7 at 2026-01-29T08:00:00 (row 12): CostCode is C2, one in 4,200; C1 was most likely. Joint surprise 21.0 nats"
    )
    blank = event | {"value": None, "usual": None, "chance": 0.2}
    assert "CostCode is blank or unknown, a chance of 20%." in in_words(blank)
