"""The smoke test passes on a server that works, and says what is wrong with any other."""

from pathlib import Path
from typing import Any

import pytest
from running_server import free_port, started

from eventmodel.bundle import Bundle
from server.smoke import check, main


def test_it_passes_on_a_server_that_works_and_needs_its_key(
    example_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(example_bundle.path, tmp_path / "server.log", EVENTMODEL_API_KEY="s3cret") as server:
        flags = ["--url", f"http://127.0.0.1:{server.port}", "--requests", "4"]
        assert main(flags) == 1
        assert "error: 401 unauthorized at X-API-Key" in capsys.readouterr().err
        monkeypatch.setenv("EVENTMODEL_API_KEY", "s3cret")
        before = server.metric('eventmodel_requests_total{status="200"}')
        assert main(flags) == 0
        assert capsys.readouterr().out.startswith("ok: tiny 0123456789ab, 4 predictions, median ")
        assert server.metric('eventmodel_requests_total{status="200"}') - before == 4


def test_a_server_that_is_not_there_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", f"http://127.0.0.1:{free_port()}"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: unreachable: ")
    assert said.count("\n") == 1


def answer(**changes: Any) -> Any:
    category = {"top": [{"value": "a", "probability": 0.6}], "unknown": 0.1, "rest": 0.3, "entropy": 0.9} | changes
    return {"model": {"name": "tiny", "version": "1"}, "events": [{"categories": {"Kind": category}}]}


@pytest.mark.parametrize("url", ["http://localhost:port", "localhost:8000", "http://"])
def test_an_address_that_is_none_is_said_in_one_line(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", url]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_answer_is_right_where_it_adds_up() -> None:
    check(answer(), "1", 1)


@pytest.mark.parametrize(
    ("wrong", "version", "horizon", "reason"),
    [
        (answer(rest=0.2), "1", 1, "add up to 0.9"),
        (answer(rest=float("nan")), "1", 1, "add up to nan"),
        (answer(), "2", 1, "model 1 answers"),
        (answer(), "1", 2, "1 events were predicted in place of 2"),
        (answer() | {"events": [{"categories": {}}]}, "1", 1, "no probabilities"),
    ],
)
def test_an_answer_that_is_wrong_is_said_to_be(wrong: Any, version: str, horizon: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check(wrong, version, horizon)
