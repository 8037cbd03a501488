"""The Dockerfile: clean, and its own steps make a server that runs unprivileged on a read-only root."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from dockerfile import Instruction, assignments, context_files, parse
from image import Builder, Container
from running_server import ROOT, free_port, request, started, wait_for
from server_example import write_example

from eventmodel.bundle import Bundle
from server.probes import LIVE

ARGUMENTS, STAGES = parse((ROOT / "Dockerfile").read_text("utf-8"))
BY_NAME = {stage.name: stage for stage in STAGES}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
FINAL = ("server", "trainer", "loadtest")


def inherited(name: str) -> list[Instruction]:
    """The instructions of a stage and of those that it is from."""
    stage = BY_NAME[name]
    return [*(inherited(stage.parent) if stage.parent in BY_NAME else []), *stage.instructions]


def canonical(name: str) -> str:
    """A package's name as the index knows it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def last(name: str, instruction: str) -> str:
    return [i.value for i in inherited(name) if i.name == instruction][-1]


@pytest.mark.parametrize("file", ["Dockerfile", "k8s/bundle.Dockerfile"])
def test_hadolint_finds_nothing(file: str) -> None:
    command = [str(Path(sys.executable).with_name("hadolint")), str(ROOT / file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_image_is_pinned_to_a_patch_release_of_a_python_that_the_project_takes() -> None:
    version = ARGUMENTS["PYTHON"].split("-")[0]
    assert len(version.split(".")) == 3
    assert tuple(map(int, version.split("."))) >= tuple(
        map(int, PROJECT["requires-python"].removeprefix(">=").split("."))
    )
    assert {stage.parent for stage in STAGES} - BY_NAME.keys() == {"python:${PYTHON}"}


def test_every_package_is_pinned_by_the_constraints() -> None:
    installs = [i.value for stage in STAGES for i in stage.instructions if "pip install" in i.value]
    assert len(installs) == 4
    assert all("--constraint constraints.txt" in install for install in installs)


def test_another_index_of_torch_is_asked_beside_pip_s_own_which_has_all_that_torch_needs() -> None:
    (install,) = (i.value for i in BY_NAME["build"].instructions if "TORCH_INDEX" in i.value and i.name == "RUN")
    assert '${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"}' in install


def test_a_gpu_is_the_default_and_both_accelerators_are_extras() -> None:
    assert ARGUMENTS["ACCELERATOR"] == "gpu"
    for stage in STAGES:  # an argument is seen only by the stages that ask for it
        if any("${ACCELERATOR}" in i.value for i in stage.instructions):
            assert Instruction("ARG", "ACCELERATOR") in stage.instructions
    assert {"gpu", "cpu"} <= PROJECT["optional-dependencies"].keys()


@pytest.mark.parametrize("name", FINAL)
def test_a_final_stage_installs_nothing_and_runs_unprivileged(name: str) -> None:
    assert not any("install" in i.value for i in inherited(name) if i.name == "RUN")
    assert int(last(name, "USER").split(":")[0]) > 0
    assert isinstance(json.loads(last(name, "ENTRYPOINT")), list)  # no shell between it and the signals
    assert json.loads(last(name, "VOLUME")) == ["/tmp"]


def test_the_server_is_what_is_built_where_no_target_is_named() -> None:
    assert STAGES[-1].name == "server"


def test_the_labels_tell_what_the_project_file_does() -> None:
    labels = assignments(last("server", "LABEL"))
    prefix = "org.opencontainers.image"
    found = {key.removeprefix(f"{prefix}."): value for key, value in labels.items()}
    assert (found["version"], found["description"], found["licenses"]) == (
        PROJECT["version"],
        PROJECT["description"],
        PROJECT["license"],
    )


def test_the_context_is_what_is_installed_and_no_more() -> None:
    top = {file.parts[0] for file in context_files()}
    packages = {"eventmodel", "training", "export", "server"}
    assert top == packages | {"benchmarks", "constraints.txt", "pyproject.toml", "README.md", "LICENSE"}
    assert {str(file.parent) for file in context_files() if file.parts[0] == "benchmarks"} == {
        "benchmarks",
        "benchmarks/loadtest",
    }


def test_the_load_test_s_image_has_what_its_entry_point_names_and_no_torch() -> None:
    _, *_, locustfile = json.loads(last("loadtest", "ENTRYPOINT"))
    (source, target) = last("loadtest", "COPY").split()
    assert ROOT / source / Path(locustfile).relative_to(target) in {ROOT / file for file in context_files()}
    assert Path(target).parent == Path(assignments(last("loadtest", "ENV"))["PYTHONPATH"])
    assert not any("torch" in i.value.split() for i in inherited("build-loadtest"))


# --- the images, built and run --------------------------------------------------------------


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """One that has the base image."""
    if missing := [program for program in ("buildah", "debootstrap", "unshare") if shutil.which(program) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0:
        pytest.skip("needs root, and the right to mount")
    with Builder(tmp_path_factory.mktemp("images")) as made:
        yield made


@pytest.fixture(scope="module")
def container(builder: Builder) -> Iterator[Container]:
    """The image of a server without a GPU."""
    with builder.built("server", ACCELERATOR="cpu") as made:
        yield made


def write_model(path: Path) -> Path:
    """A bundle of an untrained model, for the backend torch."""
    from safetensors.torch import save_file

    from eventmodel.model import EventModel

    bundle = write_example(path)
    save_file(EventModel(bundle.config, bundle.codec).state_dict(), path / "weights.safetensors")
    write_example(path)
    for file in (path, *path.iterdir()):  # safetensors writes files that only their owner may read
        file.chmod(0o755)
    return path


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_image_of_the_server_has_no_compiler(container: Container) -> None:
    assert (container.root / "opt/eventmodel/bin/python").is_symlink()
    places = [container.root / path for path in ("bin", "usr/bin", "usr/local/bin", "opt/eventmodel/bin")]
    found = [file.name for place in places for file in place.iterdir()]
    assert not {"cc", "gcc", "c++", "g++", "clang", "make", "ld"} & {name.split("-")[0] for name in found}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_is_in_the_image_of_the_server_is_what_the_constraints_pin(container: Container) -> None:
    lines = re.findall(r"^([^#=\s]+)==(\S+)", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    pinned = {(canonical(name), version) for name, version in lines}
    (packages,) = (container.root / "opt/eventmodel/lib").glob("python3*/site-packages")
    there = (found.name.removesuffix(".dist-info").split("-") for found in packages.glob("*.dist-info"))
    found = {(canonical(name), version.split("+")[0]) for name, version in there}
    assert {(name, version) for name, version in found - pinned if name not in ("pip", "event-predictor")} == set()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_image_of_the_trainer_trains_unprivileged_on_a_read_only_root(
    builder: Builder, log_directory: Path, tmp_path: Path
) -> None:
    short = ("--steps", "2", "--eval-every", "2", "--eval-samples", "20", "--test-samples", "20", "--device", "cpu")
    log = Path(shutil.copytree(log_directory, tmp_path / "log"))
    for file in (log, *log.rglob("*")):
        file.chmod(0o755)
    with builder.built("trainer", ACCELERATOR="cpu") as made:
        training = ("training.run", "--data", "/log", "--out", "/tmp/run", "--preset", "quickstart", *short)
        command = made.command(*made.entrypoint, *training, mounts={"/log": log})
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "top-1" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_image_serves_as_process_1_unprivileged_on_a_read_only_root_and_drains(
    container: Container, tmp_path: Path
) -> None:
    bundle, port = write_model(tmp_path / "bundle"), free_port()
    container.environment |= {"EVENTMODEL_PORT": str(port), "EVENTMODEL_DEVICE": "cpu", "EVENTMODEL_BACKEND": "torch"}
    assert container.environment["EVENTMODEL_BUNDLE"] == "/bundle"
    mounts = {"/bundle": bundle}
    (tmp_path / "log").touch()
    with (tmp_path / "log").open("wb") as log:
        outside = subprocess.Popen(container.command(*container.entrypoint, mounts=mounts), stdout=log, stderr=log)
    try:
        wait_for(lambda: "startup complete" in (tmp_path / "log").read_text() or outside.poll() is not None, 120)
        assert outside.poll() is None, (tmp_path / "log").read_text()
        children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text().split()
        (first,) = (int(child) for child in children)
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{first}/status").read_text().splitlines() if ":\t" in line
        )
        assert status["NSpid"].split()[-1] == "1"
        assert set(status["Uid"].split()) == {"10001"}
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        root = [line.split() for line in Path(f"/proc/{first}/mountinfo").read_text().splitlines()]
        assert [fields[5].split(",")[0] for fields in root if fields[4] == "/"] == ["ro"]

        url = f"http://127.0.0.1:{port}"
        answer = httpx.post(f"{url}/predict", json=request(), timeout=60)
        assert answer.status_code == 200, answer.text
        assert httpx.get(f"{url}{LIVE}").status_code == 200
        assert LIVE in " ".join(container.healthcheck)
        assert health(container) == 0

        os.kill(first, signal.SIGTERM)
        assert outside.wait(30) == 0
        assert health(container) != 0
    finally:
        outside.kill()
        outside.wait()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_load_test_s_image_asks_and_loads_a_server_unprivileged_on_a_read_only_root(
    builder: Builder, example_bundle: Bundle, tmp_path: Path
) -> None:
    flags = ("--rates", "10", "--step-s", "1", "--at-least", "10", "--only-summary")
    with builder.built("loadtest") as made, started(example_bundle.path, tmp_path / "server.log") as server:
        url = f"http://127.0.0.1:{server.port}"
        smoke = made.command("python", "-m", "server.smoke", "--url", url, "--requests", "1")
        asked = subprocess.run(smoke, capture_output=True, text=True, check=False, timeout=120)
        assert (asked.returncode, asked.stderr) == (0, "")
        command = made.command(*made.entrypoint, "--host", url, *flags)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert server.metric('eventmodel_requests_total{status="200"}') == 11
    assert done.returncode == 0, done.stderr
    assert '"sustained_per_second": 10.0' in done.stdout


def health(container: Container) -> int:
    """What HEALTHCHECK's command ends with, run in the container's root."""
    command = container.command(*container.healthcheck)
    return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode
