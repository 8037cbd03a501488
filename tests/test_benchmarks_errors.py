"""A fault of the input of a benchmark is one line that names it, and exit code 2."""

import sys
from importlib import import_module
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("program", "arguments", "expected"),
    [
        ("flights", ["--data", "nowhere", "--out", "out"], "nowhere is not a prepared event log"),
        ("flights", ["--data", "nowhere", "--out", "out", "--seeds"], "--seeds names no seed"),
        ("precision", ["--data", "nowhere", "--out", "out"], "nowhere is not a prepared event log"),
        ("precision", ["--data", "nowhere", "--out", "out", "--steps", "5"], "steps is 5; the least is 6"),
        ("ablations", ["--data", "nowhere", "--out", "out"], "nowhere is not a prepared event log"),
        ("process_logs", ["--log", "helpdesk.csv"], "helpdesk.csv cannot be read as CSV: empty CSV"),
        ("process_logs", ["--log", "helpdesk.csv", "--only", "5"], "--only is [5]; name some of the folds 0 to 4"),
        ("process_logs", ["--log", "other.csv"], "no schema"),
    ],
)
def test_a_fault_of_the_input_is_one_line_and_exit_code_2(
    program: str,
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("helpdesk.csv").touch()
    if program == "process_logs":
        arguments = [*arguments, "--folds", "folds.csv", "--published", "published.csv", "--out", "out"]
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    with pytest.raises(SystemExit) as stop:
        import_module(f"benchmarks.{program}").main()
    assert stop.value.code == 2
    assert expected in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not Path("out").exists()
