from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from benchmarks import large_log
from benchmarks.large_log import NAMES, LargeLogConfig, run_measured, write_population


@pytest.fixture
def config(tmp_path: Path) -> LargeLogConfig:
    return LargeLogConfig(tmp_path, populations=2, employees=12, sites=3, days=21, steps=2)


def test_populations_share_no_name_and_are_drawn_once(config: LargeLogConfig) -> None:
    paths = [write_population(config, number) for number in range(2)]
    first, second = (pl.read_csv(path, infer_schema=False) for path in paths)
    for name in NAMES:
        assert not set(first[name].drop_nulls()) & set(second[name].drop_nulls())
        assert first[name].drop_nulls().str.starts_with("P00-").all()
    assert first["EventDatetime"].is_sorted()
    written = paths[0].stat().st_mtime_ns
    assert write_population(config, 0).stat().st_mtime_ns == written


@pytest.mark.parametrize("other", [{"employees": 13}, {"sites": 4}, {"days": 22}])
def test_a_population_of_another_size_is_drawn_anew(config: LargeLogConfig, other: dict[str, int]) -> None:
    first = pl.read_csv(write_population(config, 0), infer_schema=False)
    assert not pl.read_csv(write_population(replace(config, **other), 0), infer_schema=False).equals(first)


def test_the_memory_of_a_process_is_measured_while_it_runs(tmp_path: Path) -> None:
    program = "import time; room = bytearray(b'x') * (200 << 20); time.sleep(1)"
    found = run_measured(["python3", "-c", program], tmp_path / "output.txt")
    assert 200 << 20 < found.peak_own <= found.peak < 400 << 20
    assert found.seconds > 1


def test_a_program_that_fails_is_named_with_what_it_wrote(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"output\.txt"):
        run_measured(["python3", "-m", "no_such_module"], tmp_path / "output.txt")


@pytest.mark.slow
def test_the_whole_program_prints_what_each_step_takes(
    config: LargeLogConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        f"--{name}={getattr(config, name)}" for name in ("out", "populations", "employees", "sites", "days", "steps")
    ]
    monkeypatch.setattr("sys.argv", ["large_log", *flags])
    large_log.main()
    printed = capsys.readouterr().out
    assert printed.count("| prepare |") == printed.count("| train |") == 2
    assert "At 100,000,000 events" in printed
