"""The pages for a person: files that fetch nothing from elsewhere, and ask the server what all others ask it.

One to try the model on, and one with the OpenAPI document (Swagger UI; FastAPI's own page would load it from
another server). They hold nothing of the model, so that they are open to all; what they show comes from ``/info``,
``/openapi.json`` and ``/predict``, with the key where one is set.
"""

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import NamedTuple

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

DOCS = "/docs"


class File(NamedTuple):
    """A file of a page."""

    name: str
    media_type: str
    package: str = "server"
    """Whose directory ``static`` has it."""


FILES = {
    "/": File("page.html", "text/html"),
    "/page.css": File("page.css", "text/css"),
    "/page.js": File("page.js", "text/javascript"),
    DOCS: File("docs.html", "text/html"),
    "/docs.js": File("docs.js", "text/javascript"),
    "/swagger-ui.css": File("swagger-ui.css", "text/css", "fastapi_offline"),
    "/swagger-ui-bundle.js": File("swagger-ui-bundle.js", "text/javascript", "fastapi_offline"),
}
"""By path."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
# what our own page shows comes from users: were any of it taken for markup, it could still not run
_NO_MARKUP = "; require-trusted-types-for 'script'; trusted-types 'none'"


def add_pages(app: FastAPI) -> None:
    """Answer with the pages, in place of FastAPI's own."""
    theirs = {app.docs_url, app.redoc_url, app.swagger_ui_oauth2_redirect_url}
    app.router.routes[:] = [route for route in app.routes if getattr(route, "path", None) not in theirs]
    for path in FILES:
        app.add_route(path, _answer_with(path), include_in_schema=False)


def _answer_with(path: str) -> Callable[[Request], Awaitable[Response]]:
    file = FILES[path]
    content = files(file.package).joinpath("static", file.name).read_bytes()
    headers = {
        "content-security-policy": _POLICY + ("" if path == DOCS else _NO_MARKUP),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }

    async def answer(_: Request) -> Response:
        return Response(content, headers=headers, media_type=file.media_type)

    return answer
