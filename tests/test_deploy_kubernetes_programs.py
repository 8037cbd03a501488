"""What the pods run, run here."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dockerfile import parse
from manifests import ROOT, SERVICE, TRAINING, Document, config_map, needs_kubectl, one, pods, server_pod
from running_server import ENVIRONMENT, started
from torch.distributed.run import get_args_parser
from trainer_script import becomes

from eventmodel.bundle import Bundle
from training.run import parse_config

_, STAGES = parse((ROOT / "Dockerfile").read_text("utf-8"))

pytestmark = needs_kubectl


@pytest.mark.parametrize("is_expected", [True, False])
def test_the_init_container_delivers_the_bundle_that_was_named_and_no_other(
    is_expected: bool, example_bundle: Bundle, tmp_path: Path
) -> None:
    bundle, target = example_bundle.path, tmp_path / "target"
    target.mkdir()
    (container,) = server_pod("overlays/cpu")["initContainers"]
    script = container["command"][2].replace("/bundle\n", f"{bundle}\n").replace("/target/", f"{target}/")
    assert [str(bundle) in script, str(target) in script] == [True, True]
    digest = hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest() if is_expected else "0" * 64
    assert config_map("overlays/cpu", "eventmodel-bundle").keys() == {"BUNDLE_SHA256"}
    done = subprocess.run(
        [*container["command"][:2], script],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "BUNDLE_SHA256": digest},
    )
    assert (done.returncode == 0) == is_expected, done.stderr
    assert sorted(f.name for f in target.iterdir()) == (sorted(f.name for f in bundle.iterdir()) if is_expected else [])


def trainer(folder: str, work: Path) -> list[str]:
    """What the Job's container becomes where ``work`` is mounted."""
    (container,) = next(pods(folder))["containers"]
    environment = {variable["name"]: variable.get("value", "0") for variable in container.get("env", [])}
    return becomes([*container["command"], *container["args"]], work, **environment)


@pytest.mark.parametrize("folder", TRAINING)
def test_a_training_that_was_evicted_goes_on_from_its_last_checkpoint(folder: str, tmp_path: Path) -> None:
    first = trainer(folder, tmp_path / "work")
    flags = first[first.index("training.run") + 1 :]
    (parse_config(flags).out / "last").mkdir(parents=True)
    assert trainer(folder, tmp_path / "work") == [*first, "--resume"]


def test_torchrun_takes_its_flags_and_gives_its_worker_most_of_the_pod_s_grace_period(tmp_path: Path) -> None:
    folder = "overlays/training-nodes"
    program, *arguments = trainer(folder, tmp_path / "work")
    assert program == "torchrun"
    flags = get_args_parser().parse_args(arguments)
    assert (flags.module, flags.training_script) == (True, "training.run")
    grace = next(pods(folder))["terminationGracePeriodSeconds"]
    assert 0.8 * grace < flags.shutdown_timeout < grace


def test_the_image_s_torch_knows_a_shutdown_timeout() -> None:
    (version,) = re.findall(r"^torch==(\d+)\.(\d+)", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    assert tuple(map(int, version)) >= (2, 12)  # pytorch/pytorch#172596; the project itself works with older ones


def job_container(folder: str) -> Document:
    (container,) = one(folder, "Job")["spec"]["template"]["spec"]["containers"]
    return container


def test_the_smoke_test_asks_the_service_with_what_the_load_test_s_image_has(
    example_bundle: Bundle, tmp_path: Path
) -> None:
    container = job_container("smoke-test")
    assert container["args"] == ["--url", SERVICE]
    assert container["image"] == job_container("load-test")["image"]
    (stage,) = (stage for stage in STAGES if stage.name == "build-loadtest")
    assert any('".[loadtest,client]"' in i.value for i in stage.instructions)
    with started(example_bundle.path, tmp_path / "server.log") as running:
        command = [sys.executable, *container["command"][1:], "--url", f"http://127.0.0.1:{running.port}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_load_test_asks_the_service_at_rates_that_the_locustfile_takes(
    example_bundle: Bundle, tmp_path: Path
) -> None:
    """What the Job runs, against another address and for a shorter time."""
    container = job_container("load-test")
    arguments = container["args"]
    assert "command" not in container  # the image's entry point
    (stage,) = (stage for stage in STAGES if stage.name == "loadtest")
    (entry,) = (i.value for i in stage.instructions if i.name == "ENTRYPOINT")
    _, *fixed, locustfile = json.loads(entry)
    local = ROOT / Path(locustfile).relative_to("/opt/loadtest")
    host, seconds = arguments.index("--host") + 1, arguments.index("--step-s") + 1
    assert arguments[host] == SERVICE
    with started(example_bundle.path, tmp_path / "server.log") as running:
        arguments = [*arguments]
        arguments[host], arguments[seconds] = f"http://127.0.0.1:{running.port}", "1"
        command = [sys.executable, "-m", "locust", *fixed, str(local), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert '"sustained_per_second": 40.0' in done.stdout
