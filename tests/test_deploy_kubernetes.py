"""What kubectl renders from ``k8s/``: valid by the schemas, and what its objects say of each other holds."""

import subprocess
import sys
from pathlib import Path

import pytest
from manifests import (
    ALL,
    CHECKS,
    SERVICE,
    SERVING,
    TRAINING,
    Document,
    config_map,
    images,
    needs_kubectl,
    objects,
    one,
    pods,
    rendered,
    server_container,
    server_pod,
    server_settings,
)

from server.app import METRICS
from server.probes import LIVE, READY

pytestmark = needs_kubectl


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


@pytest.mark.parametrize("folder", SERVING)
def test_the_checks_ask_the_service(folder: str) -> None:
    assert f"http://{one(folder, 'Service')['metadata']['name']}" == SERVICE


@pytest.mark.parametrize("folder", SERVING)
def test_every_setting_of_the_config_map_is_one_of_the_server_and_in_its_range(folder: str) -> None:
    assert server_settings(folder).device == {"overlays/cpu": "cpu", "overlays/gpu": "cuda"}[folder]


@pytest.mark.parametrize("folder", SERVING)
def test_the_server_is_probed_where_it_answers(folder: str) -> None:
    container = server_container(folder)
    assert {p["name"]: p["containerPort"] for p in container["ports"]} == {"http": server_settings(folder).port}
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
    assert server_settings(folder).max_batch_size / 2 <= threshold <= server_settings(folder).max_batch_size
    assert threshold < server_settings(folder).max_queue / 2


@pytest.mark.parametrize("folder", ALL)
def test_every_image_has_a_tag_and_none_is_the_latest(folder: str) -> None:
    for image in images([folder]):
        _, _, tag = image.rpartition("/")[2].partition(":")
        assert tag not in ("", "latest"), image


@pytest.mark.parametrize("folder", SERVING)
def test_the_tag_of_the_bundle_s_image_is_the_sha256_that_the_pod_holds_it_to(folder: str) -> None:
    (container,) = server_pod(folder)["initContainers"]
    digest = config_map(folder, "eventmodel-bundle")["BUNDLE_SHA256"]
    assert container["image"] == f"eventmodel-bundle:{digest}"


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
