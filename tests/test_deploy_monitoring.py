"""Rules, alerts and dashboard, read by a real Prometheus that scrapes a real server under load."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase
from running_server import Server, free_port, request, started, wait_for
from server_example import event

from eventmodel.bundle import Bundle
from server import metrics
from server.app import METRICS

ROOT = Path(__file__).parents[1]
MONITORING = ROOT / "monitoring"
RULES = MONITORING / "rules.yaml"
RULE_TESTS = ("rules_test.yaml", "drift_test.yaml")
DASHBOARD = json.loads((MONITORING / "grafana" / "dashboards" / "eventmodel.json").read_text("utf-8"))

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of Debian's prometheus")
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's package prometheus")

Json = dict[str, Any]


def rules() -> list[Json]:
    return [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]


ALERTS = [rule["alert"] for rule in rules() if "alert" in rule]


def dashboard_expressions() -> dict[str, str]:
    """Expression by panel, target and annotation."""
    found = {
        f"{panel['title']}, {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", [])
    }
    return found | {f"annotation {a['name']}": a["expr"] for a in DASHBOARD["annotations"]["list"]}


def promtool(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = ["promtool", *arguments]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, timeout=120, cwd=MONITORING
    )


# --- the files -----------------------------------------------------------------------------


def test_kubernetes_has_the_same_rules() -> None:
    document = yaml.safe_load((ROOT / "k8s" / "base" / "prometheusrule.yaml").read_text("utf-8"))
    assert document["spec"] == yaml.safe_load(RULES.read_text("utf-8")), "make rules writes them"


@needs_promtool
@pytest.mark.parametrize(
    "arguments", [("rules", "--lint=all", "--lint-fatal", "rules.yaml"), ("config", "--syntax-only", "prometheus.yml")]
)
def test_promtool_reads_it(arguments: tuple[str, ...]) -> None:
    done = promtool("check", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("file", RULE_TESTS)
def test_the_alerts_fire_when_they_should_and_not_before(file: str) -> None:
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_tested_firing_with_what_it_says(alert: str) -> None:
    tests = [t for file in RULE_TESTS for t in yaml.safe_load((MONITORING / file).read_text("utf-8"))["tests"]]
    cases = [case for test in tests for case in test.get("alert_rule_test", []) if case["alertname"] == alert]
    assert any(case["exp_alerts"] for case in cases)


def test_every_alert_says_whom_to_wake_and_where_to_look() -> None:
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert rule["annotations"].keys() == {"summary", "description", "runbook"}


def test_every_alert_has_its_place_in_the_runbook_and_the_runbook_knows_no_others() -> None:
    file, *_ = next(rule["annotations"]["runbook"] for rule in rules() if "alert" in rule).split("#")
    runbook = (ROOT / file).read_text("utf-8").split("## Alerts\n")[1]
    places = dict(re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", runbook, re.MULTILINE | re.DOTALL))
    assert places.keys() == set(ALERTS)
    for rule in rules():
        if "alert" in rule:
            assert rule["annotations"]["runbook"] == f"{file}#{rule['alert'].lower()}"
            place = places[rule["alert"]]
            assert place.lower().lstrip().startswith(rule["labels"]["severity"])
            assert re.findall(r"^(\d)\. ", place, re.MULTILINE) == ["1", "2", "3"]


def test_every_panel_that_the_runbook_names_is_on_the_dashboard() -> None:
    runbook = (ROOT / "docs" / "operations.md").read_text("utf-8")
    named = set(re.findall(r"(?<![*\w])\*([A-Z][^*]+)\*(?!\*)", runbook)) - {"Page", "Ticket", "Deploy"}
    assert len(named) > 10
    assert named <= {panel["title"] for panel in DASHBOARD["panels"]}


def test_the_readme_lists_every_alert() -> None:
    readme = (ROOT / "README.md").read_text("utf-8").split("**Alerts**")[1].split("\n## ")[0]
    assert set(re.findall(r"`(Eventmodel\w+)`", readme)) == set(ALERTS)


def test_every_metric_that_is_named_is_one_of_the_server_or_a_recording_rule() -> None:
    own = [m for m in vars(metrics).values() if isinstance(m, MetricWrapperBase)]
    names = {
        f"{m._name}{suffix}"
        for m in own
        for suffix in {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(m._type, [""])
    }
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    scaled = yaml.safe_load((ROOT / "k8s" / "base" / "scaledobject.yaml").read_text("utf-8"))
    queries = [t["metadata"]["query"] for t in scaled["spec"]["triggers"]]
    for expression in [*dashboard_expressions().values(), *(rule["expr"] for rule in rules()), *queries]:
        unlabelled = re.sub(r'"[^"]*"', '""', expression)
        assert set(re.findall(r"\bjob(?:_[a-z]+)?:[a-z0-9_:]+", unlabelled)) <= recorded, expression
        assert set(re.findall(r"(?<![:\w])eventmodel_\w+", unlabelled)) <= names, expression


def test_panels_of_the_dashboard_have_names_and_places_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


def test_prometheus_scrapes_where_the_server_answers() -> None:
    (scrape,) = yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    assert scrape.get("metrics_path", "/metrics") == METRICS
    assert scrape["job_name"] in next(rule["expr"] for rule in rules() if rule.get("alert") == "EventmodelDown")


# --- real ones -----------------------------------------------------------------------------


class Prometheus:
    """What a running one answers."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def get(self, path: str, **parameters: str) -> Any:
        answer = self.client.get(path, params=parameters).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def values(self, expression: str) -> list[float]:
        return [float(sample["value"][1]) for sample in self.get("/query", query=expression)["result"]]


@contextmanager
def prometheus(server: Server, directory: Path) -> Iterator[Prometheus]:
    """One with the project's rules that scrapes and evaluates every half second."""
    port = free_port()
    written = yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))
    written["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
    written["rule_files"] = ["rules.yaml"]
    written["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{server.port}"]}]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(written), "utf-8")
    quick = re.sub(r"interval: \d+m", "interval: 500ms", RULES.read_text("utf-8"))
    (directory / "rules.yaml").write_text(quick, "utf-8")
    command = ["prometheus", f"--web.listen-address=127.0.0.1:{port}"]
    command += [f"--config.file={directory / 'prometheus.yml'}", f"--storage.tsdb.path={directory / 'data'}"]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=20) as client:
            running = Prometheus(client)
            wait_for(lambda: answers(running) or process.poll() is not None)
            assert process.poll() is None, (directory / "prometheus.log").read_text()
            yield running
    finally:
        process.terminate()
        process.wait(20)


def answers(running: Prometheus) -> bool:
    try:
        return bool(running.values("count_over_time(up[1m]) > 1"))
    except (httpx.HTTPError, ValueError):  # it says in plain text that it is not ready
        return False


def load(server: Server) -> None:
    """A little of everything that is counted: answers, errors, late ones, too many, a model process that dies."""
    bad = {"streams": {"Worker": [{"id": "ann", "events": [event(0) | {"EventDatetime": "yesterday"}]}]}}
    new = {"streams": {"Worker": [{"id": "zoe", "events": [event(0, "zoe", Site="unheard of")]}]}}
    for body in (bad, new, request("fail")):
        server.post(body)
    with ThreadPoolExecutor(12) as pool:
        sleeping = pool.submit(server.post, request("sleep"))
        wait_for(lambda: server.metric("eventmodel_in_flight_requests") > 0)
        time.sleep(0.2)  # until it is with the model, which then sleeps on: the next ones wait for their turn
        late = [pool.submit(server.post, request(minute=i), **{"X-Request-Timeout": "0.3"}) for i in range(10)]
        statuses = {answer.result().status_code for answer in [sleeping, *late]}
    assert {503, 504} <= statuses
    server.post(request("die"))
    wait_for(server.is_ready)


@pytest.fixture(scope="module")
def watched(example_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Prometheus]]:
    """A server that has had some load, and a Prometheus that saw it."""
    directory = tmp_path_factory.mktemp("watched")
    with (
        started(
            example_bundle.path, directory / "server.log", "--max-queue", "6", FAKE_ENGINE_BATCH_S="0.01"
        ) as server,
        prometheus(server, directory) as running,
    ):
        load(server)
        # a counter has a rate when it has been scraped twice
        for counter in ('eventmodel_process_restarts_total{process="model"}', "eventmodel_dropped_requests_total"):
            wait_for(lambda rate=f"rate({counter}[1m])": bool(running.values(rate)))
        for minute in range(20):
            server.post(request(minute=minute))
        wait_for(lambda: all(running.values(rule["record"]) for rule in rules() if "record" in rule))
        yield server, running


@needs_promtool
@needs_prometheus
def test_promtool_finds_nothing_wrong_with_the_live_metrics(watched: tuple[Server, Prometheus]) -> None:
    done = promtool("check", "metrics", stdin=watched[0].client.get(METRICS).text)
    assert (done.returncode, done.stderr) == (0, "")


@needs_prometheus
def test_every_rule_is_evaluated_and_every_recording_rule_has_a_value(watched: tuple[Server, Prometheus]) -> None:
    _, running = watched
    evaluated = [rule for group in running.get("/rules")["groups"] for rule in group["rules"]]
    assert len(evaluated) == len(rules())
    assert {rule["name"]: rule.get("lastError") for rule in evaluated if rule["health"] != "ok"} == {}
    for rule in rules():
        if "record" in rule:
            assert running.values(rule["record"]), rule["record"]


@needs_prometheus
def test_every_expression_of_the_dashboard_has_a_value(watched: tuple[Server, Prometheus]) -> None:
    _, running = watched
    empty = []
    for name, expression in dashboard_expressions().items():
        if name in ("annotation Alerts", "GPU memory, A"):
            running.get("/query", query=expression)  # nothing fires yet, and nothing works on a GPU
            continue
        filled = expression.replace("$__rate_interval", "1m").replace("$job", "eventmodel")
        assert "$" not in filled
        if not running.values(filled):
            empty.append(name)
    assert empty == []


@needs_prometheus
def test_the_autoscaler_s_query_has_one_value(watched: tuple[Server, Prometheus]) -> None:
    _, running = watched
    scaled = yaml.safe_load((ROOT / "k8s" / "base" / "scaledobject.yaml").read_text("utf-8"))
    (trigger,) = scaled["spec"]["triggers"]
    # outside of Kubernetes nothing has a namespace
    (value,) = running.values(trigger["metadata"]["query"].replace('namespace="eventmodel", ', ""))
    assert value >= 0
