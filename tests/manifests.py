"""What kubectl renders from ``k8s/``, by folder, and what is looked for in it."""

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.settings import Settings

ROOT = Path(__file__).parents[1]
SERVING = ("overlays/cpu", "overlays/gpu")
TRAINING = ("overlays/training", "overlays/training-nodes")
CHECKS = ("smoke-test", "load-test")
RUNNING = (*SERVING, *TRAINING, *CHECKS, "files")
ALL = (*RUNNING, "namespace", "volume")
SERVICE = "http://eventmodel"
"""Where the checks ask."""

needs_kubectl = pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl, which renders kustomizations")

Document = dict[str, Any]


@cache
def rendered(folder: str, root: Path = ROOT) -> str:
    command = ["kubectl", "kustomize", str(root / "k8s" / folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def objects(folder: str, root: Path = ROOT) -> list[Document]:
    return list(yaml.safe_load_all(rendered(folder, root)))


def one(folder: str, kind: str) -> Document:
    (found,) = (document for document in objects(folder) if document["kind"] == kind)
    return found


def pods(folder: str, root: Path = ROOT) -> Iterator[Document]:
    """The pod specifications of all workloads."""
    for document in objects(folder, root):
        if document["kind"] in ("Deployment", "Job"):
            yield document["spec"]["template"]["spec"]
        if document["kind"] == "Pod":
            yield document["spec"]


def containers(folder: str, root: Path = ROOT) -> Iterator[Document]:
    for pod in pods(folder, root):
        yield from pod.get("initContainers", []) + pod["containers"]


def images(folders: Iterable[str], root: Path = ROOT) -> set[str]:
    return {container["image"] for folder in folders for container in containers(folder, root)}


def server_container(folder: str) -> Document:
    (container,) = one(folder, "Deployment")["spec"]["template"]["spec"]["containers"]
    return container


def server_pod(folder: str) -> Document:
    return one(folder, "Deployment")["spec"]["template"]["spec"]


def config_map(folder: str, name: str) -> dict[str, str]:
    """Of the ConfigMap whose name, without its hash, this is."""
    (found,) = (
        d for d in objects(folder) if d["kind"] == "ConfigMap" and d["metadata"]["name"].rsplit("-", 1)[0] == name
    )
    return found["data"]


def server_settings(folder: str) -> Settings:
    prefix = Settings.model_config["env_prefix"]
    values = config_map(folder, "eventmodel-settings")
    assert all(key.startswith(prefix) for key in values)
    fields = {key.removeprefix(prefix).lower(): value for key, value in values.items()}
    assert fields.keys() <= Settings.model_fields.keys()
    return Settings.model_validate(fields)
