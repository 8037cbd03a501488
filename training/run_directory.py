"""Where a run's checkpoints lie: OUT/best and OUT/last, links into OUT/checkpoints, and periodic ones."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from safetensors import SafetensorError

from eventmodel.checkpoint import FORMAT, Checkpoint, write_checkpoint
from eventmodel.directory import point, write_directory

console = Console(stderr=True)


class RunDirectory:
    """Writes checkpoints so that a failure, or a crash at any moment, leaves the one before."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(
        self,
        link: str,
        checkpoint: Checkpoint,
        write_more: Callable[[Path], None] = lambda draft: None,
        *,
        is_final: bool,
    ) -> bool:
        """Write a checkpoint and point OUT/link to it. Where that fails, the old one stays.

        Args:
            link: ``best``, ``last``, or ``step-N``, which is kept in OUT/checkpoints and has no link.
            write_more: adds files to the checkpoint's directory.
            is_final: no other write follows that would make up for a failure: it is raised. In the
                middle of a run it is reported, and the run goes on.

        Returns:
            Whether it was written.

        Raises:
            OSError: a final one was not; the message says what to do.
        """
        checkpoints = self.path / "checkpoints"
        is_periodic = link.startswith("step-")
        directory = checkpoints / link if is_periodic else _new_directory(checkpoints, f"{link}-{checkpoint.step:07d}")
        try:
            with write_directory(directory, replaces=FORMAT.file) as draft:
                write_checkpoint(draft, checkpoint)
                write_more(draft)
            if not is_periodic:
                point(self.path / link, directory)
                for other in checkpoints.glob(f"{link}-*"):
                    if other != directory:
                        shutil.rmtree(other, ignore_errors=True)
            return True
        except (OSError, SafetensorError) as error:  # safetensors has an error of its own for a full disk
            failure = f"checkpoint {directory} was not written: {error}"
        if is_final:
            is_begun = (self.path / "last").exists()
            then = "go on with the same command and --resume" if is_begun else "train again: no step is saved"
            raise OSError(f"{failure}. Free some space, then {then}")
        message = escape(f"{failure}; the previous one is intact, and the run goes on")
        console.print(f"[red]{message}[/red]", soft_wrap=True)
        return False


def _new_directory(parent: Path, name: str) -> Path:
    """A directory that is not there yet: a link's target is never written to."""
    names = itertools.chain([name], (f"{name}.{number}" for number in itertools.count(2)))
    return next(path for path in map(parent.joinpath, names) if not path.exists())
