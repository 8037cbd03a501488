"""What the tests share: small schemas and logs, a tiny run, its bundle and its evaluation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import settings
from rich.console import Console

from eventmodel.bundle import Bundle
from eventmodel.checkpoint import load_checkpoint
from eventmodel.config import ModelConfig
from eventmodel.event_log import EventLog
from eventmodel.heads import CHAIN, MARGINAL
from eventmodel.schema import Schema, load_schema
from export.run import ExportConfig, export
from training.config import TrainConfig
from training.evaluation import Scores, choose, score
from training.preparation import prepare
from training.run import train
from training.sampling import Sampler

# the same examples in every run, so that a change is judged by what it changed; test-all looks for new ones
settings.register_profile("repeat", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile("repeat")


@pytest.fixture(scope="session")
def tiny_schema() -> Schema:
    """One field of every kind, a shared vocabulary, a stream of two keys and one of a key field."""
    return Schema.model_validate(
        {
            "name": "tiny",
            "fields": [
                {"name": "Kind", "kind": "enum", "values": ["in", "out", "break"]},
                {"name": "Worker", "kind": "id", "vocabulary": "people"},
                {"name": "Helper", "kind": "id", "vocabulary": "people"},
                {"name": "Site", "kind": "id"},
                {"name": "Hours", "kind": "number", "edges": [0, 4, 8.5]},
                {"name": "Case", "kind": "key"},
                {"name": "PlannedDatetime", "kind": "datetime"},
                {"name": "EventDatetime", "kind": "datetime"},
            ],
            "order_by": "EventDatetime",
            "streams": [
                {"name": "Worker", "keys": ["Worker", "Helper"], "max_entities": 3, "max_events": 7},
                {"name": "Case", "keys": ["Case"], "max_entities": 2, "max_events": 5},
                {"name": "Time", "max_events": 11},
            ],
            "focus": "Worker",
        }
    )


def make_workforce(n_days: int, n_employees: int = 23, n_sites: int = 5, seed: int = 0) -> pl.DataFrame:
    """Punches of employees who keep to a shift, a home site and a job, and approvals by managers.

    About 3.4 events per employee and day, in no particular order.
    """
    random = np.random.default_rng(seed)
    records = []
    for employee in range(n_employees):
        home, job, shift = random.integers(n_sites), random.integers(4), (6, 8, 14)[employee % 3]
        for day in range(n_days):
            if random.random() < 0.2:
                continue
            site = home if random.random() < 0.9 else random.integers(n_sites)
            start = np.datetime64("2026-01-05T00:00:00") + np.timedelta64(day, "D") + np.timedelta64(shift, "h")
            punches = [("PunchIn", 0), ("BreakStart", 240), ("BreakEnd", 270), ("PunchOut", 510)]
            for kind, minute in punches:
                planned = start + np.timedelta64(minute, "m")
                late = int(random.integers(-5, 9))
                records.append(
                    {
                        "EventType": kind,
                        "ActorRecordId": f"E{employee:02d}",
                        "LocationRecordId": f"S{site}",
                        "CostCodeRecordId": f"C{site}{job}",
                        "JobCodeRecordId": f"J{job}",
                        "IsTimesheet": "true" if kind.startswith("Punch") else "false",
                        "HoursWorked": "8" if kind == "PunchOut" else None,
                        "EventDatetime": str(planned + np.timedelta64(late, "m")),
                        "ReferenceDatetime": str(planned),
                    }
                )
            if day % 5 == 4:
                records.append(
                    {
                        "EventType": "Approval",
                        "ActorRecordId": f"M{site}",
                        "RecipientRecordId": f"E{employee:02d}",
                        "ApprovedByManagerUserRecordId": f"M{site}",
                        "LocationRecordId": f"S{site}",
                        "EventDatetime": str(start + np.timedelta64(12, "h")),
                        "ReferenceDatetime": str(start),
                    }
                )
    names = [field.name for field in load_schema("workforce").fields]
    frame = pl.DataFrame(records, schema=dict.fromkeys(names, pl.String))
    return frame.sample(fraction=1, shuffle=True, seed=seed)


@pytest.fixture(scope="session")
def small_frame() -> pl.DataFrame:
    """About 2,000 records of the built-in schema ``workforce``."""
    return make_workforce(n_days=26)


@pytest.fixture(scope="session")
def small_log(small_frame: pl.DataFrame) -> EventLog:
    """``small_frame`` as a prepared log."""
    return prepare(small_frame, load_schema("workforce"))[0]


TINY = ModelConfig(
    d_model=20,
    n_heads=2,
    encoder_layers=2,
    decoder_layers=1,
    context_length=13,
    focus_events=6,
    target_length=5,
    dropout=0.0,
)
"""Distinct sizes, so that a swapped dimension cannot pass."""


@pytest.fixture(scope="session")
def log_directory(small_log: EventLog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``small_log`` on the disk."""
    path = tmp_path_factory.mktemp("log") / "log"
    small_log.save(path)
    return path


@pytest.fixture(scope="session")
def run_directory(log_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that trained a tiny model for a few steps."""
    out = tmp_path_factory.mktemp("run") / "run"
    train(TrainConfig(data=log_directory, out=out, model=TINY, steps=30, batch_size=16, eval_every=15, device="cpu"))
    return out


@pytest.fixture(scope="session")
def bundle(run_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny model, exported once in every format for the whole session."""
    out = tmp_path_factory.mktemp("bundle") / "bundle"
    return export(ExportConfig(run_directory / "best", out), Console(quiet=True))


@pytest.fixture(scope="session")
def example_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The server's tests' small bundle, without artefacts, for all who only read it."""
    from server_example import write_example  # not above: it brings the server, which most tests do without

    return write_example(tmp_path_factory.mktemp("example") / "bundle")


@pytest.fixture(scope="session")
def evaluated(run_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The tiny run, evaluated on the whole test part; and where that was written."""
    from training.evaluate import EvaluateConfig, evaluate  # not above: it brings matplotlib

    out = tmp_path_factory.mktemp("evaluation") / "out"
    return evaluate(EvaluateConfig((run_directory / "best",), out=out), Console(quiet=True)), out


@pytest.fixture(scope="session")
def summary(evaluated: tuple[dict[str, Any], Path]) -> dict[str, Any]:
    """What the evaluation of the tiny run returned."""
    return evaluated[0]


@pytest.fixture(scope="session")
def evaluation_directory(evaluated: tuple[dict[str, Any], Path]) -> Path:
    """What the evaluation of the tiny run wrote."""
    return evaluated[1]


@pytest.fixture(scope="session")
def positions(run_directory: Path, small_log: EventLog) -> np.ndarray:
    """The events before the targets of the test part."""
    config = load_checkpoint(run_directory / "best").model.config
    sampler = Sampler(small_log, config, small_log.validation_end, len(small_log.events.timestamp))
    return choose(sampler, len(sampler))


@pytest.fixture(scope="session")
def scores(run_directory: Path, small_log: EventLog, positions: np.ndarray) -> Scores:
    """The tiny model's, of those targets."""
    model = load_checkpoint(run_directory / "best").model
    sampler = Sampler(small_log, model.config, 0, len(small_log.events.timestamp))
    return score(model, sampler, positions, torch.device("cpu"))


@pytest.fixture(scope="session")
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


@pytest.fixture
def config(log_directory: Path, tmp_path: Path) -> TrainConfig:
    """A short run of the tiny model that evaluates and saves often."""
    return TrainConfig(
        data=log_directory,
        out=tmp_path / "run",
        model=replace(TINY, dropout=0.1),
        steps=12,
        batch_size=8,
        neighbours=4,
        eval_every=2,
        eval_samples=40,
        warmup_steps=3,
        log_every=2,
        checkpoint_every=4,
        patience=0,
        device="cpu",
    )
