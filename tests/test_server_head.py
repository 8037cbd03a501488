"""What comes before a request's body has bounds: a size and a time."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from running_server import free_port, wait_for
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from server import head
from server.head import MOST_BYTES, PlainHttp

SECONDS = 0.3
GET = b"GET / HTTP/1.1\r\nhost: here\r\n"


async def answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await request.body() or b"nothing")


async def names(request: Request) -> PlainTextResponse:
    await request.body()
    return PlainTextResponse(" ".join(request.headers))


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    port, before = free_port(), head.MOST_S
    head.MOST_S = SECONDS
    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST"]), Route("/names", names, methods=["POST"])])
    config = uvicorn.Config(
        app, port=port, http=PlainHttp, log_level="error", timeout_graceful_shutdown=1, timeout_keep_alive=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: server.started)
    yield port
    server.should_exit = True
    thread.join()
    head.MOST_S = before


def exchange(port: int, *parts: bytes, pause_s: float = 0.05) -> bytes:
    """What is answered to some bytes, sent with pauses, until the server closes or says nothing for long."""

    async def run() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
        except ConnectionError:
            pass
        received = b""
        try:
            async with asyncio.timeout(10 * SECONDS):
                while chunk := await reader.read(65536):
                    received += chunk
        except (TimeoutError, ConnectionError):
            pass
        writer.close()
        return received

    return asyncio.run(run())


def test_a_head_in_pieces_is_answered(port: int) -> None:
    assert exchange(port, GET[:7], GET[7:], b"connection: close\r\n\r\n").endswith(b"nothing")


def test_a_head_that_is_too_large_is_refused_and_closed(port: int) -> None:
    filler = b"x-filler: " + b"x" * 8000 + b"\r\n"
    received = exchange(port, GET, *[filler] * (MOST_BYTES // len(filler) + 1), pause_s=0.01)
    status, _, body = received.partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 431")
    assert json.loads(body)["error"]["code"] == "head_too_large"


def test_a_head_that_is_too_slow_is_refused_and_closed(port: int) -> None:
    received = exchange(port, GET)
    assert received.startswith(b"HTTP/1.1 408")
    assert b"head_too_slow" in received


def test_a_connection_that_says_nothing_is_closed(port: int) -> None:
    assert exchange(port) == b""


def test_a_body_may_be_slow_and_larger_than_a_head(port: int) -> None:
    size = 3 * MOST_BYTES
    post = b"POST / HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % size
    parts = [b"y" * (size // 3)] * 3
    assert exchange(port, post, *parts, pause_s=0.6 * SECONDS).endswith(b"y" * size)


def test_trailers_are_no_headers(port: int) -> None:
    sent = b"POST /names HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-api-key: k\r\n\r\n"
    assert exchange(port, sent).endswith(b"host transfer-encoding")


def test_a_later_request_of_a_connection_has_the_same_bounds(port: int) -> None:
    received = exchange(port, GET + b"\r\n", GET)
    assert received.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in received


def test_what_follows_a_request_and_is_no_request_does_not_cost_it_its_answer(port: int) -> None:
    received = exchange(port, GET + b"\r\n" + b"\x16\x03\x01 no HTTP")
    assert received.startswith(b"HTTP/1.1 200")
    assert received.endswith(b"nothing")


def test_a_body_that_is_no_http_is_refused_at_once(port: int) -> None:
    received = exchange(port, b"POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\nno length\r\n")
    assert received.startswith(b"HTTP/1.1 400")


def test_a_request_that_begins_before_the_answer_to_the_one_before_may_take_its_time(port: int) -> None:
    rest = b"host: here\r\nconnection: close\r\ncontent-length: 7\r\n\r\n"
    body = [b"%d" % i for i in range(7)]  # takes longer than an idle connection is kept
    received = exchange(port, GET + b"\r\nPOST / HTTP/1.1\r\n", rest, *body, pause_s=0.2)
    assert received.endswith(b"0123456")


UPGRADE = b"host: here\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"


@pytest.mark.parametrize("pieces", [1, 2, 7, 60])
def test_an_offer_of_another_protocol_is_ignored_and_the_body_read(port: int, pieces: int) -> None:
    sent = b"POST / HTTP/1.1\r\n" + UPGRADE + b"content-length: 4\r\n\r\nbody" + GET + b"connection: close\r\n\r\n"
    size = -(-len(sent) // pieces)
    parts = [sent[at : at + size] for at in range(0, len(sent), size)]
    received = exchange(port, *parts, pause_s=0.002)
    assert received.count(b"HTTP/1.1 200") == 2
    assert b"\r\n\r\nbodyHTTP" in received
    assert received.endswith(b"nothing")


def test_a_body_that_looks_like_a_request_is_a_body(port: int) -> None:
    inner = GET + b"\r\n"
    head = b"POST / HTTP/1.1\r\n" + UPGRADE + b"content-length: %d\r\n\r\n" % len(inner)
    received = exchange(port, head, inner)
    assert received.count(b"HTTP/1.1 200") == 1
    assert received.endswith(inner)


@pytest.mark.parametrize("sent", [b"CONNECT here:80 HTTP/1.1\r\nhost: here\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"])
def test_what_is_no_http_request_gets_the_error_that_every_error_is(port: int, sent: bytes) -> None:
    status, _, body = exchange(port, sent).partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["error"]["code"] == "not_http"


def test_any_number_of_offers_at_once_is_ignored(port: int) -> None:
    n = 3000
    offers = b"GET / HTTP/1.1\r\nupgrade: a\r\nconnection: upgrade\r\n\r\n" * n
    assert exchange(port, offers, GET + b"connection: close\r\n\r\n").count(b"HTTP/1.1 200") == n + 1


def test_blank_lines_do_not_keep_a_connection(port: int) -> None:
    began = time.monotonic()
    assert exchange(port, GET + b"\r\n", b"\r\n").count(b"HTTP/1.1 200") == 1
    assert time.monotonic() - began < 9 * SECONDS  # closed, and not merely silent
