"""``compose.yaml``: what it mounts is there, and what its parts say of each other holds."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile import parse
from trainer_script import becomes

from server.settings import Settings
from training.config import TrainConfig
from training.run import parse_config

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OWN = ("trainer", "tensorboard", "server")


def compose() -> list[str]:
    """The command of Docker Compose, as a plugin or alone; empty where there is none."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            version = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False)
            if version.returncode == 0 and not version.stdout.startswith("1."):  # version 1 is another program
                return command
    return []


def mounts(service: str) -> dict[str, str]:
    """Source by path in the container."""
    return {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES[service]["volumes"]}


@pytest.mark.skipif(not compose(), reason="needs Docker Compose, no engine")
def test_docker_compose_reads_it() -> None:
    command = [*compose(), "--profile", "train", "config", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_service_runs_on_a_read_only_root_without_privileges() -> None:
    for service in SERVICES.values():
        assert service["read_only"] is True
        assert service["tmpfs"] == ["/tmp"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_every_port_is_open_to_this_machine_only() -> None:
    assert all(p.startswith("127.0.0.1:") for service in SERVICES.values() for p in service.get("ports", []))


def test_every_image_is_pinned() -> None:
    for service in SERVICES.values():
        tag = service["image"].split(":")[1]
        assert tag.lstrip("v")[0].isdigit()


def test_our_images_are_targets_of_the_dockerfile() -> None:
    _, stages = parse((ROOT / "Dockerfile").read_text("utf-8"))
    assert {SERVICES[name]["build"]["target"] for name in OWN} <= {stage.name for stage in stages}


def test_what_is_mounted_is_there_or_is_made_by_make_serve() -> None:
    for service in SERVICES:
        for source in mounts(service).values():
            is_made = source.split("/")[1:2] == ["work"]
            assert is_made or source in COMPOSE["volumes"] or (ROOT / source).exists(), source


def test_the_trainer_has_a_gpu() -> None:
    assert SERVICES["trainer"]["runtime"] == "nvidia"
    (device,) = SERVICES["trainer"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def trainer(work: Path) -> TrainConfig:
    """What the trainer is started with where ``work`` is mounted."""
    (script,) = SERVICES["trainer"]["command"]
    command = [*SERVICES["trainer"]["entrypoint"], script.replace("$$", "$")]  # compose's own escape
    python, minus_m, module, *flags = becomes(command, work)
    assert (python, minus_m, module) == ("python", "-m", "training.run")
    return parse_config(flags)


def test_the_trainer_writes_no_run_that_make_serve_wrote(tmp_path: Path) -> None:
    (made,) = re.findall(r"training.run .* --out \$\(WORK\)/(\S+)", (ROOT / "Makefile").read_text("utf-8"))
    assert trainer(tmp_path / "work").out not in (tmp_path / "work" / made, tmp_path / "work")


def test_a_trainer_that_was_stopped_goes_on_when_it_is_brought_up_again(tmp_path: Path) -> None:
    chosen = trainer(tmp_path / "work")
    assert chosen.resume is False
    (chosen.out / "last").mkdir(parents=True)
    assert trainer(tmp_path / "work") == replace(chosen, resume=True)


def test_tensorboard_reads_the_run_that_the_trainer_writes(tmp_path: Path) -> None:
    logs = SERVICES["tensorboard"]["command"]
    run = trainer(tmp_path / "work").out.relative_to(tmp_path)
    assert logs[logs.index("--logdir") + 1] == f"/{run}/tensorboard"
    assert mounts("trainer")["/work"] == mounts("tensorboard")["/work"]


def test_the_server_s_environment_is_settings_and_its_grace_period_covers_the_drain() -> None:
    service = SERVICES["server"]
    prefix = Settings.model_config["env_prefix"]
    fields = {key.removeprefix(prefix).lower(): value for key, value in service["environment"].items()}
    assert fields.keys() <= Settings.model_fields.keys()
    chosen = Settings.model_validate({"bundle": "/bundle"} | fields)
    assert "/bundle" in mounts("server")
    assert float(service["stop_grace_period"].rstrip("s")) > chosen.shutdown_delay_s + chosen.timeout_s + 10


def test_prometheus_finds_its_rules_and_the_server() -> None:
    config = yaml.safe_load((ROOT / mounts("prometheus")["/etc/prometheus/prometheus.yml"]).read_text("utf-8"))
    assert set(config["rule_files"]) <= mounts("prometheus").keys()
    (target,) = config["scrape_configs"][0]["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert (host in SERVICES, int(port)) == (True, Settings(bundle=Path("b")).port)


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    provisioning = ROOT / mounts("grafana")["/etc/grafana/provisioning"]
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text("utf-8"))["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "eventmodel.yaml").read_text("utf-8"))["providers"]
    folder = provider["options"]["path"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / mounts("grafana")[folder] / Path(home).relative_to(folder)).is_file()
