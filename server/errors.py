"""An error as an HTTP response."""

import orjson
from starlette.responses import Response

from eventmodel.request.errors import RequestError

ERROR_CODE_HEADER = "x-error-code"
"""Carries the code, so that the metrics count reasons without reading bodies."""


def error_response(error: RequestError) -> Response:
    """The one shape that every error has, whoever raised it."""
    body = {"error": {"code": error.code, "loc": error.loc, "message": error.message, "hint": error.hint}}
    headers = {ERROR_CODE_HEADER: error.code}
    if error.status == 413:
        headers["connection"] = "close"  # or the rest of the body would still be received
    return Response(orjson.dumps(body), error.status, headers, media_type="application/json")
