"""What the README says is what the code does."""

import json
import re
from dataclasses import fields
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prometheus_client.metrics import MetricWrapperBase
from running_server import started

from eventmodel.api import Predictor
from eventmodel.bundle import Bundle
from eventmodel.config import ModelConfig
from eventmodel.entities import LOOK_BACK
from eventmodel.request.reader import KEYS, read_request
from server import metrics
from server.settings import Settings
from training.config import TrainConfig
from training.evaluate import EvaluateConfig
from training.score import ScoreConfig
from training.scoring.table import FIRST_COLUMNS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def section(title: str) -> str:
    return README.split(f"### {title}\n")[1].split("\n#")[0]


def test_every_make_command_of_the_readme_is_a_target() -> None:
    commands = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    assert {"serve", "test"} <= commands
    for command in commands:
        assert re.search(rf"^{command}:", MAKEFILE, re.MULTILINE), command


def test_ci_runs_the_readme_s_test_command() -> None:
    assert "make test\n" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_every_program_of_the_readme_is_there() -> None:
    for module in set(re.findall(r"python -m ([a-z_]+\.[a-z_]+)", README)):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_every_server_setting_is_documented() -> None:
    listed = re.findall(r"^\| `--([a-z-]+)`", section("Server settings"), re.MULTILINE)
    assert listed == [name.replace("_", "-") for name in Settings.model_fields]


def test_every_metric_is_documented() -> None:
    own = [m for m in vars(metrics).values() if isinstance(m, MetricWrapperBase)]
    names = [f"{m._name}_total" if m._type == "counter" else m._name for m in own]
    assert sorted(re.findall(r"^\| `([a-z0-9_]+)`", section("Metrics"), re.MULTILINE)) == sorted(names)


@pytest.mark.parametrize(("title", "config"), [("Evaluation flags", EvaluateConfig), ("Scoring flags", ScoreConfig)])
def test_every_flag_of_a_program_is_documented_with_its_default(title: str, config: type) -> None:
    rows = re.findall(r"^\| `--([a-z-]+)` \| ([^|]*) \|", section(title), re.MULTILINE)
    assert [name.replace("-", "_") for name, _ in rows] == [field.name for field in fields(config)]
    for field in fields(config):
        if isinstance(field.default, str | int):
            assert dict(rows)[field.name.replace("_", "-")].strip() == str(field.default)


def test_every_key_of_a_request_is_in_the_readme_s_example() -> None:
    example = re.search(r"A request:\n\n```json\n(.*?)```", README, re.DOTALL)
    assert example is not None
    assert tuple(json.loads(example[1])) == tuple(key for key in KEYS if key != "records")


def test_the_readme_s_request_can_be_read(bundle: Bundle) -> None:
    example = re.search(r"A request:\n\n```json\n(.*?)```", README, re.DOTALL)
    assert example is not None
    body = json.loads(example[1])
    sites = body["allowed"].pop("LocationRecordId")
    assert sites == ["S07", "S08"]  # of a vocabulary that the tests' bundle does not have
    read_request(body, bundle)


def test_the_readme_s_three_lines_give_an_answer_of_the_shape_that_it_shows(
    bundle: Bundle, small_frame: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = re.search(r"## From Python\n\n```python\n(.*?)```", README, re.DOTALL)
    shown = re.search(r"It answers.*?```\n(.*?)```", README, re.DOTALL)
    assert code is not None
    assert shown is not None
    assert sum(1 for line in code[1].splitlines() if line) == 3
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "bundle").symlink_to(bundle.path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"records": small_frame}
    exec(code[1].replace("N945DL", "E03"), names)  # of the tests' bundle, whose log has other names
    expected = json.loads(re.sub(r",\s*\.\.\.", "", shown[1]))

    def shape(answer: Any) -> Any:
        """The answer with names and numbers left out, and one of the categories."""
        event = answer["events"][0]
        distribution = next(iter(event["categories"].values()))
        return set(answer), set(answer["model"]), set(event), set(distribution), set(distribution["top"][0])

    assert shape(names["answer"]) == shape(expected)


def test_the_readme_s_client_predicts(
    example_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = re.search(r"### A client in Python\n\n```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    with started(example_bundle.path, tmp_path / "server.log") as server:
        exec(code[1].replace("localhost:8000", f"127.0.0.1:{server.port}"), names)
    assert names["prediction"]["focus"] == names["request"]["focus"]
    assert capsys.readouterr().out == ""  # of the error


def test_how_far_context_entities_are_looked_for_is_documented() -> None:
    assert f"(training looks for them among its newest {LOOK_BACK} events)" in README


def test_every_call_of_the_readme_can_be_made(bundle: Bundle) -> None:
    calls = re.findall(
        r"^\| `([a-z_.]+)\(([a-z, ]+)\)` \|", README.split("## From Python\n")[1].split("\n## ")[0], re.M
    )
    assert len(calls) == 4
    for path, arguments in calls:
        module, _, name = path.removeprefix("predictor.").rpartition(".")
        call = getattr(import_module(module) if module else Predictor, name)
        assert set(arguments.split(", ")) <= set(signature(call).parameters), path


def test_the_documented_columns_of_scores_are_those_written() -> None:
    listed = re.findall(
        r"^\| `([a-z_A-Z]+)`(?:, `([a-z_A-Z]+)`)* \|", section("Columns of scored events"), re.MULTILINE
    )
    assert {name for names in listed for name in names if name} == {
        *FIRST_COLUMNS,
        "surprise_NAME",
        "probability_NAME",
    }


@pytest.mark.parametrize(("config", "prefix"), [(TrainConfig, ""), (ModelConfig, "model.")])
def test_every_training_flag_is_documented(config: type, prefix: str) -> None:
    listed = re.findall(r"^\| `--([a-z.-]+)`", section("Training flags"), re.MULTILINE)
    for field in fields(config):
        if field.name != "model":
            assert f"{prefix}{field.name.replace('_', '-')}" in listed


def test_documented_defaults_are_the_defaults() -> None:
    rows = re.findall(r"^\| `--([a-z.-]+)` \| ([^|]*) \|", section("Training flags"), re.MULTILINE)
    shown = dict(rows)
    for config, prefix in ((TrainConfig, ""), (ModelConfig, "model.")):
        for field in fields(config):
            name = f"{prefix}{field.name.replace('_', '-')}"
            if isinstance(field.default, str | int | float | bool):
                assert shown[name].strip() == str(field.default), name
