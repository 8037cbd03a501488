"""The evaluation as a whole: its numbers, its table, its page and its errors."""

import io
import json
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from conftest import TINY
from rich.console import Console

import training.evaluate
from eventmodel.checkpoint import Checkpoint, load_checkpoint, write_checkpoint
from eventmodel.directory import write_directory
from eventmodel.event_log import EventLog
from eventmodel.heads import CHAIN, MARGINAL
from eventmodel.model import EventModel
from eventmodel.schema import Schema
from training.config import TrainConfig
from training.evaluate import EvaluateConfig, evaluate
from training.evaluation import Scores, choose, score, thin
from training.evaluation.baselines import BASELINES, score_baselines
from training.evaluation.html_report import render
from training.evaluation.loss_curves import read_loss_curves
from training.evaluation.metrics import MEANING, SLICES, expected_calibration_error
from training.evaluation.oracle import Oracle
from training.evaluation.summary import summarise
from training.evaluation.table import print_summary
from training.preparation import prepare
from training.sampling import Sampler

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation") / "out"


@pytest.fixture(scope="module")
def summary(run_directory: Path, out: Path) -> dict[str, Any]:
    """Of the tiny run on the whole test part."""
    return evaluate(EvaluateConfig((run_directory / "best",), out=out), QUIET)


@pytest.fixture(scope="module")
def positions(run_directory: Path, small_log: EventLog) -> np.ndarray:
    config = load_checkpoint(run_directory / "best").model.config
    sampler = Sampler(small_log, config, small_log.validation_end, len(small_log.events.timestamp))
    return choose(sampler, len(sampler))


@pytest.fixture(scope="module")
def scores(run_directory: Path, small_log: EventLog, positions: np.ndarray) -> Scores:
    model = load_checkpoint(run_directory / "best").model
    sampler = Sampler(small_log, model.config, 0, len(small_log.events.timestamp))
    return score(model, sampler, positions, torch.device("cpu"))


def numbers(value: object) -> list[float]:
    """All numbers in a document."""
    if isinstance(value, dict):
        return [n for each in value.values() for n in numbers(each)]
    if isinstance(value, list):
        return [n for each in value for n in numbers(each)]
    return [value] if isinstance(value, int | float) else []


def test_the_numbers_are_those_of_the_scores(
    summary: dict[str, Any], scores: Scores, small_log: EventLog, positions: np.ndarray
) -> None:
    assert summary["n"] == len(positions)
    for c, category in enumerate(summary["categories"].values()):
        for name, kind in (("marginal", MARGINAL), ("chain", CHAIN)):
            rank, found = scores.rank[kind][:, c], category[name]
            assert found["nll"]["mean"] == pytest.approx(-scores.log_prob[kind][:, c].mean(), rel=1e-4)
            assert found["top1"]["mean"] == pytest.approx((rank == 1).mean())
            assert found["top5"]["mean"] == pytest.approx((rank <= 5).mean())
            assert found["mrr"]["mean"] == pytest.approx((1 / rank).mean())
            is_right = scores.rank[kind] == 1
            for key, confidence in (("ece", scores.confidence), ("ece_before", scores.raw_confidence)):
                error = expected_calibration_error(confidence[kind], is_right)[c]
                assert found[key]["mean"] == pytest.approx(error, abs=1e-5)


def test_the_joint_loss_is_the_sum_of_the_chain(summary: dict[str, Any]) -> None:
    for total, kind in (("nll", "chain"), ("sum_of_marginals", "marginal")):
        parts = [category[kind]["nll"]["mean"] for category in summary["categories"].values()]
        assert summary["joint"][total]["mean"] == pytest.approx(sum(parts))
    difference = [category["chain_minus_marginal"]["mean"] for category in summary["categories"].values()]
    assert summary["joint"]["difference"]["mean"] == pytest.approx(sum(difference))


def test_the_best_baseline_is_the_one_with_the_lowest_loss(summary: dict[str, Any]) -> None:
    for category in summary["categories"].values():
        assert tuple(category["baselines"]) == BASELINES
        best = category["baselines"][category["best_baseline"]]
        assert best["nll"] == min(found["nll"] for found in category["baselines"].values())
        gained = best["nll"] - category["marginal"]["nll"]["mean"]
        assert category["nats_gained"]["mean"] == pytest.approx(gained)
        if category["skill"]["mean"] is not None:
            assert category["skill"]["mean"] == pytest.approx(gained / best["nll"])
        points = 100 * (category["marginal"]["top1"]["mean"] - best["top1"])
        assert category["top1_points"]["mean"] == pytest.approx(points)


def test_slices_of_a_category_add_up_to_all_targets(summary: dict[str, Any]) -> None:
    for category in summary["categories"].values():
        assert list(category["slices"]) == list(SLICES)
        n = {name: part["n"] for name, part in category["slices"].items()}
        assert n["known"] + n["unknown"] == summary["n"]
        assert n["repeated"] + n["new"] == n["known"]
        assert category["unknown_rate"] == pytest.approx(n["unknown"] / summary["n"])


def test_metrics_json_is_what_was_returned_and_finite(summary: dict[str, Any], out: Path) -> None:
    text = (out / "metrics.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert np.isfinite(numbers(json.loads(text))).all()
    assert json.loads(text) == json.loads(json.dumps(summary))


def test_every_number_has_a_sentence_that_says_what_it_is(summary: dict[str, Any]) -> None:
    category = summary["categories"]["EventType"]
    named = {name for name, value in category.items() if isinstance(value, dict) and "mean" in value}
    assert named | set(category["marginal"]) | {"unknown_rate"} == set(MEANING)


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_says_what_metrics_json_says(summary: dict[str, Any], width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    print_summary(summary, console)
    lines = console.export_text().splitlines()
    for name, category in summary["categories"].items():
        accuracy, chain, calibration, against = (line.split()[1:] for line in lines if line.startswith(f" {name} "))
        m = category["marginal"]
        assert accuracy[0] == f"{m['nll']['mean']:.3f}"
        assert accuracy[2:4] == [f"{m[key]['mean'] * 100:.1f}" for key in ("top1", "top5")]
        assert accuracy[4] == f"{m['mrr']['mean']:.2f}"
        assert chain[0] == f"{category['chain']['nll']['mean']:.3f}"
        assert calibration[1] == f"{m['ece']['mean'] * 100:.1f}"
        assert against[:5] == [f"{found['nll']:.2f}" for found in category["baselines"].values()]


class Fetched(HTMLParser):
    """Collects what a browser would fetch to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        loads = {"src", "srcset", "data", "poster", "action"} | ({"href"} if tag == "link" else set())
        self.found += [value or "" for name, value in attributes if name in loads]
        assert tag not in {"script", "iframe", "object", "embed"}


def test_the_page_fetches_nothing(summary: dict[str, Any], out: Path) -> None:
    page = (out / "report.html").read_text("utf-8")
    parser = Fetched()
    parser.feed(page)
    assert len(parser.found) >= 4
    assert all(value.startswith("data:image/svg+xml;base64,") for value in parser.found)
    assert not re.search(r"url\(|@import|http-equiv", page)


def test_the_page_shows_every_category_and_the_joint_loss(summary: dict[str, Any], out: Path) -> None:
    page = (out / "report.html").read_text("utf-8")
    for name, category in summary["categories"].items():
        assert f'<th scope="row">{name}</th>' in page
        assert f"{category['marginal']['nll']['mean']:.3f}" in page
    assert f"{summary['joint']['nll']['mean']:.2f}" in page


def test_the_page_shows_the_run_s_loss_curves(summary: dict[str, Any], out: Path) -> None:
    assert "Training and validation loss by step" in (out / "report.html").read_text("utf-8")


def test_a_checkpoint_without_tensorboard_files_has_no_loss_curves(
    run_directory: Path, tmp_path: Path, summary: dict[str, Any]
) -> None:
    shutil.copytree(run_directory / "best", tmp_path / "alone")
    assert "no loss curves" in render(summary, [read_loss_curves(tmp_path / "alone")])


def test_provenance_names_checkpoint_step_seed_data_and_versions(
    summary: dict[str, Any], run_directory: Path, log_directory: Path
) -> None:
    found = summary["provenance"]
    assert found["data"] == str(log_directory)
    assert found["checkpoints"][0]["path"] == str(run_directory / "best")
    assert found["checkpoints"][0]["step"] == load_checkpoint(run_directory / "best").step
    assert found["checkpoints"][0]["seed"] == 0
    assert found["versions"]["torch"] == torch.__version__
    assert found["first_target"] <= found["last_target"]


def test_several_checkpoints_give_mean_and_spread(
    small_log: EventLog, positions: np.ndarray, scores: Scores, summary: dict[str, Any]
) -> None:
    other = replace(scores, log_prob=scores.log_prob - 0.5, rank=scores.rank + 1)
    both = summarise(small_log, positions, (scores, other), score_baselines(small_log, positions))
    for name, category in both["categories"].items():
        one = summary["categories"][name]["marginal"]["nll"]["mean"]
        assert category["marginal"]["nll"]["mean"] == pytest.approx(one + 0.25, rel=1e-4)
        assert category["marginal"]["nll"]["sd"] == pytest.approx(0.5 / 2**0.5, rel=1e-4)
    console = Console(width=100, record=True, file=io.StringIO())
    print_summary({**both, "provenance": summary["provenance"]}, console)
    assert "±0.354" in console.export_text()


@pytest.fixture(scope="module")
def twice(run_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The same checkpoint as two seeds, on 20 targets; and where it was written."""
    best, out = run_directory / "best", tmp_path_factory.mktemp("twice") / "out"
    return evaluate(EvaluateConfig((best, best), out=out, samples=20), QUIET), out


def test_the_same_checkpoint_twice_spreads_by_nothing(twice: tuple[dict[str, Any], Path]) -> None:
    found, out = twice
    assert found["n_runs"] == 2
    assert found["joint"]["nll"]["sd"] == 0
    assert "±" in (out / "report.html").read_text("utf-8")


def test_fewer_samples_are_spread_over_the_part(twice: tuple[dict[str, Any], Path], summary: dict[str, Any]) -> None:
    found, _ = twice
    assert found["n"] == 20
    for edge in ("first_target", "last_target"):
        assert found["provenance"][edge] == summary["provenance"][edge]


def test_the_validation_part_ends_where_the_test_part_begins(
    run_directory: Path, tmp_path: Path, summary: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.evaluate, "render", lambda *_: "")  # drawing takes most of the time
    config = EvaluateConfig((run_directory / "best",), out=tmp_path / "out", samples=20, part="validation")
    found = evaluate(config, QUIET)
    assert found["provenance"]["last_target"] <= summary["provenance"]["first_target"]


@pytest.fixture(scope="module")
def oracle_file(
    small_log: EventLog, positions: np.ndarray, scores: Scores, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An oracle of every other target, 0.25 nats below the model in each category."""
    names = [category.name for category in small_log.schema.categories]
    index, part = small_log.focus, slice(0, None, 2)
    ids = index.vocabulary_id[index.entity[positions[part]]]
    category = small_log.schema.key_category(small_log.schema.focus_stream)
    assert category is not None
    people = [None, *small_log.vocabularies[str(small_log.schema.categories[category].vocabulary)]]
    columns: dict[str, Any] = {"row": index.rows[positions[part] + 1], "focus": [people[i] for i in ids]}
    for kind, name in ((MARGINAL, "marginal"), (CHAIN, "chain")):
        for c, category in enumerate(names):
            columns[f"{name}_{category}"] = -scores.log_prob[kind][part, c].astype(float) - 0.25
    path = tmp_path_factory.mktemp("oracle") / "log.oracle.parquet"
    pl.DataFrame(columns).sample(fraction=1, shuffle=True, seed=0).write_parquet(path)
    return path


@pytest.fixture(scope="module")
def against(run_directory: Path, oracle_file: Path) -> dict[str, Any]:
    """The evaluation with that oracle, written beside it."""
    return evaluate(
        EvaluateConfig((run_directory / "best",), out=oracle_file.parent / "out", oracle=oracle_file), QUIET
    )


def test_with_an_oracle_only_the_covered_events_are_measured(
    against: dict[str, Any], small_log: EventLog, positions: np.ndarray
) -> None:
    ids = small_log.focus.vocabulary_id[small_log.focus.entity[positions[::2]]]
    assert against["n"] == (ids > 0).sum()


def test_the_gap_to_the_oracle_is_that_of_each_category_and_their_mean(against: dict[str, Any]) -> None:
    found = against["oracle"]
    for category in found["categories"].values():
        for kind in ("marginal", "chain"):
            assert category[kind]["gap"]["mean"] == pytest.approx(0.25, abs=1e-4)
            assert category[kind]["gap_standard_error"] == pytest.approx(0, abs=1e-4)
    assert found["mean_over_categories"]["chain"]["gap"]["mean"] == pytest.approx(0.25, abs=1e-4)
    assert found["joint"]["gap"]["mean"] == pytest.approx(0.25 * len(found["categories"]), abs=1e-3)


def test_the_gaps_of_the_kinds_of_events_add_up_to_the_whole_gap(against: dict[str, Any]) -> None:
    found = against["oracle"]["where"]
    assert (found["category"], "PunchIn" in found["values"]) == ("EventType", True)
    n = [value["n"] for value in found["values"].values()]
    total = sum(value["n"] * value["joint"] for value in found["values"].values())
    assert sum(n) == against["n"]
    assert total / sum(n) == pytest.approx(against["oracle"]["joint"]["gap"]["mean"], abs=1e-4)


def test_table_and_page_state_the_gap(against: dict[str, Any], oracle_file: Path) -> None:
    assert "lowest possible loss" in (oracle_file.parent / "out" / "report.html").read_text("utf-8")
    console = Console(width=100, record=True, file=io.StringIO())
    print_summary(against, console)
    lines = console.export_text(clear=False).splitlines()
    assert next(line for line in lines if "mean over categories" in line).count("+0.250") == 2
    assert any("Approval" in line and "+4.250" in line for line in lines)  # 17 categories of 0.25


def test_an_oracle_of_another_log_is_refused(small_log: EventLog, tmp_path: Path) -> None:
    pl.DataFrame({"row": [1], "focus": ["E1"]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"has no column .*it is not an oracle of the schema workforce"):
        Oracle.read(tmp_path / "other.parquet", small_log)


def test_an_oracle_of_another_simulation_is_refused(small_log: EventLog, oracle_file: Path, tmp_path: Path) -> None:
    other = pl.read_parquet(oracle_file).with_columns(pl.col("focus").reverse())
    other.write_parquet(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"is the oracle of another log: row \d+ \(and [\d,]+ more\)"):
        Oracle.read(tmp_path / "other.parquet", small_log)


def test_an_oracle_of_another_split_is_refused(small_log: EventLog, oracle_file: Path, tmp_path: Path) -> None:
    shutil.copy(oracle_file, tmp_path / "log.oracle.parquet")
    ends = {"train_end": small_log.train_end, "validation_end": small_log.validation_end}
    (tmp_path / "log.oracle.json").write_text(json.dumps(ends))
    Oracle.read(tmp_path / "log.oracle.parquet", small_log)
    (tmp_path / "log.oracle.json").write_text(json.dumps(ends | {"train_end": 1}))
    with pytest.raises(ValueError, match="with the default --train and --validation"):
        Oracle.read(tmp_path / "log.oracle.parquet", small_log)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--checkpoint", "nowhere"], "nowhere is not a checkpoint"),
        (["--checkpoint"], "names no checkpoint"),
        (["--checkpoint", "BEST", "--data", "nowhere"], "nowhere is not a prepared event log"),
        (["--checkpoint", "BEST", "--samples", "-1"], "samples is -1"),
        (["--checkpoint", "BEST", "--oracle", "nowhere.parquet"], "nowhere.parquet is not a file"),
        (["--checkpoint", "BEST", "--oracle", "ORACLE", "--part", "validation"], "an oracle covers the test part"),
        (["--checkpoint", "BEST", "--out", "TAKEN"], "holds something else"),
        (["--checkpoint", "MOVED"], "was trained on elsewhere, which is not there; name its log with --data"),
    ],
)
def test_a_fault_of_the_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    expected: str,
    run_directory: Path,
    oracle_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").touch()
    monkeypatch.setattr(training.evaluate, "score", lambda *_: pytest.fail("measured before the fault was found"))
    shutil.copytree(run_directory / "best", tmp_path / "moved")
    header = tmp_path / "moved" / "meta.json"
    meta = json.loads(header.read_text())
    meta["training"]["data"] = "elsewhere"
    header.write_text(json.dumps(meta))
    places = {"BEST": run_directory / "best", "TAKEN": tmp_path / "taken", "MOVED": tmp_path / "moved"}
    places["ORACLE"] = oracle_file
    monkeypatch.setattr(sys, "argv", ["evaluate", *(str(places.get(a, a)) for a in arguments)])
    with pytest.raises(SystemExit) as stop:
        training.evaluate.main()
    assert stop.value.code == 2
    assert expected in " ".join(capsys.readouterr().err.split())


def test_a_log_with_other_vocabularies_is_refused(run_directory: Path, small_log: EventLog, tmp_path: Path) -> None:
    fewer = {name: list(values)[:-1] for name, values in small_log.vocabularies.items()}
    replace(small_log, vocabularies=fewer).save(tmp_path / "other")
    with pytest.raises(ValueError, match="knows other names than"):
        evaluate(EvaluateConfig((run_directory / "best",), data=tmp_path / "other"), QUIET)


def test_quantiles_of_time_are_held_against_what_happened(summary: dict[str, Any], out: Path) -> None:
    assert summary["coverage"]["n"] == min(summary["n"], 1_000)
    assert list(summary["coverage"]["levels"]) == ["0.1", "0.5", "0.9"]
    assert "quantiles of the next event" in (out / "report.html").read_text("utf-8")
    console = Console(width=100, record=True, file=io.StringIO())
    print_summary(summary, console)
    assert "lowest to highest quantile" in console.export_text()


def test_no_quantiles_are_measured_that_are_not_asked_for(run_directory: Path, tmp_path: Path) -> None:
    best = run_directory / "best"
    found = evaluate(EvaluateConfig((best,), out=tmp_path / "out", samples=20, quantile_samples=0), QUIET)
    assert "coverage" not in found


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """A network as it begins, on a zoned log of cases: no vocabulary names them, and no other stream is read."""
    schema = Schema.model_validate(
        {
            "name": "cases",
            "time_zone": "Europe/Berlin",
            "fields": [
                {"name": "Case", "kind": "key"},
                {"name": "Step", "kind": "enum", "values": ["a", "b", "c"]},
                {"name": "Same", "kind": "enum", "values": ["x"]},
                {"name": "At", "kind": "datetime"},
            ],
            "order_by": "At",
            "streams": [{"name": "Case", "keys": ["Case"], "max_events": 5}],
            "focus": "Case",
        }
    )
    records = [
        {"Case": f"c{i % 7}", "Step": "abc"[i % 3], "Same": "x", "At": f"2026-03-29T0{i // 60}:{i % 60:02d}:00+01:00"}
        for i in range(180)  # clocks change at two
    ]
    log, _ = prepare(pl.DataFrame(records), schema)
    log.save(tmp_path / "log")
    training_config = TrainConfig(data=tmp_path / "log", out=tmp_path).to_dict()
    with write_directory(tmp_path / "best", replaces="meta.json") as draft:
        write_checkpoint(draft, Checkpoint(EventModel(TINY, log.codec), log.codec, 0, {}, training_config, {}))
    return tmp_path / "best"


def test_a_zoned_log_of_cases_with_one_stream_is_evaluated(cases: Path, tmp_path: Path) -> None:
    found = evaluate(EvaluateConfig((cases,), out=tmp_path / "out", samples=1, quantile_samples=0), QUIET)
    assert found["n"] == 1
    # the first of the newest tenth was at 02:42+01:00, when clocks showed an hour more
    assert found["provenance"]["first_target"] == found["provenance"]["last_target"] == "2026-03-29T03:42:00"
    assert found["categories"]["Same"]["slices"]["new"]["marginal"]["nll"]["mean"] is None
    assert "same Case" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_an_oracle_needs_a_focus_that_a_vocabulary_names(cases: Path) -> None:
    log = EventLog.load(cases.parent / "log")
    names = [category.name for category in log.schema.categories]
    columns = ["row", "focus", *(f"{kind}_{name}" for kind in ("marginal", "chain") for name in names)]
    pl.DataFrame({name: [1] for name in columns}).write_parquet(cases.parent / "oracle.parquet")
    with pytest.raises(ValueError, match="an oracle needs a focus keyed by a field of kind id"):
        Oracle.read(cases.parent / "oracle.parquet", log)


def test_thinning_keeps_the_first_and_the_last() -> None:
    assert thin(np.arange(100), 5).tolist() == [0, 24, 49, 74, 99]
    assert thin(np.arange(3), 5).tolist() == [0, 1, 2]
