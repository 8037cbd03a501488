"""A request's body, read no further than the limit, and the document that it is."""

from typing import NamedTuple

import orjson
from starlette.requests import ClientDisconnect, Request

from eventmodel.request.errors import RequestError


class Document(NamedTuple):
    """A body that is JSON."""

    content: object
    size: int
    """Bytes."""


async def read_document(request: Request, limit: int) -> Document:
    """What the body's JSON says.

    Args:
        limit: bytes.

    Raises:
        RequestError: as ``read_body``, 415 for a compressed body, and 422 for one that is not JSON.
    """
    if request.headers.get("content-encoding", "").lower() not in ("", "identity"):
        raise RequestError("compressed", "Content-Encoding", "the body is compressed", "Send it as it is.", 415)
    body = await read_body(request, limit)
    try:
        return Document(orjson.loads(body), len(body))
    except orjson.JSONDecodeError as error:
        hint = "Send JSON in UTF-8."
        raise RequestError("not_json", "", f"the body is not JSON: {error}", hint) from None


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body.

    Args:
        limit: bytes; what the sender announces is checked first, what it sends is counted.

    Raises:
        RequestError: 413 for a body over the limit, 400 for one that ends before its end.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            chunks.append(chunk)
    except ClientDisconnect:
        raise RequestError("incomplete_body", "", "the body ended early", "Send all of it.", 400) from None
    return b"".join(chunks)


def _too_large(limit: int) -> RequestError:
    return RequestError(
        "body_too_large",
        "",
        f"the body is larger than {limit} bytes",
        "Send fewer events, or columns and rows in place of objects.",
        413,
    )
