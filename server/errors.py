"""An error as an HTTP response."""

import orjson
from starlette.responses import Response

from eventmodel.request.errors import RequestError

ERROR_CODE_HEADER = "x-error-code"
"""Carries the code, so that the metrics count reasons without reading bodies."""
RETRY_AFTER_S = 1
"""When a 503 may be tried again: by then a full queue has moved on, or a load balancer has learned."""


def error_response(error: RequestError) -> Response:
    """The one shape that every error has, whoever raised it."""
    body = {"error": {"code": error.code, "loc": error.loc, "message": error.message, "hint": error.hint}}
    headers = {ERROR_CODE_HEADER: error.code}
    if error.status in (408, 413):
        headers["connection"] = "close"  # or the rest of the body would still be received
    if error.status == 503:
        headers["retry-after"] = str(RETRY_AFTER_S)
    if error.status == 401:
        headers["www-authenticate"] = "X-API-Key"
    return Response(orjson.dumps(body), error.status, headers, media_type="application/json")


def internal_error() -> RequestError:
    """The error of a request that is in order and failed all the same."""
    hint = "This is a fault of the server; its log tells more under the X-Request-ID of this answer."
    return RequestError("internal_error", "", "the model failed on this request", hint, 500)


def model_died() -> RequestError:
    """The error of a request that the model process was working on when it died."""
    hint = "Another one starts. Send the request again once; if it happens again, the request is the cause."
    return RequestError("model_died", "", "the model process died while it worked on this request", hint, 500)


def client_gone() -> RequestError:
    """For the metrics: nobody reads the answer."""
    return RequestError("client_gone", "", "the connection was closed before the answer", "", 499)


def queue_full() -> RequestError:
    """The error of a request for which there is no room."""
    hint = "Send it again after the seconds that Retry-After says, less often, or to another replica."
    return RequestError("queue_full", "", "as many requests wait for the model as may", hint, 503)


def timed_out() -> RequestError:
    """The error of a request that nobody answered in time."""
    return RequestError("timeout", "", "the request was not answered in time", "Send it again later.", 504)


def body_too_slow() -> RequestError:
    """The error of a request of which not all had arrived in time."""
    return RequestError("body_too_slow", "", "the body had not arrived in time", "Send all of it at once.", 408)
