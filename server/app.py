"""The server put together: LitServe, and our own where its stock behaviour is wrong."""

import logging
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from eventmodel.bundle import Bundle
from eventmodel.quoted import quoted
from eventmodel.request.errors import RequestError
from server.admission import TurnAway
from server.api import PATH, PredictAPI
from server.api_key import ApiKey
from server.deadline import Deadline
from server.engine import OpenEngine
from server.errors import error_response
from server.info import INFO, info
from server.lit_server import EventServer
from server.metrics import CountRequests, announce, metrics
from server.model_status import ModelStatus
from server.openapi import describe
from server.page import FILES, add_pages
from server.probes import LIVE, READY, live, ready
from server.request_id import RequestId
from server.settings import Settings

METRICS = "/metrics"

logger = logging.getLogger("eventmodel")


def build_server(settings: Settings, bundle: Bundle, open_engine: OpenEngine) -> EventServer:
    """A server that is ready to run. Enter ``metrics_directory`` before this module is imported."""
    status = ModelStatus(settings.max_batch_size, settings.stuck_after_s)
    server = EventServer(PredictAPI(bundle, open_engine, settings, status), settings, bundle, status)
    app = server.app
    app.router.redirect_slashes = False  # to an address that a proxy in between may not know
    # each one added is outside of those before
    app.add_middleware(Deadline, timeout_s=settings.timeout_s)
    app.add_middleware(TurnAway, path=PATH, room=server.room)
    if settings.api_key is not None:
        app.add_middleware(ApiKey, key=settings.api_key.get_secret_value(), open_paths={LIVE, READY, METRICS, *FILES})
    app.add_middleware(CountRequests, path=PATH)
    app.add_middleware(RequestId)
    app.add_exception_handler(RequestError, _request_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_route(LIVE, live, include_in_schema=False)
    app.add_route(READY, ready(status), include_in_schema=False)
    app.add_route(METRICS, _metrics, include_in_schema=False)
    app.add_route(INFO, info(bundle, settings), include_in_schema=False)
    add_pages(app)
    describe(app, bundle, PATH, INFO, has_key=settings.api_key is not None)
    announce(bundle, settings)
    _greet_when_ready(app, settings, bundle)
    return server


async def _metrics(_: Request) -> Response:
    return metrics()


async def _request_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error_response(error)


async def _http_error(request: Request, error: Exception) -> Response:
    """Errors that the framework raises (404, 405) in the shape of ours."""
    assert isinstance(error, HTTPException)
    asked, allowed = quoted(request.url.path), (error.headers or {}).get("Allow", "nothing")
    code, message = {
        404: ("not_found", f"there is no path {asked}"),
        405: ("method_not_allowed", f"{asked} takes {allowed}, not {request.method}"),
    }.get(error.status_code, ("http_error", str(error.detail)))
    hint = "See /docs for what this server answers."
    response = error_response(RequestError(code, "", message, hint, error.status_code))
    response.headers.update(error.headers or {})  # Allow, of a 405
    return response


def _greet_when_ready(app: FastAPI, settings: Settings, bundle: Bundle) -> None:
    """Print what to type next, once requests are answered."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with inner(app):
            if app.response_queue_id == 0:  # type: ignore[attr-defined]  # LitServe's number of the HTTP process
                if settings.log_format == "text":
                    print(greeting(settings, bundle), flush=True)
                else:
                    logger.info("Serving %s, version %s, on port %d.", bundle.name, bundle.version, settings.port)
            yield

    app.router.lifespan_context = lifespan


def greeting(settings: Settings, bundle: Bundle) -> str:
    """Model and page, and a request that works as printed."""
    address = f"http://localhost:{settings.port}"
    key = "" if settings.api_key is None else ' -H "x-api-key: $EVENTMODEL_API_KEY"'
    example = shlex.quote(f"@{bundle.path / 'example.json'}")
    return (
        f"\nServing {bundle.name} (version {bundle.version}). A page to try it on: {address}/\n"
        f"The format of requests: {address}/docs. From a terminal:\n\n"
        f"  curl -s {address}/predict -H 'content-type: application/json'{key} -d {example}\n"
    )
