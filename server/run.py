"""Serve a bundle: ``python -m server.run --bundle BUNDLE``; ``--help`` lists the settings."""

import logging
import os
import socket
import sys
import tempfile
from functools import partial

from pydantic import ValidationError

from eventmodel.bundle import load_bundle
from eventmodel.engine.opening import check_backend
from server.engine import OpenEngine, open_bundle_engine
from server.logs import configure_logs
from server.metrics_directory import metrics_directory
from server.processes import stop_on_signals
from server.settings import Settings, explain_settings, misspelt_variables, read_settings

logger = logging.getLogger("eventmodel")

_LONGEST_DIRECTORY = 70
"""Of the 107 bytes that a socket's path may have, the server's own part takes the rest."""
_ROOM = 131_072
"""Bytes in that directory that a process's counters may take."""
WRONG_USE = 2
"""Exit status where the command line, the bundle or the port is at fault; 1 is a server that failed."""


def main() -> int:
    """Read the settings and serve the bundle that they name; returns the exit status."""
    try:
        settings = read_settings()
    except ValidationError as error:
        reason = explain_settings(error)
        print(f"error: these settings do not work:\n{reason}\nSee python -m server.run --help.", file=sys.stderr)
        return WRONG_USE
    open_engine = partial(
        open_bundle_engine,
        backend=settings.backend,
        device=settings.device,
        threads=settings.threads,
        state_cache_mib=settings.state_cache_mib,
    )
    return serve(settings, open_engine)


def serve(settings: Settings, open_engine: OpenEngine) -> int:
    """Serve until SIGTERM or Ctrl-C, then finish what was received.

    Args:
        open_engine: called once, in the model process.

    Returns:
        The exit status.
    """
    stop_on_signals()
    try:
        return _serve(settings, open_engine)
    except KeyboardInterrupt:  # before there was anything to stop
        return 0


def _serve(settings: Settings, open_engine: OpenEngine) -> int:
    configure_logs(settings)
    if unknown := misspelt_variables(os.environ):
        logger.warning("No settings, and so without effect: %s.", ", ".join(unknown))
    try:
        bundle = load_bundle(settings.bundle)
        check_backend(bundle, settings.backend)
        _check_port(settings)
        _check_temporary_directory(settings)
    except ValueError as error:
        return _complain(str(error))
    with metrics_directory():
        # these import prometheus_client, which needs the directory
        from server.app import build_server
        from server.lit_server import StartError

        server = build_server(settings, bundle, open_engine)
        try:
            server.run(
                host=settings.host,
                port=settings.port,
                num_api_servers=settings.http_processes,
                log_level=settings.log_level,
                generate_client_file=False,
                log_config=None,  # see server.logs
                access_log=False,
            )
        except StartError as error:
            return _complain(str(error), status=1)
    return 0


def _check_port(settings: Settings) -> None:
    """Find a busy port at once rather than after the model is loaded."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            reason = f"cannot listen on {settings.host} port {settings.port} ({error.strerror})"
            raise ValueError(f"{reason}; choose another with --port") from None


def _check_temporary_directory(settings: Settings) -> None:
    """The address of a local socket is a path, and a short one; counters are files that are written as memory is.

    Where there is no room for these, the system ends whoever writes, without a word.
    """
    try:
        directory = tempfile.gettempdir()
        with tempfile.TemporaryFile() as file:
            if sys.platform == "linux":
                os.posix_fallocate(file.fileno(), 0, _ROOM * (2 + settings.http_processes))
    except OSError as error:
        reason = f"there is no room for temporary files ({error.strerror})"
        raise ValueError(f"{reason}; make some, or name another directory in TMPDIR") from None
    if len(os.fsencode(directory)) > _LONGEST_DIRECTORY:
        reason = f"the directory for temporary files, {directory}, is longer than {_LONGEST_DIRECTORY} bytes"
        raise ValueError(f"{reason}, too long for the sockets in it; name another in TMPDIR")


def _complain(message: str, status: int = WRONG_USE) -> int:
    logger.error(message)
    return status


if __name__ == "__main__":
    sys.exit(main())
