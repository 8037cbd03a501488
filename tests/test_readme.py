"""What the README says is what the code does."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from eventmodel.bundle import Bundle
from eventmodel.config import ModelConfig
from eventmodel.request.reader import KEYS, read_request
from server import metrics
from server.settings import Settings
from training.config import TrainConfig
from training.evaluate import EvaluateConfig
from training.score import ScoreConfig
from training.score_table import FIRST_COLUMNS

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
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module


def test_every_server_setting_is_documented() -> None:
    listed = re.findall(r"^\| `--([a-z-]+)`", section("Server settings"), re.MULTILINE)
    assert listed == [name.replace("_", "-") for name in Settings.model_fields]


def test_every_metric_is_documented() -> None:
    own = [m for m in vars(metrics).values() if isinstance(m, MetricWrapperBase)]
    names = [f"{m._name}_total" if m._type == "counter" else m._name for m in own]
    assert sorted(re.findall(r"^\| `([a-z_]+)`", section("Metrics"), re.MULTILINE)) == sorted(names)


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
    assert tuple(json.loads(example[1])) == KEYS


def test_the_readme_s_request_can_be_read(bundle: Bundle) -> None:
    example = re.search(r"A request:\n\n```json\n(.*?)```", README, re.DOTALL)
    assert example is not None
    body = json.loads(example[1])
    sites = body["allowed"].pop("LocationRecordId")
    assert sites == ["S07", "S08"]  # of a vocabulary that the tests' bundle does not have
    read_request(body, bundle)


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
