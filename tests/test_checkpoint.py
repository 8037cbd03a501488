"""Checkpoints: the same model comes back, and anything foreign, torn or newer is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from eventmodel.checkpoint import load_checkpoint, write_checkpoint
from eventmodel.directory import write_directory


@pytest.fixture
def copy(run_directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree((run_directory / "best").resolve(), tmp_path / "copy"))


def edit(path: Path, change: Callable[[dict], object]) -> None:  # type: ignore[type-arg]
    meta = json.loads((path / "meta.json").read_text())
    change(meta)
    (path / "meta.json").write_text(json.dumps(meta))


def test_what_is_written_is_read(run_directory: Path, tmp_path: Path) -> None:
    first = load_checkpoint(run_directory / "best")
    with write_directory(tmp_path / "again", replaces="meta.json") as draft:
        write_checkpoint(draft, first)
    second = load_checkpoint(tmp_path / "again")
    assert (second.step, second.metrics, second.training) == (first.step, first.metrics, first.training)
    assert second.codec.schema == first.codec.schema
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name])


def test_a_checkpoint_holds_no_pickle(run_directory: Path) -> None:
    for file in (run_directory / "last").iterdir():
        assert file.suffix in (".json", ".safetensors"), file


def test_a_run_that_was_never_measured_has_no_best_and_says_what_to_take(tmp_path: Path) -> None:
    (tmp_path / "last").mkdir()
    with pytest.raises(ValueError, match=r"before it was measured for the first time; .* or take .*last"):
        load_checkpoint(tmp_path / "best")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: (path / "meta.json").unlink(), "is not a checkpoint"),
        (lambda path: (path / "meta.json").write_text("{"), "is not a checkpoint"),
        (lambda path: (path / "meta.json").write_text("[]"), "is not a checkpoint"),
        (lambda path: edit(path, lambda meta: meta.update(format="else")), "is not a checkpoint"),
        (lambda path: edit(path, lambda meta: meta.update(format_version=99)), "of format 99"),
        (lambda path: (path / "weights.safetensors").unlink(), "is damaged"),
        (lambda path: (path / "weights.safetensors").write_bytes(b"torn"), "is damaged"),
        (lambda path: edit(path, lambda meta: meta["model"].update(d_model=24)), "is damaged"),
        (lambda path: edit(path, lambda meta: meta["model"].update(depth=1)), "unknown {'depth'}"),
        (lambda path: edit(path, lambda meta: meta["schema"].update(focus="Nobody")), "no valid schema"),
        (lambda path: edit(path, lambda meta: meta.pop("vocabularies")), "is damaged"),
    ],
)
def test_what_is_no_checkpoint_is_refused_with_the_reason(
    copy: Path, change: Callable[[Path], object], message: str
) -> None:
    change(copy)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(copy)
