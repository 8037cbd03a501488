"""Next-activity accuracy on public process logs, by the protocol of the published benchmark.

python -m benchmarks.process_logs --log bpi_challenge_2013_incidents.csv.gz \
    --folds bpi_challenge_2013_incidents_folds.csv.gz --published published.csv --out DIR

Protocol (Rama-Maneiro, Vidal and Lama, IEEE TSC 2023): the label is the activity, joined with the
life cycle where a log has more than one; an end marker is appended to each case; one prediction
for every prefix; selection on the validation part only; accuracy pooled over the prefixes of a
fold's test cases, then averaged over the five folds. The model sees one case at a time.

The product's own model, trained by its own loop: what differs by log is a schema file. A fold
that is done is not trained again, and one of another log or other folds is refused.

--split time is another question: what do the other streams (resource, group, the log's most recent
events) add? Two runs on one split by time, with the case's stream alone and with all streams.
Published methods lack the other streams, so these figures do not belong into their table.
"""

import csv
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
import tyro

from benchmarks.machine import machine_name
from benchmarks.markdown import heading, row
from benchmarks.results import read_result, write_result
from benchmarks.runs import metrics_of_test_part, recorded
from eventmodel.config import ModelConfig
from eventmodel.event_log import FORMAT, EventLog
from eventmodel.schema import Schema, load_schema
from eventmodel.stream_index import INDEX_COLUMNS
from training.config import TrainConfig
from training.device import device_of
from training.errors import exit_on_user_error
from training.preparation import prepare
from training.sampling import Sampler

SCHEMAS = Path(__file__).parent / "schemas"
LABEL, END = "Activity", "END"
N_FOLDS = 5
BATCH_SIZE, EPOCHS, MOST_STEPS = 64, 2, 850
LABEL_WEIGHT = 10.0
"""Of the activity's loss: nothing else is scored here."""
PARTS = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True)
class ProcessLogConfig:
    """Train a fold after the other and print the mean accuracy among the published ones."""

    log: Path
    """The log, NAME.csv.gz; benchmarks/schemas/name.json is its schema."""
    folds: Path
    """Which part each case belongs to: case,fold0,...,fold4 with train, val or test."""
    published: Path
    """Published accuracies: log,method,mean_accuracy_percent,std."""
    out: Path
    """Directory for the runs, one per fold, and result.json."""
    only: tuple[int, ...] = tuple(range(N_FOLDS))
    """Folds to train."""
    split: Literal["folds", "time"] = "folds"
    """By the published folds, or chronologically, 80 / 10 / 10%."""

    def __post_init__(self) -> None:
        if not self.only or not set(self.only) <= set(range(N_FOLDS)):
            raise ValueError(f"--only is {list(self.only)}; name some of the folds 0 to {N_FOLDS - 1}")


def training_config(log: EventLog, data: Path, out: Path) -> TrainConfig:
    """The same for every log, but that a small one is read no more often than the others.

    Args:
        log: prepared.
        data: where it lies.
    """
    model = ModelConfig(
        d_model=96, n_heads=4, encoder_layers=2, decoder_layers=3, context_length=64, target_length=16, dropout=0.2
    )
    n_samples = len(Sampler(log, model, *log.part("training")))
    return TrainConfig(
        data=data,
        out=out,
        model=model,
        batch_size=BATCH_SIZE,
        steps=min(max(round(EPOCHS * n_samples / BATCH_SIZE), 1), MOST_STEPS),
        loss_weights={LABEL: LABEL_WEIGHT},
        entity_masking=0.05,  # the parts are drawn at random: a fold's test part has hardly any new names
        learning_rate=2e-3,
        warmup_steps=100,
        decay_share=0.6,
        weight_decay=0.05,
        eval_every=100,
        eval_samples=1_000_000,
        test_samples=1_000_000,
    )


def read_cases(log: Path, schema: Schema) -> pl.DataFrame:
    """The log with label and end markers, each case's events in the order of time.

    Raises:
        ValueError: the log lacks a column.
    """
    case, when = schema.focus_stream.keys[0], schema.order_by
    frame = _read(log)
    if missing := {case, when, "concept:name", "lifecycle:transition"} - set(frame.columns):
        raise ValueError(f"{log} lacks the columns {sorted(missing)}")
    label = pl.col("concept:name")
    if frame["lifecycle:transition"].n_unique() > 1:
        label = pl.concat_str("concept:name", "lifecycle:transition", separator="+")
    frame = frame.with_columns(label.alias(LABEL))
    order = pl.col(when).str.to_datetime("%+", time_unit="us")
    frame = frame.with_columns(order.alias("order")).sort("order", maintain_order=True)
    # after all events: the sort by time that follows is stable, so that each marker stays behind its case
    ends = frame.group_by(case, maintain_order=True).agg(pl.col(when, "order").last())
    ends = ends.with_columns(pl.lit(END).alias(LABEL))
    return pl.concat([frame, ends], how="diagonal").drop("order")


def fold_parts(frame: pl.DataFrame, case: str, folds: Path, fold: int) -> np.ndarray:
    """(n,) part of each event.

    Raises:
        ValueError: the file leaves a case out, or names a part that is none.
    """
    assigned = _read(folds)
    if missing := {"case", f"fold{fold}"} - set(assigned.columns):
        raise ValueError(f"{folds} lacks the columns {sorted(missing)}")
    assigned = assigned.select("case", pl.col(f"fold{fold}").alias("part"))
    parts = frame.join(assigned, left_on=case, right_on="case", how="left", maintain_order="left")["part"]
    if unknown := set(parts.unique().to_list()) - set(PARTS):
        raise ValueError(f"{folds} gives some cases of fold {fold} the parts {unknown}, not one of {list(PARTS)}")
    return parts.replace_strict(PARTS).to_numpy()


def _read(path: Path) -> pl.DataFrame:
    """A CSV file, compressed or not, all columns as text."""
    try:
        return pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path} cannot be read as CSV: {str(error).splitlines()[0]}") from None


def of_the_case(schema: Schema) -> Schema:
    """The schema with the stream of the case alone."""
    return schema.model_copy(update={"streams": (schema.focus_stream,)})


def run(directory: Path, schema: Schema, frame: pl.DataFrame, parts: np.ndarray | None) -> dict[str, Any]:
    """Prepare, train and measure, unless it is done.

    Raises:
        ValueError: what lies in the directory is of another log, split or configuration.
    """
    log, path = prepare(frame, schema, parts=parts)[0], directory / "log"
    if not (path / FORMAT.file).is_file():
        log.save(path)
    elif not _is_same(log, EventLog.load(path)):
        raise ValueError(f"{path} was prepared from another log or other folds; name a new --out")
    began = time.monotonic()
    metrics = metrics_of_test_part(training_config(log, path, directory / "run"))
    meta = recorded(directory / "run" / "best")
    label = [category.name for category in schema.categories].index(LABEL)
    result = {
        "accuracy": metrics["top1"][label] * 100,
        "validation_accuracy": meta["metrics"]["validation"]["top1"][label] * 100,
        "nll": metrics["nll"][label],
        "prefixes": metrics["n"],
        "step": meta["step"],
        "minutes": (time.monotonic() - began) / 60,
    }
    path = directory / "result.json"
    if path.is_file():  # the training was done in an earlier call: keep its time
        result["minutes"] = read_result(path)["minutes"]
    write_result(path, result)
    return result


def _is_same(a: EventLog, b: EventLog) -> bool:
    """Whether two logs hold the same events, cut into the same parts."""

    def parts(log: EventLog) -> tuple[object, ...]:
        return log.schema, log.codec.vocabularies, log.train_end, log.validation_end

    def arrays(log: EventLog) -> list[np.ndarray]:
        return [*log.events, *(getattr(index, name) for index in log.streams.values() for name in INDEX_COLUMNS)]

    return parts(a) == parts(b) and all(map(np.array_equal, arrays(a), arrays(b)))


def published_entries(published: Path, name: str) -> list[tuple[float, str, str]]:
    """Accuracy, its deviation and the method, of each that is published for a log.

    Raises:
        ValueError: there is none.
    """
    with published.open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("log") == name]
    if not rows:
        raise ValueError(f"{published} holds nothing for the log {name!r}")
    return [(float(row["mean_accuracy_percent"]), row["std"], row["method"]) for row in rows]


def table(entries: list[tuple[float, str, str]], accuracies: list[float]) -> list[str]:
    """Our row among the published ones, best first."""
    mean, spread = np.mean(accuracies), np.std(accuracies, ddof=1) if len(accuracies) > 1 else 0.0
    entries = [*entries, (float(mean), f"{spread:.2f}", f"**this project** ({len(accuracies)} folds)")]
    return [
        heading(("method", "accuracy, %", "sd over folds")),
        *(row((method, f"{accuracy:.2f}", spread)) for accuracy, spread, method in sorted(entries, reverse=True)),
    ]


def main() -> None:
    """Train the folds and print the table."""
    config = tyro.cli(ProcessLogConfig, prog="python -m benchmarks.process_logs")
    with exit_on_user_error():
        name = config.log.name.split(".")[0].lower()
        schema = load_schema(SCHEMAS / f"{name}.json")
        frame = read_cases(config.log, schema)
        case = schema.focus_stream.keys[0]
        runs: dict[str, tuple[Schema, np.ndarray | None]]
        if config.split == "folds":
            published = published_entries(config.published, name)  # before hours of training
            runs = {
                f"fold{fold}": (of_the_case(schema), fold_parts(frame, case, config.folds, fold))
                for fold in config.only
            }
        else:
            runs = {"time, case only": (of_the_case(schema), None), "time, all streams": (schema, None)}
        results = {}
        for run_name, (its_schema, parts) in runs.items():
            results[run_name] = run(
                config.out / run_name.replace(", ", "-").replace(" ", "-"), its_schema, frame, parts
            )
            print(
                "{name}: {accuracy:.2f}% of {prefixes:,} prefixes, nll {nll:.3f} (validation "
                "{validation_accuracy:.2f}%, step {step}, {minutes:.1f} minutes)".format(
                    name=run_name, **results[run_name]
                ),
                flush=True,
            )
        print(f"\n{name}, torch {torch.__version__}, {machine_name(device_of(TrainConfig.device))}\n")
        if config.split == "folds":
            print(*table(published, [r["accuracy"] for r in results.values()]), sep="\n")


if __name__ == "__main__":
    main()
