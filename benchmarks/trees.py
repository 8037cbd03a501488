"""How far a careful person gets on flights without a network: gradient-boosted trees on made features.

pip install scikit-learn
python -m benchmarks.trees --data LOG

One model per category, on the aircraft's two newest events, the time between them, the weekday,
and the shares of delay bands among the newest departures of the log and of the airport. Months are
left out: the training part lacks those of the test part. A yardstick, chosen without the test part:
it says what a category gives away to whoever knows the log, and what may be out of reach. The last
columns tell what nobody knows beforehand, from the labels of the test part.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.markdown import heading, row
from eventmodel.codec import MICROSECONDS
from eventmodel.config import ModelConfig
from eventmodel.event_log import EventLog
from eventmodel.time_context import weekday
from training.errors import exit_on_user_error
from training.sampling import Sampler

RECENT = {"log": (50, 200, 1000), "airport": (30, 100)}
"""Newest departures over which the shares of delay bands are taken."""
OF_THE_SECOND = ("OriginId", "DestinationId", "DepartureDelay", "FlightId", "CarrierId")
"""What is read of the event before the newest one."""


@dataclass(frozen=True)
class TreesConfig:
    """Fit trees on the training part, and measure on the validation and the test part."""

    data: Path
    """The prepared flights log."""
    categories: tuple[str, ...] = ("OriginId", "DepartureDelay", "Time_ScheduledDeparture_Hour")
    """What to predict, a model each; those of many values take long."""
    samples: int = 120_000
    """Training events, drawn at random."""
    iterations: int = 100
    """Trees per value."""


def features(log: EventLog, positions: np.ndarray) -> np.ndarray:
    """(n, F) float32 of what is known at each position of the focus stream's index."""
    names = [category.name for category in log.schema.categories]
    ids, timestamp, index = log.events.ids, log.events.timestamp, log.focus
    row = index.rows[positions]
    before = np.maximum(positions - 1, 0)
    has_second = (index.entity[before] == index.entity[positions]) & (before < positions)
    second = np.where(has_second, index.rows[before], row)
    of_second = ids[second][:, [names.index(name) for name in OF_THE_SECOND]].astype(np.float32)
    of_second[~has_second] = -1
    delay, airport = ids[:, names.index("DepartureDelay")], ids[:, names.index("OriginId")]
    return np.hstack(
        [
            ids[row][:, [i for i, category in enumerate(log.schema.categories) if category.part != "Month"]],
            of_second,
            (timestamp[row] - timestamp[second])[:, None] / 3.6e9,  # hours
            weekday(timestamp[row], log.events.utc_offset[row])[:, None],
            *_recent_shares(delay, np.zeros_like(airport), row, RECENT["log"]),
            *_recent_shares(delay, airport, row, RECENT["airport"]),
        ]
    ).astype(np.float32)


def _recent_shares(value: np.ndarray, group: np.ndarray, row: np.ndarray, lengths: tuple[int, ...]) -> list[np.ndarray]:
    """Shares of each value among the newest ``lengths`` rows of the same group up to ``row``: (n, V) each."""
    size = int(value.max()) + 1
    result = [np.zeros((len(row), size)) for _ in lengths]
    for g in np.unique(group):
        members = np.flatnonzero(group == g)
        count = np.zeros((len(members) + 1, size))
        np.cumsum(np.eye(size)[value[members]], axis=0, out=count[1:])
        asked = group[row] == g
        end = np.searchsorted(members, row[asked], side="right")
        for shares, length in zip(result, lengths, strict=True):
            shares[asked] = (count[end] - count[np.maximum(end - length, 0)]) / length
    return result


def in_hindsight(label: np.ndarray, group: np.ndarray) -> float:
    """How often, in percent, who is told the most common label of each event's group would be right."""
    counts = np.zeros((len(groups := np.unique(group)), int(label.max()) + 1))
    np.add.at(counts, (np.searchsorted(groups, group), label), 1)
    return float(counts.max(1).sum() / len(label) * 100)


def taught_by_other_days(label: np.ndarray, group: np.ndarray, day: np.ndarray) -> float:
    """How often, in percent, a group's most common label is right that every second day has taught."""
    groups, n = np.unique(group), int(label.max()) + 1
    place, is_right = np.searchsorted(groups, group), np.zeros(len(label), bool)
    for parity in (0, 1):
        is_other = day % 2 == parity
        overall = np.bincount(label[is_other], minlength=n) / is_other.sum()
        counts = np.tile(5 * overall, (len(groups), 1))  # a group of few learns from all
        np.add.at(counts, (place[is_other], label[is_other]), 1)
        is_right |= ~is_other & (counts.argmax(1)[place] == label)
    return float(is_right.mean() * 100)


def main() -> None:
    """Fit, and print a Markdown table."""
    config = tyro.cli(TreesConfig, prog="python -m benchmarks.trees")
    with exit_on_user_error():
        log = EventLog.load(config.data)
        names = [category.name for category in log.schema.categories]
        if unknown := {*config.categories, *OF_THE_SECOND} - set(names):
            raise ValueError(f"{config.data} has no categories {sorted(unknown)}; name a flights log, and some of its")
        train, *parts = (
            Sampler(log, ModelConfig(), *log.part(name)).positions for name in ("training", "validation", "test")
        )
        train = np.random.default_rng(0).choice(train, min(config.samples, len(train)), replace=False)
        inputs = [features(log, positions) for positions in (train, *parts)]
        targets = [log.focus.rows[positions + 1] for positions in (train, *parts)]
        labels = [log.events.ids[rows] for rows in targets]
        when = log.events.timestamp[targets[2]] // MICROSECONDS + log.events.utc_offset[targets[2]]
        day, hour_of_day = when // 86_400, when // 3600 % 24
        columns = (
            "category",
            "validation top-1, %",
            "nll",
            "test top-1, %",
            "nll",
            "most common, test",
            "of its day",
            "of its hour",
            "taught",
        )
        print(heading(columns))
        for name in config.categories:
            c = names.index(name)
            trees = HistGradientBoostingClassifier(
                max_iter=config.iterations, learning_rate=0.06, l2_regularization=1.0, early_stopping=False
            ).fit(inputs[0], labels[0][:, c])
            cells = []
            for x, y in zip(inputs[1:], labels[1:], strict=True):
                p = trees.predict_proba(x)
                at = np.minimum(np.searchsorted(trees.classes_, y[:, c]), len(trees.classes_) - 1)
                of_label = np.where(trees.classes_[at] == y[:, c], p[np.arange(len(p)), at], 0)
                top1 = (trees.classes_[p.argmax(1)] == y[:, c]).mean()
                cells += [f"{top1 * 100:.2f}", f"{-np.log(np.maximum(of_label, 1e-6)).mean():.3f}"]
            common = np.bincount(labels[0][:, c]).argmax()
            label = labels[2][:, c]
            hindsight = [in_hindsight(label, group) for group in (day, hour_of_day)]
            carrier = labels[2][:, names.index("CarrierId")]
            hindsight.append(taught_by_other_days(label, carrier * 24 + hour_of_day, day))
            cells += [f"{share:.2f}" for share in ((label == common).mean() * 100, *hindsight)]
            print(row((name, *cells)), flush=True)


if __name__ == "__main__":
    main()
