"""LitServe's server with our own transport, supervision and shutdown in place of its own.

Private methods are overridden here: ``tests/test_server_litserve.py`` holds what is leant on in each.
"""

import asyncio
import ctypes
import gc
import logging
import math
import multiprocessing
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from litserve import LitAPI, LitServer
from litserve.server import response_queue_to_buffer
from litserve.utils import WorkerSetupStatus
from starlette.requests import Request
from starlette.responses import Response

from eventmodel.bundle import Bundle
from server.admission import Room
from server.handler import ModelClient, PredictHandler
from server.head import PlainHttp
from server.logs import configure_logs
from server.metrics import IN_FLIGHT, QUEUE_DEPTH, READY, RESTARTS
from server.model_status import ModelStatus
from server.processes import begin_child, uninterrupted
from server.settings import Settings
from server.transport import AnswerTransport, RequestQueue

logger = logging.getLogger("eventmodel")

_LOOK_S = 0.5
"""How often the main process looks whether the model process is stuck."""
_MOST_FAILED_STARTS = 5
"""Processes of a kind in a row that die before they are ready, after which the server gives up."""
_GRACE_S = 5
"""On top of the timeout of requests, for HTTP processes to finish in."""
_KEEP_ALIVE_S = 75
"""Longer than load balancers keep idle connections (60 s), so that it is not the server that closes them."""


class StartError(RuntimeError):
    """A process did not start, or not again."""


class EventServer(LitServer):
    """HTTP processes that are forked from this one, one model process, and their supervision.

    Args:
        api: what is served.
        settings: of the server.
        bundle: for rendering.
        status: of the model process.
    """

    def __init__(self, api: LitAPI, settings: Settings, bundle: Bundle, status: ModelStatus) -> None:
        self.settings, self.bundle, self.status = settings, bundle, status
        self._directory = tempfile.TemporaryDirectory(prefix="eventmodel-")
        directory = Path(self._directory.name)
        self._transport = AnswerTransport(directory)
        self._queue = RequestQueue(directory)
        self._pending: dict[int, Any] = {}
        self.client = ModelClient(self._queue, self._pending, status, sum(bundle.codec.sizes))
        self._is_up = multiprocessing.RawArray(ctypes.c_bool, settings.http_processes)
        self._is_ending = multiprocessing.RawValue(ctypes.c_bool)
        """HTTP processes are to answer what they have, and end."""
        self._failed_starts = self._failed_http_starts = 0
        self.room = Room(settings.max_queue, settings.http_processes)
        super().__init__(
            api,
            accelerator="cpu",  # one worker; the engine finds its own device, and this process never imports torch
            timeout=settings.timeout_s,
            restart_workers=True,
        )
        self.response_buffer = cast(Any, self._pending)

    # --- what is served -----------------------------------------------------------------

    def _register_internal_endpoints(self) -> None:
        """None of LitServe's: ``server.probes`` has ours."""

    def _register_middleware(self) -> None:
        """None of LitServe's: it would compress, for more than the time that all the rest takes."""

    def _register_api_endpoints(self, lit_api: LitAPI, request_type: Any, response_type: Any) -> None:
        handler = PredictHandler(lit_api, self, self.client, self.bundle, self.settings.max_body_bytes)

        async def endpoint(request: Request) -> Response:
            return await handler.handle_request(request, request_type)

        # a plain route: FastAPI's own would take as long as reading the request does
        self.app.add_route(lit_api.api_path, endpoint, methods=["POST"])

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Of one HTTP process: receive answers, and follow the model process."""
        for gauge in (IN_FLIGHT, QUEUE_DEPTH):
            gauge.set(0)  # a predecessor may have died with requests in it
        consumer: int = app.response_queue_id  # type: ignore[attr-defined]
        gc.freeze()  # what is there now stays; looking through it again and again takes time from requests
        self.client.start()
        self.room.start(consumer)
        self._is_up[consumer] = True
        tasks = [
            asyncio.create_task(
                response_queue_to_buffer(self._transport, self.response_buffer, consumer, self.litapi_connector)
            ),
            asyncio.create_task(self.client.follow()),
        ]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- the processes ------------------------------------------------------------------

    def _init_manager(self, num_api_servers: int) -> None:
        """No manager process: the status is shared memory, and queues are sockets."""
        configure_logs(self.settings)  # once more: LitServe has done it its way when it began to run
        self.workers_setup_status = self.status
        self.litapi_request_queues = {api.api_path: self._queue for api in self.litapi_connector}

    def launch_inference_worker(self, lit_api: LitAPI) -> list[BaseProcess]:
        """The model process, when the server starts."""
        with uninterrupted():
            return cast(list[BaseProcess], super().launch_inference_worker(lit_api))

    def launch_single_inference_worker(self, lit_api: LitAPI, worker_id: int) -> BaseProcess:
        """Another one, when it has died."""
        with uninterrupted():
            return super().launch_single_inference_worker(lit_api, worker_id)

    def verify_worker_status(self) -> None:
        """Wait until the model is loaded.

        Raises:
            StartError: it cannot be.
        """
        process = self._model_process
        while self.status.state != WorkerSetupStatus.READY:
            if process.exitcode is not None:
                raise StartError(f"the model process does not start: {self._why_not(process)}")
            wait([process.sentinel], timeout=0.05)

    def _start_server(
        self, port: int, num_uvicorn_servers: int, log_level: str, sockets: list[socket.socket], *_: Any, **kwargs: Any
    ) -> dict[int, BaseProcess]:
        self._sockets = sockets
        self._uvicorn_arguments = {"port": port, "log_level": log_level, **kwargs}
        return {number: self._start_http_process(number) for number in range(num_uvicorn_servers)}

    def _start_http_process(self, number: int) -> BaseProcess:
        """Fork one from this process, which has no other threads, no zmq socket and no event loop."""
        process = multiprocessing.get_context("fork").Process(
            target=self._run_http_process, args=(number,), name=f"http-{number}"
        )
        self._is_up[number] = False
        with uninterrupted():
            process.start()
        return process

    def _run_http_process(self, number: int) -> None:
        begin_child()
        self.app.response_queue_id = number
        config = uvicorn.Config(
            app=self.app,
            timeout_graceful_shutdown=math.ceil(self.settings.timeout_s + _GRACE_S),
            timeout_keep_alive=_KEEP_ALIVE_S,
            server_header=False,
            http=PlainHttp,
            ws="none",
            **self._uvicorn_arguments,
        )
        _HttpServer(config, self._is_ending).run(self._sockets)

    def _start_worker_monitoring(self, manager: object, uvicorn_workers: dict[int, BaseProcess]) -> None:
        """Keep all processes running until a signal ends it; LitServe would look after the model process alone."""
        while True:
            self._look_after(uvicorn_workers, _LOOK_S)

    def _look_after(self, http: dict[int, BaseProcess], for_s: float) -> None:
        """Wait so long for the end of a process, and start another one in its place.

        Raises:
            StartError: those do not start either.
        """
        _await_end([self._model_process, *http.values()], for_s)
        for number, process in http.items():
            if process.exitcode is not None:
                self._failed_http_starts = 0 if self._is_up[number] else self._failed_http_starts + 1
                if self._failed_http_starts >= _MOST_FAILED_STARTS:
                    raise StartError(f"HTTP process {number} does not start: exit code {process.exitcode}")
                logger.error("HTTP process %d died (%s); another one starts.", number, process.exitcode)
                RESTARTS.labels("http").inc()
                http[number] = self._start_http_process(number)
        self._look_after_model()
        READY.set(self.status.readiness == "ready")

    def _look_after_model(self) -> None:
        model = self._model_process
        if self.status.is_stuck:
            logger.error("The model process is stuck; it is killed.")
            model.kill()
            model.join()
        if self.status.state == WorkerSetupStatus.READY:
            self._failed_starts = 0
        if model.exitcode is not None:
            self._failed_starts += self.status.state != WorkerSetupStatus.READY
            if self._failed_starts >= _MOST_FAILED_STARTS:
                raise StartError(f"the model process does not start: {self._why_not(model)}")
            self._restart_model(model, delay_s=0.1 * (2**self._failed_starts - 1))

    def _restart_model(self, dead: BaseProcess, delay_s: float) -> None:
        logger.error("The model process died (%s); another one starts.", dead.exitcode)
        RESTARTS.labels("model").inc()
        self.status.next_generation()
        time.sleep(delay_s)
        self.inference_workers = [self.launch_single_inference_worker(self.lit_api, 0)]

    @property
    def _model_process(self) -> BaseProcess:
        return self.inference_workers[0]

    def _why_not(self, process: BaseProcess) -> str:
        return self.status.failure or f"it ended with exit code {process.exitcode}"

    # --- the end ------------------------------------------------------------------------

    def run(self, **kwargs: Any) -> None:
        """Serve until SIGTERM or Ctrl-C, and leave no process and no file behind.

        Raises:
            StartError: a process did not start.
        """
        self.inference_workers = []
        try:
            with suppress(KeyboardInterrupt):  # one that comes while the model loads
                super().run(**kwargs)
        finally:
            for process in multiprocessing.active_children():
                process.kill()
                process.join()
            self._directory.cleanup()

    def _perform_graceful_shutdown(
        self, manager: object, uvicorn_workers: dict[int, BaseProcess], shutdown_reason: str = ""
    ) -> None:
        """Not ready, then no new connections, then the last answers, then the end.

        Until there, a process that dies is replaced as ever, for the requests that have been taken.
        """
        logger.info("The server shuts down.")
        self.status.stop()
        READY.set(0)
        was_asked = shutdown_reason == "keyboard_interrupt"  # else a process does not start
        end = time.monotonic() + self.settings.shutdown_delay_s
        while was_asked and (left_s := end - time.monotonic()) > 0:
            self._look_after(uvicorn_workers, min(left_s, _LOOK_S))
        for listening in self._sockets:
            listening.close()
        self._is_ending.value = True
        end = time.monotonic() + self.settings.timeout_s + 2 * _GRACE_S
        while (left_s := end - time.monotonic()) > 0 and (http := _running(uvicorn_workers.values())):
            _await_end([*http, self._model_process] if was_asked else http, min(left_s, _LOOK_S))
            if was_asked:
                self._look_after_model()
        self._model_process.kill()
        self._model_process.join(_GRACE_S)


def _running(processes: Iterable[BaseProcess]) -> list[BaseProcess]:
    return [process for process in processes if process.exitcode is None]


def _await_end(processes: Sequence[BaseProcess], for_s: float) -> None:
    """Wait so long for the end of the first of some processes."""
    of = {process.sentinel: process for process in processes}
    for sentinel in wait(list(of), timeout=for_s):
        of[cast(int, sentinel)].join(_LOOK_S)  # its end is seen before its exit code is there


class _HttpServer(uvicorn.Server):
    """Ends when the main process says so, and by no signal: those come from anybody, to all processes at once."""

    def __init__(self, config: uvicorn.Config, is_ending: ctypes.c_bool) -> None:
        super().__init__(config)
        self._is_ending = is_ending

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        self.should_exit |= self._is_ending.value
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Nothing; uvicorn takes signals as ``begin_child`` had not left them."""
