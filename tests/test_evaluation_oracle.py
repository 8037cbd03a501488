"""An evaluation against an oracle: how far above the lowest possible loss the model is."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from eventmodel.event_log import EventLog
from training.evaluate import EvaluateConfig, evaluate
from training.evaluation.oracle import Oracle
from training.evaluation.table import print_summary

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def against(run_directory: Path, oracle_file: Path) -> dict[str, Any]:
    """The evaluation with the oracle, written beside it."""
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
