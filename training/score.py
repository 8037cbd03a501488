"""How unusual was each event of a log?

python -m training.score --checkpoint RUN/best --data LOG --out scores.csv

Every event that has a predecessor of its focus is scored as the next one after it.
``training/scoring/table.py`` says what the columns are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
import tyro
from rich.console import Console

from eventmodel.checkpoint import load_checkpoint
from eventmodel.engine.backend import DeviceName
from eventmodel.event_log import EventLog, Part
from eventmodel.model import EventModel
from training.device import device_of
from training.errors import exit_on_user_error
from training.evaluation import choose
from training.log_of_checkpoint import check_fits
from training.progress import COUNT, bars
from training.sampling import Sampler
from training.scoring.detection import Detection, check_labels, detect, read_labels
from training.scoring.event_scores import score_events
from training.scoring.report import print_report
from training.scoring.table import to_frame, write_frames
from training.write_table import check_suffix

MOST = 10
"""Events that the terminal shows, at most."""
LEAST_UNUSUAL = 1.0
"""Standard deviations: events below it are as they were to be expected, and are not shown."""


@dataclass(frozen=True)
class ScoreConfig:
    """Write how unusual every event of a log was, and show the most unusual ones."""

    checkpoint: Path
    """Checkpoint of a run, as RUN/best."""
    data: Path
    """Prepared log that the checkpoint was trained on, or one prepared with --schema CHECKPOINT."""
    out: Path
    """File to write, .csv or .parquet; one that is there already is replaced."""
    part: Part = "test"
    """Part of the log. On the training part of the log that it has learned from, a model is less surprised."""
    labels: Path | None = None
    """A .csv or .parquet file with a column "row" of events that should stand out, as training.simulate
    writes: says how well surprise finds them, beside what counting finds."""
    device: DeviceName = "auto"
    """Where the model runs."""

    def __post_init__(self) -> None:
        check_suffix(self.out)
        if self.out.is_dir():
            raise ValueError(f"--out {self.out} is a directory; name a file")


@dataclass
class Summary:
    """What is kept of all events: a few numbers each, and the rows of the most unusual ones."""

    joint: np.ndarray
    """(n,) joint surprise, in the order of time."""
    is_seen: np.ndarray
    """(n, C) bool: which values training showed."""
    joint_of_seen: np.ndarray
    """(n,) the part of these in the joint surprise."""
    unusual: np.ndarray
    """(n,) unusualness of the most unusual category."""
    most: pl.DataFrame
    """The most unusual events, each once, in the columns of the table."""


def score_log(config: ScoreConfig, console: Console) -> tuple[Summary, Detection | None]:
    """Score a part of a log and write the table.

    Args:
        console: for progress.

    Returns:
        A summary; with ``config.labels``, how well the labelled events were found.

    Raises:
        ValueError: the checkpoint, the log or the labels cannot be read, or do not belong together.
        OSError: the file cannot be written.
    """
    checkpoint = load_checkpoint(config.checkpoint)
    log = EventLog.load(config.data)
    check_fits(checkpoint, config.checkpoint, log, config.data)
    labelled = None if config.labels is None else read_labels(config.labels, log)
    sampler = Sampler(log, checkpoint.model.config, *log.part(config.part))
    if len(sampler) == 0:
        raise ValueError(
            f"{config.data}: --part {config.part} holds no event with a predecessor of the same {log.schema.focus}; "
            "name another --part, or prepare a longer log"
        )
    positions = choose(sampler, len(sampler))
    if labelled is not None:  # said before the work, not after
        check_labels(log, positions, labelled)
    device = device_of(config.device)
    n, n_categories = len(positions), len(log.schema.categories)
    summary = Summary(np.empty(n), np.empty((n, n_categories), bool), np.empty(n), np.empty(n), pl.DataFrame())
    with bars(console, COUNT) as progress:
        task = progress.add_task("events", total=n)
        frames = _frames(checkpoint.model.to(device), sampler, positions, device, summary)
        write_frames(_counted(frames, lambda n: progress.advance(task, n)), config.out)
    if labelled is None:
        return summary, None
    with console.status("counting, to compare"):
        return summary, detect(log, positions, summary.is_seen, summary.joint_of_seen, summary.unusual, labelled)


def _frames(
    model: EventModel, sampler: Sampler, positions: np.ndarray, device: torch.device, summary: Summary
) -> Iterator[pl.DataFrame]:
    """The table batch by batch; fills the summary on the way."""
    done, held = 0, pl.DataFrame()
    for scores in score_events(model, sampler, positions, device):
        frame = to_frame(sampler.log, scores)
        here = slice(done, done + len(frame))
        summary.joint[here], summary.unusual[here] = frame["joint_surprise"], frame["unusual"]
        summary.is_seen[here] = scores.is_seen
        summary.joint_of_seen[here] = -np.where(scores.is_seen, scores.chain_log_prob, 0).sum(1)
        held = pl.concat([held, frame], how="diagonal")
        is_last = pl.col("row") == held["row"][-1]  # the rows of an event stand together: some may be yet to come
        summary.most = _most_unusual(summary.most, held.filter(~is_last))
        held = held.filter(is_last)
        done += len(frame)
        yield frame
    summary.most = _most_unusual(summary.most, held)


def _most_unusual(most: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """The most unusual of some events and these, each as unusual as to the one that expected it most."""
    events = rows.sort("unusual").unique("row", keep="first", maintain_order=True)
    # those that are not finite hold nothing that training showed
    events = events.filter(pl.col("unusual").is_finite() & (pl.col("unusual") >= LEAST_UNUSUAL))
    return pl.concat([most, events], how="diagonal").sort("unusual", descending=True).head(MOST)


def _counted(frames: Iterator[pl.DataFrame], advance: Callable[[int], None]) -> Iterator[pl.DataFrame]:
    for frame in frames:
        yield frame
        advance(len(frame))


def main() -> None:
    """Read the command line, score, print."""
    with exit_on_user_error():
        config = tyro.cli(ScoreConfig, prog="python -m training.score")
        summary, found = score_log(config, Console(stderr=True))
        print_report(summary.joint, summary.most, found, Console())
        Console(stderr=True).print(str(config.out), soft_wrap=True, highlight=False, markup=False)


if __name__ == "__main__":
    main()
