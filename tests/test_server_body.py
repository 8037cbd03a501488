"""A request's body becomes the document that it is, or one error."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from eventmodel.request.errors import RequestError
from server.body import read_document

LIMIT = 60


def read(*chunks: bytes) -> object:
    messages = iter([{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks])

    async def receive() -> Any:
        return next(messages, {"type": "http.request", "body": b"", "more_body": False})

    return asyncio.run(read_document(Request({"type": "http", "headers": []}, receive), LIMIT)).content


def test_a_document_may_come_in_pieces() -> None:
    assert read(b'{"top', b'_k": ', b"3}") == {"top_k": 3}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"top_k": NaN}', b'{"top_k": 1e999}', b"[" * LIMIT])
def test_a_body_that_is_not_json_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        read(body)
    assert (caught.value.code, caught.value.status) == ("not_json", 422)


def test_a_body_over_the_limit_is_refused() -> None:
    assert read(b" " * (LIMIT - 1), b"1") == 1
    with pytest.raises(RequestError) as caught:
        read(b" " * LIMIT, b"1")
    assert (caught.value.code, caught.value.status) == ("body_too_large", 413)


@given(st.binary(max_size=LIMIT))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused_and_nothing_else(body: bytes) -> None:
    with suppress(RequestError):
        read(body)
