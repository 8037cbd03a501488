"""The true negative log-likelihood of a simulated log's events, and how far a model is from it.

``training.simulate`` writes it beside the log: row (of the log), focus, joint, and chain_CATEGORY and
marginal_CATEGORY for each category. No model can do better on average; by chance one can, on a sample.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eventmodel.event_log import EventLog
from eventmodel.heads import CHAIN, MARGINAL
from training.evaluation.metrics import spread
from training.evaluation.scores import Scores
from training.read_table import read_table


@dataclass(frozen=True)
class Oracle:
    """Events of a log that the oracle has scored."""

    key: np.ndarray  # (m,) int64, sorted: the event's row and its focus, as one number
    nll: np.ndarray  # (2, m, C) float64 nats: MARGINAL and CHAIN

    @classmethod
    def read(cls, path: Path, log: EventLog) -> "Oracle":
        """Read an oracle's table.

        Raises:
            ValueError: not the oracle of this log.
            OSError: not a file.
        """
        frame = read_table(path)
        names = [category.name for category in log.schema.categories]
        columns = {MARGINAL: [f"marginal_{name}" for name in names], CHAIN: [f"chain_{name}" for name in names]}
        missing = {"row", "focus", *columns[MARGINAL], *columns[CHAIN]} - set(frame.columns)
        if missing:
            raise ValueError(
                f"{path} has no column {', '.join(sorted(missing)[:3])}: it is not an oracle of the schema "
                f"{log.schema.name}; name the .oracle file that training.simulate wrote beside this log"
            )
        category = log.schema.key_category(log.schema.focus_stream)
        if category is None:
            raise ValueError(
                f"the focus {log.schema.focus} of {log.schema.name} has no vocabulary to find {path}'s names in; "
                "an oracle needs a focus keyed by a field of kind id"
            )
        vocabulary = log.vocabularies[str(log.schema.categories[category].vocabulary)]
        ids = {name: id_ for id_, name in enumerate(vocabulary, start=1)}
        focus = np.array([ids.get(name, 0) for name in frame["focus"].cast(pl.String)], np.int64)
        try:
            row = frame["row"].cast(pl.Int64).to_numpy()
            nll = np.stack(
                [frame.select(columns[kind]).cast(pl.Float64).to_numpy() for kind in (MARGINAL, CHAIN)]
            )  # (2, m, C)
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"{path} holds something other than numbers: {str(error).splitlines()[0]}") from None
        if not len(row):
            raise ValueError(f"{path} holds no event; simulate more employees or more days")
        key = _key(row, focus, len(vocabulary))
        # rows and names of another log are found by chance here and there
        strange = row[(focus > 0) & ~np.isin(key, _keys(log, np.arange(len(log.focus.rows))))]
        if len(strange):
            raise ValueError(
                f"{path} is the oracle of another log: row {strange[0]} (and {len(strange) - 1:,} more) is another "
                "person's event here; name the .oracle file that training.simulate wrote beside this log"
            )
        _check_split(path.with_suffix(".json"), log)
        order = np.argsort(key)
        return cls(key[order], nll[:, order])

    def find(self, log: EventLog, positions: np.ndarray) -> np.ndarray:
        """(n,) the oracle's entry for the event after each position, -1 where it has none."""
        key = _keys(log, positions + 1)
        is_known = log.focus.vocabulary_id[log.focus.entity_at(positions)] > 0
        at = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
        return np.where((self.key[at] == key) & is_known, at, -1)


def _keys(log: EventLog, positions: np.ndarray) -> np.ndarray:
    """(n,) the key of the event at each position of the focus stream's index."""
    category = log.schema.key_category(log.schema.focus_stream)
    assert category is not None  # read() has seen to it
    focus = log.focus.vocabulary_id[log.focus.entity_at(positions)].astype(np.int64)
    return _key(log.focus.rows[positions], focus, log.codec.sizes[category] - 1)


def _key(row: np.ndarray, focus: np.ndarray, n_names: int) -> np.ndarray:
    return row * (n_names + 1) + focus


def _check_split(summary: Path, log: EventLog) -> None:
    """The probabilities are those of ids, and the ids those of one training part."""
    if not summary.is_file():
        return
    stated = json.loads(summary.read_text("utf-8"))
    ends = tuple(stated.get(name) for name in ("train_end", "validation_end"))
    if ends != (log.train_end, log.validation_end):
        raise ValueError(
            f"{summary} is of a log whose parts end at rows {ends}, not {(log.train_end, log.validation_end)}; "
            "prepare the log again, with the default --train and --validation"
        )


def summarise_gap(log: EventLog, oracle_nll: np.ndarray, runs: Sequence[Scores]) -> dict[str, Any]:
    """How far the runs are above the oracle, in nats.

    Args:
        oracle_nll: (2, n, C) of the targets, MARGINAL and CHAIN.
        runs: on the same targets.

    Returns:
        ``categories`` by name: marginal and chain, each with the oracle's nll, the model's gap to it
        over the runs, and the standard error of the gap over events (of the runs' mean); ``joint``,
        ``mean_over_categories`` and ``sum_of_marginals`` alike; and ``where``: the gap by kind of event.
    """
    mean_nll = -np.stack([run.log_prob for run in runs]).mean(0, dtype=np.float64)  # (2, n, C)

    def gap(kind: int, columns: slice | int, scale: float = 1.0) -> dict[str, Any]:
        pick = (slice(None), columns) if isinstance(columns, slice) else (slice(None), slice(columns, columns + 1))
        floor = oracle_nll[kind][pick].sum(1) * scale
        of_runs = [-run.log_prob[kind][pick].sum(1, dtype=np.float64).mean() * scale for run in runs]
        difference = mean_nll[kind][pick].sum(1) * scale - floor
        return {
            "oracle": float(floor.mean()),
            "model": spread(of_runs),
            "gap": spread(np.array(of_runs) - floor.mean()),
            "gap_standard_error": float(difference.std() / np.sqrt(len(difference))),
        }

    whole, n_categories = slice(None), len(log.schema.categories)
    return {
        "joint": gap(CHAIN, whole),
        "sum_of_marginals": gap(MARGINAL, whole),
        "mean_over_categories": {
            "chain": gap(CHAIN, whole, 1 / n_categories),
            "marginal": gap(MARGINAL, whole, 1 / n_categories),
        },
        "categories": {
            category.name: {"marginal": gap(MARGINAL, c), "chain": gap(CHAIN, c)}
            for c, category in enumerate(log.schema.categories)
        },
        "where": _by_kind_of_event(log, runs[0].label, mean_nll[CHAIN] - oracle_nll[CHAIN]),
    }


def _by_kind_of_event(log: EventLog, label: np.ndarray, gap: np.ndarray) -> dict[str, Any]:
    """At which values of the schema's first enum the gap arises: there one kind of event is told from another.

    Args:
        label: (n, C) ids of the targets.
        gap: (n, C) nats above the oracle, along the chain.

    Returns:
        ``category``, and ``values`` by name: n, joint, and the gap of each category. Empty without an enum.
    """
    names = [category.name for category in log.schema.categories]
    column = next((c for c, category in enumerate(log.schema.categories) if category.kind == "enum"), None)
    if column is None:
        return {}
    values = {}
    for id_ in np.unique(label[:, column]):
        some = gap[label[:, column] == id_]
        mean = some.mean(0)
        by_category = dict(zip(names, mean.tolist(), strict=True))
        value = log.codec.names[column][id_] or "unknown"
        values[value] = {"n": len(some), "joint": float(mean.sum()), "categories": by_category}
    return {"category": names[column], "values": values}
