"""Directories that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def write_directory(path: Path, replaces: str) -> Iterator[Path]:
    """Yield a new directory that takes the place of ``path`` when the block ends well.

    Everything is on the disk before the name changes, so a failure or a full disk leaves the old
    directory, and nothing ever leaves a mixture. (Killed between two renames, the old directory
    lies beside its place, as .NAME.old-PID.)

    Args:
        path: where the directory will be.
        replaces: a file that an earlier directory of this kind holds; anything else at
            ``path`` is somebody's own and stays.

    Raises:
        FileExistsError: ``path`` holds something else.
        OSError: the disk is full or the place is not writable; ``path`` is as it was.
    """
    path = Path(os.path.realpath(path))  # where a link leads to, so that the link stays
    draft = _new_draft(path, replaces)
    old = path.with_name(f".{path.name}.old-{os.getpid()}")
    try:
        yield draft
        for file in draft.rglob("*"):
            # some writers keep their files to themselves; who serves them may be another user
            file.chmod((0o777 if file.is_dir() else 0o666) & ~_umask())
            _sync(file)
        _sync(draft)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)  # of a process of the same number that was killed
            os.rename(path, old)
        os.rename(draft, path)
        _sync(path.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if old.exists() and not path.exists():
            os.rename(old, path)
        shutil.rmtree(old, ignore_errors=True)


def check_place(path: Path, replaces: str) -> None:
    """Raise now what ``write_directory`` would raise at its start: for programs that work long before they write."""
    shutil.rmtree(_new_draft(Path(os.path.realpath(path)), replaces))


def _new_draft(path: Path, replaces: str) -> Path:
    if path.exists() and not (path / replaces).is_file() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} exists and holds something else; name a new directory, or remove it")
    draft = path.with_name(f".{path.name}.writing-{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
    except OSError as error:  # which names the draft, or a parent that is a file
        raise OSError(f"{path} cannot be written ({error.strerror or error}); name another directory") from None
    return draft


def point(link: Path, target: Path) -> None:
    """Make ``link`` a symbolic link to ``target``, replacing an earlier one in a single step."""
    draft = link.with_name(f".{link.name}.link-{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(os.path.relpath(target, link.parent))
    os.replace(draft, link)
    _sync(link.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
