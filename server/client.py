"""A client of the server, in Python. It needs httpx alone: neither torch nor anything else of the server."""

import json
import random
import re
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self, cast

import httpx

from server.prediction import Prediction

_SLACK_S = 1.0
"""How much longer than the server the client waits, so that a request that is late is answered by the server."""
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.1, 5.0
"""Longest random wait before the second attempt; it doubles with each one, up to the other."""
_MOST_S = 1e6
"""Longer than anybody waits, and short enough for timers."""
_CLOSED = "closed"
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_KEY = re.compile(r"[!-~]+")


class ApiError(Exception):
    """The server did not answer as it was asked to.

    Attributes:
        code: what is wrong, in a word to test for: the server's own, or ``unreachable``, ``closed``, ``timeout``
            or ``bad_answer`` where the client found it.
        loc: where in the request; empty where no place is at fault.
        message: what is wrong, for people.
        hint: what to do instead.
        status: the HTTP status; None where there was no answer.
        request_id: under which the server's log has it.
        retry_after_s: after how many seconds another attempt may succeed; None where it would not.
    """

    def __init__(
        self,
        code: str,
        message: str,
        request_id: str,
        loc: str = "",
        hint: str = "",
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(code, message, request_id, loc, hint, status, retry_after_s)  # all, so that it pickles
        self.code, self.loc, self.message, self.hint = code, loc, message, hint
        self.status, self.request_id, self.retry_after_s = status, request_id, retry_after_s

    def __str__(self) -> str:
        what = f"{self.status} {self.code}" if self.status else self.code
        place = f" at {self.loc}" if self.loc else ""
        return f"{what}{place}: {self.message}. {self.hint} (request {self.request_id})".replace(".  (", ". (")


class Client:
    """Asks one server. Threads may share it; it keeps connections open until ``close``.

    A request is sent again where the server had no room for it or could not be reached, not before the time
    that it names in Retry-After, and after a random wait on top, so that many clients do not come back at once.
    Where the connection closed, which an idle one may at any time, it is sent once more.

    Args:
        url: of the server, as http://localhost:8000.
        api_key: where the server asks for one.
        timeout_s: seconds that a call waits at most, all attempts together; the server is told what is left. An
            answer that comes in drops, as no server of ours sends one, may take longer.
        attempts: how often a request is sent at most.
        transport: in place of the network, for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        attempts: int = 4,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if attempts < 1:
            raise ValueError(f"attempts is {attempts}; the least is 1")
        if api_key is not None and not _KEY.fullmatch(api_key):
            raise ValueError("api_key holds what no header can: only visible ASCII will do")
        _check_timeout(timeout_s)
        self.timeout_s, self.attempts = timeout_s, attempts
        try:
            self._http = httpx.Client(
                base_url=url,
                headers={"x-api-key": api_key} if api_key else {},
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),  # one per thread that asks
                transport=transport,
            )
        except httpx.InvalidURL as error:
            raise ValueError(f"{url!r} is no address of a server, as http://localhost:8000: {error}") from None
        if self._http.base_url.scheme not in ("http", "https"):
            raise ValueError(
                f"{url!r} is no address of a server, as http://localhost:8000: it lacks http:// or https://"
            )

    def predict(
        self, request: Mapping[str, object], *, timeout_s: float | None = None, request_id: str | None = None
    ) -> Prediction:
        """What happens next.

        Args:
            request: as the server's ``/docs`` describe it.
            timeout_s: for this call, in place of the client's own.
            request_id: up to 64 letters, digits and ``._:-``, by which the server's log names the request.

        Raises:
            ApiError: there is no prediction.
            ValueError: the request is nothing that JSON can hold, or an argument is not what it should be.
        """
        if timeout_s is not None:
            _check_timeout(timeout_s)
        if request_id is not None and not _ID.fullmatch(request_id):
            raise ValueError(f"request_id is {request_id!r}, not 1 to 64 letters, digits and ._:-")
        try:
            body = json.dumps(request, allow_nan=False).encode()
        except TypeError as error:
            raise ValueError(f"the request is no JSON: {error}") from None
        return cast(Prediction, self._call("POST", "/predict", body, timeout_s, request_id))

    def info(self) -> dict[str, Any]:
        """The model's card: schema, vocabulary sizes, limits, and an example of a request.

        Raises:
            ApiError: it cannot be had.
        """
        return cast(dict[str, Any], self._call("GET", "/info"))

    def is_ready(self) -> bool:
        """Whether the server takes requests; asked once."""
        try:
            return self._http.get("/ready", timeout=self.timeout_s).is_success
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> object:
        end = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        id_ = request_id or secrets.token_hex(8)
        attempt, was_closed = 0, False
        while True:
            attempt += 1
            try:
                return self._attempt(method, path, body, max(end - time.monotonic(), 0.001), id_)
            except ApiError as error:
                if error.retry_after_s is None or attempt == self.attempts or (was_closed and error.code == _CLOSED):
                    raise
                was_closed |= error.code == _CLOSED
                backoff_s = min(_FIRST_BACKOFF_S * 2 ** (attempt - 1), _LONGEST_BACKOFF_S)
                wait_s = error.retry_after_s + random.uniform(0, backoff_s)
                if time.monotonic() + wait_s >= end:
                    raise
            time.sleep(wait_s)

    def _attempt(self, method: str, path: str, body: bytes | None, timeout_s: float, id_: str) -> object:
        headers = {"x-request-id": id_, "x-request-timeout": f"{timeout_s:.3f}", "content-type": "application/json"}
        try:
            answer = self._http.request(method, path, content=body, headers=headers, timeout=timeout_s + _SLACK_S)
        except httpx.TimeoutException:
            hint = "See whether the server runs, or give it more time."
            raise ApiError("timeout", f"no answer within {timeout_s:.3g} s", id_, hint=hint) from None
        except httpx.ConnectError as error:
            message = f"{self._http.base_url} cannot be reached: {error}"
            hint = "See whether the server runs there."
            raise ApiError("unreachable", message, id_, hint=hint, retry_after_s=0.0) from None
        except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
            message = f"{self._http.base_url} closed the connection: {error}"
            raise ApiError(_CLOSED, message, id_, hint="See the server's log.", retry_after_s=0.0) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ApiError("unreachable", str(error), id_, hint="Look at the address.") from None
        if not answer.is_success:
            raise _error_of(answer, id_)
        try:
            return answer.json()
        except ValueError:
            message = "the answer is not JSON"
            hint = "See what else answers at this address."
            raise ApiError("bad_answer", message, id_, hint=hint, status=answer.status_code) from None


def _check_timeout(timeout_s: float) -> None:
    if not 0 < timeout_s <= _MOST_S:
        raise ValueError(f"timeout_s is {timeout_s}; it must be above 0, and at most {_MOST_S:g}")


def _error_of(answer: httpx.Response, id_: str) -> ApiError:
    """What the server says, or what can be said of an answer that is not the server's: a proxy's."""
    try:
        said = answer.json()["error"]
        code, loc, message, hint = (str(said[key]) for key in ("code", "loc", "message", "hint"))
    except (ValueError, TypeError, KeyError):
        code, loc, message, hint = "bad_answer", "", answer.reason_phrase or "an error without a reason", ""
    return ApiError(
        code,
        message,
        answer.headers.get("x-request-id", id_),
        loc=loc,
        hint=hint,
        status=answer.status_code,
        retry_after_s=_retry_after_s(answer.headers.get("retry-after")) if answer.status_code == 503 else None,
    )


def _retry_after_s(header: str | None) -> float:
    """The seconds that a Retry-After header asks for, which says seconds or a date; 0 where it says neither."""
    if header is None:
        return 0.0
    if header.strip().isdecimal():
        return float(header)
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max((date.astimezone(UTC) - datetime.now(UTC)).total_seconds(), 0.0)
