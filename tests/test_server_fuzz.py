"""Mutated bodies at the real server: an answer or a refusal that says why, never a 5xx, never a hang."""

import gzip
import json
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from documents import places
from running_server import Server, started
from server_example import example

from eventmodel.bundle import Bundle

VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 10**30, -(10**400), 0.5, 1e308, "", " ", "x" * 5000, "\x00", "\ud7ff", "é" * 70,
    "‮", "NaN", "null", "0001-01-01T00:00:00", "9999-12-31T23:59:59", "2026-02-30T00:00:00",
    "2026-01-29T08:00:00+99:00", "2026-01-29", [], {}, [[]], [None], {"": {}}, [[[[[[]]]]]], "ann", "s1",
]  # fmt: skip


def in_rows(body: dict[str, Any]) -> dict[str, Any]:
    for entities in body["streams"].values():
        for entity in entities:
            columns = list(dict.fromkeys(name for event in entity["events"] for name in event))
            rows = [[event.get(name) for name in columns] for event in entity["events"]]
            entity["events"] = {"columns": columns, "rows": rows}
    return body


def in_records() -> dict[str, Any]:
    """The example's events as a recent log."""
    document = example()
    entities = [entity for of_stream in document.pop("streams").values() for entity in of_stream]
    return document | {"records": [event for entity in entities for event in entity["events"]]}


def mutated(chance: random.Random) -> tuple[bytes, dict[str, str]]:
    """A body that was right before some of it was changed, and headers."""
    body: Any = {"": chance.choice([example, lambda: in_rows(example()), in_records])()}
    for _ in range(chance.randint(0, 3)):
        *path, last = chance.choice(places(body)[1:] or [("",)])
        parent = body
        for key in path:
            parent = parent[key]
        change = chance.randrange(4)
        if change == 0 and isinstance(parent, dict) and last != "":
            del parent[last]
        elif change == 1 and isinstance(parent, list):
            parent.extend(parent[last : last + 1] * chance.choice([1, 50]))
        elif change == 2 and isinstance(parent, dict) and last != "":
            parent[chance.choice(["", "x" * 300, "Site", "events", "\n"])] = parent.pop(last)
        else:
            parent[last] = deepcopy(chance.choice(VALUES))  # later changes may be within it
    data = json.dumps(body[""], ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    match chance.randrange(12):
        case 0:
            data = data[: chance.randrange(len(data) + 1)]
        case 1:
            at = chance.randrange(len(data) + 1)
            data = data[:at] + chance.randbytes(chance.randint(1, 9)) + data[at:]
        case 2:
            data = b"[" * chance.choice([10, 1000, 30_000]) + data
        case 3:
            data = data.replace(b"0", b"NaN", 1) if chance.random() < 0.5 else data.replace(b":", b": 1e999,", 1)
        case 4:
            data = data.decode("utf-8", "replace").encode(chance.choice(["utf-16", "utf-32", "cp037"]), "replace")
        case 5:
            packed = gzip.compress(data)
            part = packed[: chance.randrange(len(packed))]
            encodings = ("gzip", "deflate", "br", "identity, gzip", "x" * 300)
            return chance.choice([packed, part, data]), {"content-encoding": chance.choice(encodings)}
        case 6:
            data = data + b" " * 60_000
        case 7:
            data = chance.choice([b"\xef\xbb\xbf" + data, gzip.compress(data), gzip.compress(data)[:-9]])
        case 8:
            headers = {"content-type": chance.choice(["application/json; charset=utf-16", "text/csv", ";", "x" * 300])}
            return data, headers
    return data, {}


@pytest.fixture(scope="module")
def server(example_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("log") / "server.log"
    with started(example_bundle.path, log, "--max-body-bytes", "50000", "--timeout-s", "5") as running:
        yield running


@pytest.mark.parametrize(
    ("n", "seed"), [(400, 1), pytest.param(20_000, 2, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_whatever_is_sent_is_answered_or_refused(server: Server, n: int, seed: int) -> None:
    chance = random.Random(seed)
    statuses: dict[int, int] = {}
    size = descriptors = 0
    for i in range(n):
        body, headers = mutated(chance)
        answer = server.client.post("/predict", content=body, headers=headers)
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        assert answer.status_code in (200, 413, 415, 422), (answer.text, body[:2000])
        assert answer.elapsed.total_seconds() < 4  # its deadline is 5
        if answer.status_code != 200:
            error = answer.json()["error"]
            assert error["code"]
            assert error["hint"]
            assert len(answer.content) < 2000
        if i == n // 4:
            server.client.get("/live")  # some answers close the connection: it is open now, and at the end
            size, descriptors = server.resident(), server.descriptors()
    assert set(statuses) == {200, 413, 415, 422}
    server.client.get("/live")
    assert server.resident() - size < 20 * 2**20
    assert server.descriptors() == descriptors
    assert "Traceback" not in server.log.read_text()
