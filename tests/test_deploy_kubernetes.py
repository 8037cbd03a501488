"""What kubectl renders from ``k8s/``: valid by the schemas, and right where schemas cannot look."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from dockerfile import parse
from running_server import ENVIRONMENT, started
from server_example import write_example
from torch.distributed.run import get_args_parser
from trainer_script import becomes

from server.app import METRICS
from server.probes import LIVE, READY
from server.settings import Settings
from training.run import parse_config

ROOT = Path(__file__).parents[1]
SERVING = ("overlays/cpu", "overlays/gpu")
TRAINING = ("overlays/training", "overlays/training-nodes")
CHECKS = ("smoke-test", "load-test")
RUNNING = (*SERVING, *TRAINING, *CHECKS, "files")
ALL = (*RUNNING, "namespace", "volume")
_, STAGES = parse((ROOT / "Dockerfile").read_text("utf-8"))
SERVICE = "http://eventmodel"

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl, which renders kustomizations")

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


def server(folder: str) -> Document:
    (container,) = one(folder, "Deployment")["spec"]["template"]["spec"]["containers"]
    return container


def config(folder: str, name: str) -> dict[str, str]:
    """Of the ConfigMap whose name, without its hash, this is."""
    (found,) = (
        d for d in objects(folder) if d["kind"] == "ConfigMap" and d["metadata"]["name"].rsplit("-", 1)[0] == name
    )
    return found["data"]


def settings(folder: str) -> Settings:
    prefix = Settings.model_config["env_prefix"]
    values = config(folder, "eventmodel-settings")
    assert all(key.startswith(prefix) for key in values)
    fields = {key.removeprefix(prefix).lower(): value for key, value in values.items()}
    assert fields.keys() <= Settings.model_fields.keys()
    return Settings.model_validate(fields)


# --- by the schemas ------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ALL)
def test_every_object_fits_its_schema_strictly(folder: str, tmp_path: Path) -> None:
    (tmp_path / "rendered.yaml").write_text(rendered(folder), "utf-8")
    command = [Path(sys.executable).with_name("kubernetes-validate"), "--strict", tmp_path / "rendered.yaml"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_operator_s_object_fits_the_operator_s_own_model() -> None:
    from cloudcoil.models.keda.v1alpha1 import ScaledObject
    from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor

    for model in (ScaledObject, ServiceMonitor, PrometheusRule):
        document = one("overlays/cpu", model.__name__)
        read = model.model_validate(document).model_dump(by_alias=True, exclude_unset=True, mode="json")
        assert read == document  # what the model does not know is dropped


# --- references ----------------------------------------------------------------------------


@pytest.mark.parametrize("folder", SERVING)
def test_the_checks_ask_the_service(folder: str) -> None:
    assert f"http://{one(folder, 'Service')['metadata']['name']}" == SERVICE


@pytest.mark.parametrize("folder", SERVING)
def test_every_setting_of_the_config_map_is_one_of_the_server_and_in_its_range(folder: str) -> None:
    assert settings(folder).device == {"overlays/cpu": "cpu", "overlays/gpu": "cuda"}[folder]


@pytest.mark.parametrize("folder", SERVING)
def test_the_server_is_probed_where_it_answers(folder: str) -> None:
    container = server(folder)
    assert {p["name"]: p["containerPort"] for p in container["ports"]} == {"http": settings(folder).port}
    paths = {"startupProbe": READY, "readinessProbe": READY, "livenessProbe": LIVE}
    for probe, path in paths.items():
        assert container[probe]["httpGet"] == {"path": path, "port": "http"}
        assert container[probe]["timeoutSeconds"] <= container[probe]["periodSeconds"]
    (port,) = one(folder, "Service")["spec"]["ports"]
    assert (port["name"], port["targetPort"]) == ("http", "http")
    (endpoint,) = one(folder, "ServiceMonitor")["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http", METRICS)
    (rule,) = one(folder, "NetworkPolicy")["spec"]["ingress"]
    assert rule["ports"] == [{"port": "http"}]


@pytest.mark.parametrize("folder", SERVING)
def test_every_selector_finds_the_server_s_pods_and_no_others(folder: str) -> None:
    deployment = one(folder, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        one(folder, "Service")["spec"]["selector"],
        one(folder, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(folder, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(c["labelSelector"]["matchLabels"] for c in server_pod(folder)["topologySpreadConstraints"]),
    ]
    others = [d["spec"]["template"]["metadata"]["labels"] for d in jobs()]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not any(selector.items() <= other.items() for other in others)
    monitored = one(folder, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert monitored.items() <= one(folder, "Service")["metadata"]["labels"].items()


def server_pod(folder: str) -> Document:
    return one(folder, "Deployment")["spec"]["template"]["spec"]


def jobs() -> list[Document]:
    return [document for folder in (*TRAINING, *CHECKS) for document in objects(folder) if document["kind"] == "Job"]


@pytest.mark.parametrize("folder", ALL)
def test_everything_that_a_pod_names_is_there(folder: str) -> None:
    there = [*objects(folder), *objects("volume")]
    names = {(document["kind"], document["metadata"]["name"]) for document in there}
    for pod in pods(folder):
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod.get("initContainers", []) + pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            for source in container.get("envFrom", []):
                assert (
                    source.get("secretRef", {}).get("optional")
                    or ("ConfigMap", source["configMapRef"]["name"]) in names
                )
        for volume in pod["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in names


@pytest.mark.parametrize("folder", SERVING)
def test_the_autoscaler_goes_by_the_queue_of_the_deployment_and_never_by_cpu(folder: str) -> None:
    scaled = one(folder, "ScaledObject")
    deployment = one(folder, "Deployment")
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["type"] == "prometheus"
    query = trigger["metadata"]["query"]
    assert "eventmodel_queue_depth_requests{" in query
    assert f'namespace="{deployment["metadata"]["namespace"]}"' in query
    assert f'job="{one(folder, "Service")["metadata"]["name"]}"' in query
    assert trigger["metadata"]["ignoreNullValues"] == "false"  # no series is no reason to scale down
    threshold = float(trigger["metadata"]["threshold"])
    assert settings(folder).max_batch_size / 2 <= threshold <= settings(folder).max_batch_size
    assert threshold < settings(folder).max_queue / 2


@pytest.mark.parametrize("folder", ALL)
def test_every_image_has_a_tag_and_none_is_the_latest(folder: str) -> None:
    for image in images([folder]):
        _, _, tag = image.rpartition("/")[2].partition(":")
        assert tag not in ("", "latest"), image


@pytest.mark.parametrize("folder", SERVING)
def test_the_tag_of_the_bundle_s_image_is_the_sha256_that_the_pod_holds_it_to(folder: str) -> None:
    (container,) = server_pod(folder)["initContainers"]
    digest = config(folder, "eventmodel-bundle")["BUNDLE_SHA256"]
    assert container["image"] == f"eventmodel-bundle:{digest}"


# --- behaviour -----------------------------------------------------------------------------


@pytest.mark.parametrize("folder", SERVING)
def test_a_pod_has_the_time_that_its_drain_takes(folder: str) -> None:
    chosen, container = settings(folder), server(folder)
    drain = chosen.shutdown_delay_s + chosen.timeout_s + 10  # as the README says
    assert (
        server_pod(folder)["terminationGracePeriodSeconds"]
        > container["lifecycle"]["preStop"]["sleep"]["seconds"] + drain
    )
    readiness = container["readinessProbe"]
    assert chosen.shutdown_delay_s > readiness["periodSeconds"] * readiness["failureThreshold"]


@pytest.mark.parametrize("folder", SERVING)
def test_a_rollout_never_takes_a_ready_pod_before_another_is_ready(folder: str) -> None:
    strategy = one(folder, "Deployment")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    budget = one(folder, "PodDisruptionBudget")["spec"]["maxUnavailable"]
    assert one(folder, "ScaledObject")["spec"]["minReplicaCount"] > budget


@pytest.mark.parametrize("folder", ALL)
def test_every_pod_passes_the_restricted_standard(folder: str) -> None:
    for pod in pods(folder):
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not any(key in pod for key in ("hostNetwork", "hostPID", "hostIPC"))
        assert all(volume.keys() & {"emptyDir", "configMap", "persistentVolumeClaim"} for volume in pod["volumes"])
    for container in containers(folder):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_everything_is_in_a_namespace_that_enforces_the_restricted_standard() -> None:
    (namespace,) = objects("namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    inside = {d["metadata"].get("namespace") for folder in (*RUNNING, "volume") for d in objects(folder)}
    assert inside == {namespace["metadata"]["name"]}


@pytest.mark.parametrize("folder", RUNNING)
def test_who_deletes_what_runs_deletes_neither_the_namespace_nor_a_volume(folder: str) -> None:
    assert not {"Namespace", "PersistentVolumeClaim"} & {document["kind"] for document in objects(folder)}


@pytest.mark.parametrize("folder", ALL)
def test_every_container_says_what_it_needs_and_asks_for_no_more_than_it_may_use(folder: str) -> None:
    units = {"Mi": 2**20, "Gi": 2**30}
    for container in containers(folder):
        asked, limit = container["resources"]["requests"], container["resources"]["limits"]
        assert {"cpu", "memory"} <= asked.keys()
        memory = [int(value[:-2]) * units[value[-2:]] for value in (asked["memory"], limit["memory"])]
        assert memory[0] <= memory[1]
        assert "cpu" not in limit


@pytest.mark.parametrize("folder", SERVING)
def test_computing_and_parsing_have_a_core_each_as_far_as_they_are_asked_for(folder: str) -> None:
    chosen = settings(folder)
    assert chosen.threads + chosen.http_processes <= float(server(folder)["resources"]["requests"]["cpu"])


@pytest.mark.parametrize(("folder", "gpus"), [("overlays/cpu", None), *((f, 1) for f in ("overlays/gpu", *TRAINING))])
def test_one_gpu_or_none(folder: str, gpus: int | None) -> None:
    assert [c["resources"]["limits"].get("nvidia.com/gpu") for p in pods(folder) for c in p["containers"]] == [gpus]


def test_the_nodes_of_a_training_find_each_other() -> None:
    folder = "overlays/training-nodes"
    job, service = one(folder, "Job")["spec"], one(folder, "Service")
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert job["completionMode"] == "Indexed"
    assert job["completions"] == job["parallelism"] == int(environment["NODES"] or 0)
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": one(folder, "Job")["metadata"]["name"]}
    (script,) = container["args"]
    first = f"{one(folder, 'Job')['metadata']['name']}-0.{service['metadata']['name']}"
    assert f"--master-addr {first} --master-port {service['spec']['ports'][0]['port']} " in script


# --- the documented commands, typed ----------------------------------------------------------


STUB = """#!/bin/sh
printf '%s\\n' "${0##*/} $*" >> "$CALLS"
if [ "${0##*/} $1" = "kubectl exec" ]; then
    while [ "$1" != -- ]; do shift; done
    shift
    exec "$@"
fi
"""


def shell_blocks(text: str) -> str:
    """All of a Markdown text's commands, as one script."""
    blocks = re.findall(r"^( *)```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return "".join(dedent(block) for _, block in blocks)


COMMANDS = {
    "README.md": shell_blocks((ROOT / "README.md").read_text("utf-8").split("## Deploy\n")[1].split("\n## ")[0]),
    "docs/operations.md": shell_blocks((ROOT / "docs" / "operations.md").read_text("utf-8").split("\n## Scale\n")[0]),
}


def typed(script: str, root: Path) -> list[list[str]]:
    """Run a script in a copy of the manifests; what would need Docker, a cluster or this project is noted instead.

    Of that, what runs in a pod is run here, with ``volume`` as its ``/work``; a run is there already.

    Returns:
        Each of those commands, in words.
    """
    shutil.copytree(ROOT / "k8s", root / "k8s")
    for file in ("work/bundle/bundle.json", "work/log/log.json", "volume/run/checkpoints/1/meta.json"):
        (root / file).parent.mkdir(parents=True)
        (root / file).write_text("{}", "utf-8")
    (root / "volume" / "run" / "best").symlink_to("checkpoints/1")
    script = script.replace("-C /work", f"-C {root / 'volume'}")
    (root / "bin").mkdir()
    for program in ("docker", "kubectl", "python"):
        (root / "bin" / program).write_text(STUB, "utf-8")
        (root / "bin" / program).chmod(0o755)
    environment = {"PATH": f"{root / 'bin'}:/usr/bin:/bin", "CALLS": str(root / "calls")}
    done = subprocess.run(
        ["sh", "-euc", script], cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split() for line in (root / "calls").read_text("utf-8").splitlines()]


def built(calls: list[list[str]]) -> set[str]:
    return {call[call.index("-t") + 1] for call in calls if call[:2] == ["docker", "build"]}


def applied(calls: list[list[str]]) -> list[str]:
    return [call[3].removeprefix("k8s/") for call in calls if call[:3] == ["kubectl", "apply", "-k"]]


def test_the_readme_builds_every_image_that_is_named_and_no_other(tmp_path: Path) -> None:
    assert built(typed(COMMANDS["README.md"], tmp_path)) == images(RUNNING, tmp_path)


@pytest.mark.parametrize("document", COMMANDS)
def test_what_is_applied_names_what_was_built(document: str, tmp_path: Path) -> None:
    calls = typed(COMMANDS[document], tmp_path)
    assert {"overlays/cpu", *CHECKS} <= set(applied(calls))
    assert applied(calls)[0] == "namespace"  # all else is in it
    assert images(applied(calls), tmp_path) <= built(calls)


def test_what_is_pushed_to_a_registry_is_what_is_applied(tmp_path: Path) -> None:
    calls = typed(COMMANDS["docs/operations.md"], tmp_path)
    assert {call[2] for call in calls if call[:2] == ["docker", "push"]} == images(applied(calls), tmp_path)


@pytest.mark.parametrize("document", COMMANDS)
def test_every_job_of_the_last_time_is_deleted_before_its_successor_is_applied(document: str, tmp_path: Path) -> None:
    calls = typed(COMMANDS[document], tmp_path)
    for folder in applied(calls):
        names = [d["metadata"]["name"] for d in objects(folder) if d["kind"] == "Job"]
        before = calls[calls.index(["kubectl", "apply", "-k", f"k8s/{folder}"]) - 1]
        whole = ["kubectl", "delete", "-k", f"k8s/{folder}", "--ignore-not-found"]
        assert not names or before in (whole, ["kubectl", "delete", "job", *names, "--ignore-not-found"])


def test_the_log_comes_into_the_volume_and_the_result_out_of_it(tmp_path: Path) -> None:
    typed(COMMANDS["docs/operations.md"], tmp_path)
    assert (tmp_path / "volume" / "log" / "log.json").is_file()
    assert (tmp_path / "best" / "meta.json").is_file()
    assert not (tmp_path / "best").is_symlink()


@pytest.mark.parametrize("document", COMMANDS)
def test_the_checks_ask_when_the_servers_are_rolled_out(document: str, tmp_path: Path) -> None:
    calls = typed(COMMANDS[document], tmp_path)
    order = [calls.index(["kubectl", "apply", "-k", f"k8s/{folder}"]) for folder in ("overlays/cpu", *CHECKS)]
    assert order == sorted(order)
    assert ["rollout", "status", "deployment/eventmodel"] in [call[-3:] for call in calls[order[0] : order[1]]]


@pytest.mark.parametrize("document", COMMANDS)
def test_nothing_loads_the_servers_before_the_smoke_test_has_passed(document: str, tmp_path: Path) -> None:
    calls = typed(COMMANDS[document], tmp_path)
    smoke, load = (calls.index(["kubectl", "apply", "-k", f"k8s/{folder}"]) for folder in CHECKS)
    assert any(call[:2] == ["kubectl", "wait"] and "job/eventmodel-smoke-test" in call for call in calls[smoke:load])


def test_the_smoke_test_is_waited_for_longer_than_it_may_take(tmp_path: Path) -> None:
    calls = typed(COMMANDS["docs/operations.md"], tmp_path)
    (waiting,) = (call for call in calls if call[:2] == ["kubectl", "wait"] and "job/eventmodel-smoke-test" in call)
    (timeout,) = (word.removeprefix("--timeout=") for word in waiting if word.startswith("--timeout="))
    job = one("smoke-test", "Job")
    assert int(timeout.removesuffix("s")) > job["spec"]["activeDeadlineSeconds"]


# --- what runs in the pods, run ------------------------------------------------------------


@pytest.mark.parametrize("is_expected", [True, False])
def test_the_init_container_delivers_the_bundle_that_was_named_and_no_other(is_expected: bool, tmp_path: Path) -> None:
    bundle = write_example(tmp_path / "bundle").path
    target = tmp_path / "target"
    target.mkdir()
    (container,) = server_pod("overlays/cpu")["initContainers"]
    script = container["command"][2].replace("/bundle\n", f"{bundle}\n").replace("/target/", f"{target}/")
    assert [str(bundle) in script, str(target) in script] == [True, True]
    digest = hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest() if is_expected else "0" * 64
    assert config("overlays/cpu", "eventmodel-bundle").keys() == {"BUNDLE_SHA256"}
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


def test_the_smoke_test_asks_the_service_with_what_the_load_test_s_image_has(tmp_path: Path) -> None:
    container = job_container("smoke-test")
    assert container["args"] == ["--url", SERVICE]
    assert container["image"] == job_container("load-test")["image"]
    (stage,) = (stage for stage in STAGES if stage.name == "build-loadtest")
    assert any('".[loadtest,client]"' in i.value for i in stage.instructions)
    bundle = write_example(tmp_path / "bundle").path
    with started(bundle, tmp_path / "server.log") as running:
        command = [sys.executable, *container["command"][1:], "--url", f"http://127.0.0.1:{running.port}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_load_test_asks_the_service_at_rates_that_the_locustfile_takes(tmp_path: Path) -> None:
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
    bundle = write_example(tmp_path / "bundle").path
    with started(bundle, tmp_path / "server.log") as running:
        arguments = [*arguments]
        arguments[host], arguments[seconds] = f"http://127.0.0.1:{running.port}", "1"
        command = [sys.executable, "-m", "locust", *fixed, str(local), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert '"sustained_per_second": 40.0' in done.stdout
