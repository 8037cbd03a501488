"""The evaluation of a log of cases, which no vocabulary names: measured in its own time, and without an oracle."""

from pathlib import Path

import polars as pl
import pytest
from conftest import TINY
from rich.console import Console

from eventmodel.checkpoint import Checkpoint, write_checkpoint
from eventmodel.directory import write_directory
from eventmodel.event_log import EventLog
from eventmodel.model import EventModel
from eventmodel.schema import Schema
from training.config import TrainConfig
from training.evaluate import EvaluateConfig, evaluate
from training.evaluation.oracle import Oracle
from training.preparation import prepare

QUIET = Console(quiet=True)


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
