"""What the README says is what the code does."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from eventmodel.config import ModelConfig
from server import metrics
from server.settings import Settings
from training.config import TrainConfig
from training.evaluate import EvaluateConfig

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


def test_every_evaluation_flag_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `--([a-z-]+)` \| ([^|]*) \|", section("Evaluation flags"), re.MULTILINE)
    assert [name for name, _ in rows] == [field.name for field in fields(EvaluateConfig)]
    for field in fields(EvaluateConfig):
        if isinstance(field.default, str | int):
            assert dict(rows)[field.name].strip() == str(field.default)


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
