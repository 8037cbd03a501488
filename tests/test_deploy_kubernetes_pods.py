"""What Kubernetes lets the pods do: rights, resources, and the time to come and go."""

import pytest
from manifests import (
    ALL,
    RUNNING,
    SERVING,
    TRAINING,
    containers,
    needs_kubectl,
    objects,
    one,
    pods,
    server_container,
    server_pod,
    server_settings,
)

pytestmark = needs_kubectl


@pytest.mark.parametrize("folder", SERVING)
def test_a_pod_has_the_time_that_its_drain_takes(folder: str) -> None:
    chosen, container = server_settings(folder), server_container(folder)
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
    chosen = server_settings(folder)
    assert chosen.threads + chosen.http_processes <= float(server_container(folder)["resources"]["requests"]["cpu"])


@pytest.mark.parametrize(("folder", "gpus"), [("overlays/cpu", None), *((f, 1) for f in ("overlays/gpu", *TRAINING))])
def test_one_gpu_or_none(folder: str, gpus: int | None) -> None:
    assert [c["resources"]["limits"].get("nvidia.com/gpu") for p in pods(folder) for c in p["containers"]] == [gpus]
