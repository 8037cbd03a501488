"""Does surprise find the events that somebody labelled? Average precision, beside counting's."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from eventmodel.event_log import EventLog
from training.evaluation.baselines import score_baselines
from training.read_table import read_table
from training.scoring.average_precision import average_precision


def read_labels(path: Path, log: EventLog) -> np.ndarray:
    """Row numbers of the labelled events: the column ``row`` of a .csv or .parquet file.

    Raises:
        ValueError: there is no such column, or it holds something else than rows of the log.
        OSError: the file is missing.
    """
    frame = read_table(path)
    if "row" not in frame.columns:
        raise ValueError(f"{path} has no column 'row', the labelled events' rows in the log; it has {frame.columns}")
    try:
        rows = frame["row"].cast(pl.Int64, strict=True).drop_nulls().to_numpy()
    except pl.exceptions.PolarsError:
        raise ValueError(f"{path}: column 'row' must hold whole numbers, the labelled events' rows") from None
    n = len(log.events.timestamp)
    if len(rows) and not (rows.min() >= 0 and rows.max() < n):
        wrong = rows[(rows < 0) | (rows >= n)][0]
        raise ValueError(f"{path}: the log has rows 0 to {n - 1}, and no row {wrong}; name the labels of this log")
    return rows


def check_labels(log: EventLog, positions: np.ndarray, labelled: np.ndarray) -> None:
    """Of the events after the positions, one at least is labelled.

    Raises:
        ValueError: none is.
    """
    if not np.isin(log.focus.rows[positions + 1], labelled).any():
        raise ValueError("none of the labelled events would be scored; name the labels of this log, or another --part")


def per_event(row: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each event once: (m,) rows in order, and the smallest of its scores.

    What one of the entities that it concerns explains is not unusual.
    """
    rows, event = np.unique(row, return_inverse=True)
    smallest = np.full(len(rows), np.inf)
    np.minimum.at(smallest, event, score)
    return rows, smallest


@dataclass(frozen=True)
class Detection:
    """Average precision at finding the labelled events, by scores of the values that training showed.

    The others, like a month that has just begun, are left out for the model and for the baselines:
    they surprise everybody, by much, whatever else the event is.
    """

    base_rate: float
    """Share of labelled events: about what a score that tells nothing has."""
    whole: dict[str, float]
    """By the surprise of all categories together: of ``model`` (along the chain) and of the baselines."""
    category: dict[str, float]
    """By its most unusual category: of ``model``; of the baselines, by the largest surprise."""


def detect(
    log: EventLog,
    positions: np.ndarray,
    is_seen: np.ndarray,
    joint: np.ndarray,
    unusual: np.ndarray,
    labelled: np.ndarray,
) -> Detection:
    """Rank events by how suspect they are, with the model and with counting.

    Args:
        positions: (n,) the events before those that were scored.
        is_seen: (n, C) bool, which of their values training showed.
        joint, unusual: (n,) the model's scores, of these values alone.
        labelled: rows of the events to be found; ``check_labels`` has seen them.
    """
    row = log.focus.rows[positions + 1]
    is_labelled = np.isin(np.unique(row), labelled)
    surprise = {name: -scores.log_prob for name, scores in score_baselines(log, positions).items()}

    def whole(surprise: np.ndarray) -> np.ndarray:
        return np.where(is_seen, surprise, 0).sum(1)

    def largest(surprise: np.ndarray) -> np.ndarray:
        return np.where(is_seen, surprise, -np.inf).max(1)

    def precision(score: np.ndarray) -> float:
        return average_precision(is_labelled, per_event(row, score)[1])

    return Detection(
        base_rate=float(is_labelled.mean()),
        whole={"model": precision(joint), **{name: precision(whole(s)) for name, s in surprise.items()}},
        category={"model": precision(unusual), **{name: precision(largest(s)) for name, s in surprise.items()}},
    )
