"""Whether a log is one that a checkpoint can be measured on."""

from pathlib import Path

from eventmodel.checkpoint import Checkpoint
from eventmodel.event_log import EventLog


def fits(checkpoint: Checkpoint, log: EventLog) -> bool:
    """Whether the same ids mean the same to both."""
    return checkpoint.codec.schema == log.schema and checkpoint.codec.vocabularies == log.codec.vocabularies


def check_fits(checkpoint: Checkpoint, path: Path, log: EventLog, data: Path) -> None:
    """
    Args:
        path, data: where the checkpoint and the log lie.

    Raises:
        ValueError: it does not; the message says what to do.
    """
    if not fits(checkpoint, log):
        raise ValueError(
            f"{path} knows other names than {data}, or has another schema; name the log that it was trained on with "
            f"--data, or prepare a newer one for it: training.prepare --schema {path}"
        )
