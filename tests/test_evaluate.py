"""The evaluation as a whole: its numbers, what they were measured on, and its errors."""

import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import training.evaluate
from eventmodel.checkpoint import load_checkpoint
from eventmodel.event_log import EventLog
from eventmodel.heads import CHAIN, MARGINAL
from training.evaluate import EvaluateConfig, evaluate
from training.evaluation import Scores, thin
from training.evaluation.baselines import BASELINES, score_baselines
from training.evaluation.metrics import MEANING, SLICES, expected_calibration_error
from training.evaluation.summary import summarise
from training.evaluation.table import print_summary

QUIET = Console(quiet=True)


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


def test_metrics_json_is_what_was_returned_and_finite(summary: dict[str, Any], evaluation_directory: Path) -> None:
    text = (evaluation_directory / "metrics.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert np.isfinite(numbers(json.loads(text))).all()
    assert json.loads(text) == json.loads(json.dumps(summary))


def test_every_number_has_a_sentence_that_says_what_it_is(summary: dict[str, Any]) -> None:
    category = summary["categories"]["EventType"]
    named = {name for name, value in category.items() if isinstance(value, dict) and "mean" in value}
    assert named | set(category["marginal"]) | {"unknown_rate"} == set(MEANING)


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


def test_quantiles_of_time_are_held_against_what_happened(summary: dict[str, Any], evaluation_directory: Path) -> None:
    assert summary["coverage"]["n"] == min(summary["n"], 1_000)
    assert list(summary["coverage"]["levels"]) == ["0.1", "0.5", "0.9"]
    assert "quantiles of the next event" in (evaluation_directory / "report.html").read_text("utf-8")
    console = Console(width=100, record=True, file=io.StringIO())
    print_summary(summary, console)
    assert "lowest to highest quantile" in console.export_text()


def test_no_quantiles_are_measured_that_are_not_asked_for(run_directory: Path, tmp_path: Path) -> None:
    best = run_directory / "best"
    found = evaluate(EvaluateConfig((best,), out=tmp_path / "out", samples=20, quantile_samples=0), QUIET)
    assert "coverage" not in found


def test_thinning_keeps_the_first_and_the_last() -> None:
    assert thin(np.arange(100), 5).tolist() == [0, 24, 49, 74, 99]
    assert thin(np.arange(3), 5).tolist() == [0, 1, 2]
