"""The commands that README and runbook tell people to type, typed where nothing is built or applied."""

import re
import shutil
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest
from manifests import CHECKS, ROOT, RUNNING, images, needs_kubectl, objects, one

pytestmark = needs_kubectl

STUB = """#!/bin/sh
printf '%s\\n' "${0##*/} $*" >> "$CALLS"
if [ "${0##*/} $1" = "kubectl exec" ]; then
    while [ "$1" != -- ]; do shift; done
    shift
    exec "$@"
fi
"""
"""A program that notes how it was called, and of kubectl exec runs what would run in the pod."""


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
