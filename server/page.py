"""The page for a person: three files that fetch nothing from elsewhere, and ask the server what all others ask it.

It holds nothing of the model, so that it is open to all; what it shows comes from ``/info`` and ``/predict``,
with the key where one is set.
"""

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response


class File(NamedTuple):
    """A file of the page."""

    name: str
    media_type: str


FILES = {
    "/": File("page.html", "text/html"),
    "/page.css": File("page.css", "text/css"),
    "/page.js": File("page.js", "text/javascript"),
}
"""By path."""

HEADERS = {
    # what the page shows comes from users: were any of it taken for markup, it could still not run
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def page_file(path: str) -> Callable[[Request], Awaitable[Response]]:
    """Answers with one of ``FILES``."""
    name, media_type = FILES[path]
    content = files("server").joinpath("static", name).read_bytes()

    async def answer(_: Request) -> Response:
        return Response(content, headers=HEADERS, media_type=media_type)

    return answer
