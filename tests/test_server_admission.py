"""Who is let in: as many requests as there is room for, whichever process they come to."""

import json
import multiprocessing
import socket
from collections import Counter
from contextlib import closing
from pathlib import Path

from running_server import request, started, wait_for

from eventmodel.bundle import Bundle
from server.admission import Room


def hold(room: Room, process: int, n: int) -> None:
    room.start(process)
    assert all(room.take() for _ in range(n))


def elsewhere(room: Room, process: int, n: int) -> None:
    """Take places in another process, which dies with them."""
    child = multiprocessing.get_context("fork").Process(target=hold, args=(room, process, n))
    child.start()
    child.join()
    assert child.exitcode == 0


def test_places_are_of_all_processes_together() -> None:
    room = Room(most=5, processes=3)
    room.start(0)
    elsewhere(room, 1, 2)
    elsewhere(room, 2, 1)
    assert [room.take() for _ in range(3)] == [True, True, False]


def test_a_place_that_is_given_back_is_free() -> None:
    room = Room(most=1, processes=1)
    assert room.take()
    room.give_back()
    assert room.take()


def test_the_places_of_a_process_that_died_are_free_when_its_successor_starts() -> None:
    room = Room(most=2, processes=2)
    elsewhere(room, 1, 2)
    assert not room.take()
    elsewhere(room, 1, 0)
    assert room.take()


def test_none_is_turned_away_while_there_is_room_however_the_requests_are_spread(
    example_bundle: Bundle, tmp_path: Path
) -> None:
    flags = ("--http-processes", "4", "--max-queue", "8")
    with started(example_bundle.path, tmp_path / "server.log", *flags, FAKE_ENGINE_BATCH_S="0.2") as server:
        for _ in range(3):
            assert Counter(r.status_code for r in server.post_all([request()] * 8)) == {200: 8}


def test_a_request_takes_its_place_before_its_body_is_there(example_bundle: Bundle, tmp_path: Path) -> None:
    body = json.dumps(request()).encode()
    head = b"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n\r\n" % len(body)
    with started(example_bundle.path, tmp_path / "server.log", "--max-queue", "2") as server:
        slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
        with closing(slow[0]), closing(slow[1]):
            for connection in slow:
                connection.sendall(head + body[:5])
            wait_for(lambda: server.metric("eventmodel_in_flight_requests") == 2)
            assert server.post(request()).json()["error"]["code"] == "queue_full"
            slow[0].sendall(body[5:])
            assert slow[0].recv(12) == b"HTTP/1.1 200"
            assert server.post(request()).status_code == 200
        wait_for(lambda: server.metric("eventmodel_in_flight_requests") == 0)
