"""Load a running server: locust --headless -f benchmarks/loadtest/locustfile.py --host URL [--help].

With --rates in an open loop: requests at that rate, evenly spaced, however fast the answers come, one step of
--step-s seconds after the other. Without, in a closed loop: each of --users sends its next request when it has its
answer. It prints what it measured as JSON, with --out also into a dated file beside locust's HTML report, and ends
with 1 where --at-least was not sustained, or a closed loop had failures. EVENTMODEL_API_KEY is sent where it is set.
"""

import json
import os
import sys
import time
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import gevent
from gevent.pool import Group
from locust import FastHttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from benchmarks.loadtest.mix import Body, Mix
from benchmarks.loadtest.report import Step, saturation

CONNECTIONS = 512
"""Open at the same time at most; a request that finds none free waits, and the wait counts."""
KEY = os.environ.get("EVENTMODEL_API_KEY")

steps: list[Step] = []


@events.init_command_line_parser.add_listener
def _add_flags(parser: LocustArgumentParser) -> None:
    parser.add_argument(
        "--rates", type=_rates, default=(), help="requests per second, as 50 or 50,100,150; none: a closed loop"
    )
    parser.add_argument("--step-s", type=float, default=30, help="how long each rate lasts")
    parser.add_argument("--at-least", type=float, default=0, help="a rate that has to be sustained")
    parser.add_argument("--out", type=Path, help="directory for the JSON and the HTML report")
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same requests")


def _rates(text: str) -> tuple[float, ...]:
    try:
        rates = tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        rates = (0,)
    if not all(0 < rate < float("inf") for rate in rates):
        raise ArgumentTypeError(f"{text!r} is no rate or list of rates, as 50 or 50,100,150")
    return rates


class Asking(FastHttpUser):
    """What both loops have in common."""

    abstract = True
    default_headers = {"content-type": "application/json"} | ({"X-API-Key": KEY} if KEY else {})

    bodies: Iterator[Body]
    """Of all users together."""

    def ask(self, step: Step, body: Body, due: float) -> None:
        """Send one request and note what becomes of it.

        Args:
            due: when it should have been sent, by ``time.perf_counter``.
        """
        with self.client.post("/predict", data=body.content, name=body.kind, catch_response=True) as answer:
            seconds = time.perf_counter() - due
            answer.request_meta["response_time"] = seconds * 1000
            if answer.status_code == 200 and b'"events"' in answer.content:
                step.durations[body.kind].append(seconds)
            else:
                reason = answer.headers.get("x-error-code") if answer.headers else None
                step.failures[f"{answer.status_code} {reason or 'no answer'}"] += 1
                answer.failure(f"{answer.status_code} {reason}")


class ClosedLoop(Asking):
    """One user; each sends its next request when it has its answer."""

    wait_time = constant(0)

    @task
    def predict(self) -> None:
        """One request."""
        self.ask(steps[0], next(self.bodies), time.perf_counter())


class OpenLoop(Asking):
    """Sends at the given rates, whatever the answers, and ends the test."""

    fixed_count = 1
    concurrency = CONNECTIONS

    @task
    def send_all(self) -> None:
        """All steps."""
        options = _options(self.environment)
        for rate in options.rates:
            step, sent = Step(rate), Group()
            steps.append(step)
            started = time.perf_counter()
            for n in range(int(rate * options.step_s)):
                due = started + n / rate
                gevent.sleep(max(due - time.perf_counter(), 0))
                sent.spawn(self.ask, step, next(self.bodies), due)
            sent.join()  # so that a step does not pay for the one before
            step.seconds = time.perf_counter() - started
        assert self.environment.runner is not None
        self.environment.runner.quit()
        gevent.sleep(60)  # until it has


@events.init.add_listener
def _prepare(environment: Environment, **_: Any) -> None:
    options = _options(environment)
    environment.user_classes = [OpenLoop if options.rates else ClosedLoop]
    if not options.rates:
        steps.append(Step(None, options.num_users))
    if options.out:
        options.html_file = str(options.out / f"{_name()}.html")
    Asking.bodies = iter(Mix(_card(environment), options.seed))


def _card(environment: Environment) -> Any:
    """What the server says of itself.

    Raises:
        SystemExit: it does not.
    """
    url = f"{environment.host}/info"
    try:
        if not environment.host:
            raise OSError("no --host is given")
        with urlopen(Request(url, headers={"X-API-Key": KEY} if KEY else {}), timeout=60) as answer:
            return json.load(answer)
    except OSError as error:
        print(f"error: GET {url}: {error}; is it --host, and EVENTMODEL_API_KEY, that is wanted?", file=sys.stderr)
        raise SystemExit(1) from None


@events.quitting.add_listener
def _report(environment: Environment, **_: Any) -> None:
    options = _options(environment)
    if not options.rates:
        steps[0].seconds = (environment.stats.last_request_timestamp or 0) - environment.stats.start_time
    found = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "url": environment.host,
        "seed": options.seed,
        "steps": [step.summary() for step in steps],
        **({"sustained_per_second": saturation(steps)} if options.rates else {}),
    }
    print(json.dumps(found))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / f"{_name()}.json").write_text(json.dumps(found, indent=2), "utf-8")
    is_well = (saturation(steps) or 0) >= options.at_least if options.rates else not steps[0].failures
    environment.process_exit_code = 0 if is_well else 1


def _options(environment: Environment) -> Namespace:
    assert environment.parsed_options is not None
    return environment.parsed_options


def _name() -> str:
    return _STARTED.strftime("loadtest-%Y-%m-%dT%H%M%SZ")


_STARTED = datetime.now(UTC)
