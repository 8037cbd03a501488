"""What the server logs: a line each, for people; or a JSON object each, for programs.

Nothing of a request's content is logged, but its X-Request-ID, which its answer carries too.
"""

import logging
from datetime import UTC, datetime

import litserve  # noqa: F401  # when it is imported it gives its logger a handler, which has to go
import orjson
from starlette.types import Scope

from server.settings import Settings

logger = logging.getLogger("eventmodel")

FIELDS = ("request_id", "status", "code", "duration_s")
"""What a line may say of the request that it is about, given as ``extra``."""
_TAKE_CARE_OF_THEMSELVES = ("litserve", "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


def configure_logs(settings: Settings) -> None:
    """Log to stderr in one way, whoever logs; once in every process that is not forked."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for name in _TAKE_CARE_OF_THEMSELVES:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    # who serves where, and why it ends, is ours to say, and when: LitServe calls every end Ctrl-C
    logging.getLogger("litserve.server").setLevel(logging.NOTSET if settings.log_level == "debug" else logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_timely)
    logging.captureWarnings(True)


def _is_timely(record: logging.LogRecord) -> bool:
    """Not that it runs, which uvicorn says when it has a port and nothing is loaded."""
    return not str(record.msg).startswith("Uvicorn running on")


def log_answer(scope: Scope, status: int, code: str, duration_s: float) -> None:
    """A line about a request that was answered; the log level says which ones have one.

    Args:
        code: of an error, "" where there is none.
    """
    if status < 400 or status == 503:  # there may be thousands in a second, and the metrics count them
        level = logging.DEBUG
    elif status < 500:
        level = logging.INFO
    else:
        level = logging.WARNING
    if logger.isEnabledFor(level):
        id_, seconds = scope["request_id"], round(duration_s, 4)
        extra = {"request_id": id_, "status": status, "code": code or None, "duration_s": seconds}
        # the path as it was sent: decoded, it may hold the end of a line
        logger.log(level, "%s %s", scope["method"], scope["raw_path"].decode("ascii", "replace"), extra=extra)


class JsonFormatter(logging.Formatter):
    """A JSON object: time, level, logger, process and message; of a request, ``FIELDS``; of an error, its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.processName,
            "message": record.getMessage(),
        }
        entry |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(entry, default=str).decode()


class TextFormatter(logging.Formatter):
    """The level, the message and, of a request, ``FIELDS``; a traceback takes more lines."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, or more."""
        fields = "".join(f" {name}={value}" for name in FIELDS if (value := getattr(record, name, None)) is not None)
        traceback = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return f"{record.levelname.lower()}: {record.getMessage()}{fields}{traceback}"
