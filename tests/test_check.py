"""A bundle is verified where it lies: its files, its artefacts and a prediction."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from eventmodel.bundle import Bundle
from export.check import CheckConfig, CheckError, Finding, check

ROOT = Path(__file__).parents[1]


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle that may be spoilt."""
    return Path(shutil.copytree(bundle.path, tmp_path / "copy"))


def findings(path: Path, *backends: Any) -> list[Finding]:
    return list(check(CheckConfig(path, backends)))


def change_header(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    header = json.loads((path / "bundle.json").read_text("utf-8"))
    change(header)
    (path / "bundle.json").write_text(json.dumps(header), "utf-8")


def accept(path: Path, name: str) -> None:
    """Give a file that was changed the hash that it should have."""
    new = sha256((path / name).read_bytes()).hexdigest()
    change_header(path, lambda header: header["files"].update({name: new}))


def scale_weights(path: Path, factor: float) -> None:
    weights = load_file(path / "weights.safetensors")
    scaled = {name: t * factor if t.is_floating_point() else t for name, t in weights.items()}
    save_file(scaled, path / "weights.safetensors")
    accept(path, "weights.safetensors")


def test_files_artefacts_and_a_prediction_of_every_backend_are_looked_at(bundle: Bundle) -> None:
    found = findings(bundle.path)
    assert [(f.subject, f.backend) for f in found] == [
        ("files", ""),
        ("artefacts", "torchscript"),
        ("artefacts", "onnx"),
        ("prediction", "torch"),
        ("prediction", "torchscript"),
        ("prediction", "onnx"),
    ]
    assert all(f.is_checked for f in found)


def test_only_the_backends_that_are_named_are_looked_at(bundle: Bundle) -> None:
    assert {f.backend for f in findings(bundle.path, "onnx")} == {"", "onnx"}


@pytest.mark.parametrize("name", ["weights.safetensors", "decode.onnx", "chain.ts", "example.json"])
def test_a_file_that_was_changed_is_named(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(CheckError, match=f"{name} is not the file that was exported"):
        findings(copy)


def test_a_file_that_is_missing_is_named(copy: Path) -> None:
    (copy / "decode.onnx").unlink()
    with pytest.raises(CheckError, match=r"lacks decode\.onnx"):
        findings(copy)


def test_a_directory_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckError, match="is not a bundle"):
        findings(tmp_path)


@pytest.mark.parametrize(("form", "suffix"), [("onnx", "onnx"), ("torchscript", "ts")])
def test_artefacts_of_other_weights_are_found_out(copy: Path, form: str, suffix: str) -> None:
    scale_weights(copy, 1.1)
    with pytest.raises(CheckError, match=rf"^{form}: encode_Actor\.{suffix}: .* differs from the eager model"):
        findings(copy, form)


def test_a_prediction_that_differs_between_backends_is_found_out(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.parity.bundle_difference", lambda *_: 0.0)  # what it looks at is not all
    scale_weights(copy, 1.1)
    with pytest.raises(CheckError, match=r"^onnx: the answer to example\.json differs from that of torch"):
        findings(copy, "torch", "onnx")


def test_a_model_that_gives_no_number_is_found_out(copy: Path) -> None:
    scale_weights(copy, float("nan"))
    with pytest.raises(CheckError, match=r"^torch: the model gave a probability that is not a number"):
        findings(copy, "torch")


def test_an_artefact_that_the_library_cannot_read_is_one_line(copy: Path) -> None:
    (copy / "decode.onnx").write_bytes(b"no graph")
    accept(copy, "decode.onnx")
    with pytest.raises(CheckError, match=r"^onnx: ") as caught:
        findings(copy)
    assert "\n" not in str(caught.value)


def test_an_example_that_cannot_be_answered_is_found_out(copy: Path) -> None:
    (copy / "example.json").write_text('{"streams": {}}', "utf-8")
    accept(copy, "example.json")
    with pytest.raises(CheckError, match=r"^example\.json: streams\.Actor: "):
        findings(copy, "torch")


def test_a_backend_that_the_bundle_does_not_hold_is_refused(copy: Path) -> None:
    change_header(copy, lambda header: header["parity"].pop("onnx"))
    with pytest.raises(CheckError, match=r"^onnx: the bundle holds torch, torchscript"):
        findings(copy, "onnx")


WITHOUT = """
import runpy, sys
from importlib.machinery import PathFinder

class Rest(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in {hidden!r} else super().find_spec(name, path, target)

sys.meta_path = [Rest if finder is PathFinder else finder for finder in sys.meta_path]
sys.argv = ["check", {bundle!r}, *{arguments!r}]
runpy.run_module("export.check", run_name="__main__")
"""


def run(bundle: Path, *arguments: str, hidden: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """The program, on a machine that lacks some libraries."""
    code = WITHOUT.format(hidden=hidden, bundle=str(bundle), arguments=arguments)
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "COLUMNS": "120"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


def test_the_verdict_of_a_sound_bundle_is_one_line_and_no_fault(bundle: Bundle) -> None:
    found = run(bundle.path)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.splitlines()[-1] == f"{bundle.path} is sound"


def test_the_reason_of_a_spoilt_bundle_is_one_line_and_a_fault(copy: Path) -> None:
    (copy / "decode.onnx").write_bytes(b"")
    found = run(copy)
    assert found.returncode == 1
    assert found.stderr.startswith("error: ")
    assert len(found.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("library", "left_out"),
    [
        ("torch", "artefacts of onnx, artefacts of torchscript, prediction of torch, prediction of torchscript"),
        ("onnxruntime", "artefacts of onnx, prediction of onnx"),
    ],
)
def test_a_machine_without_a_library_checks_the_rest_and_says_what_it_left_out(
    bundle: Bundle, library: str, left_out: str
) -> None:
    found = run(bundle.path, hidden=(library,))
    assert (found.returncode, found.stderr) == (0, "")
    verdict = f"{bundle.path} is sound as far as was checked; not checked: {left_out}"
    assert found.stdout.splitlines()[-1] == verdict


def test_a_backend_that_is_named_is_not_left_out(bundle: Bundle) -> None:
    found = run(bundle.path, "--backend", "onnx", hidden=("onnxruntime",))
    assert (found.returncode, found.stderr) == (1, "error: onnx: onnxruntime is not installed\n")


def test_a_machine_that_can_run_no_backend_vouches_for_nothing(bundle: Bundle) -> None:
    found = run(bundle.path, hidden=("torch", "onnxruntime"))
    assert found.returncode == 1
    assert "nothing here can run the model" in found.stderr
