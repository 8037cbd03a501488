"""What we lean on in LitServe 0.2.19 beyond its documentation: an upgrade that moves it fails here first.

That it works is for the tests that run the server, with real processes.
"""

import inspect
from importlib.metadata import version

import litserve
import pytest
import uvicorn
from litserve.loops import LitLoop, inference_worker
from litserve.server import RegularRequestHandler, response_queue_to_buffer
from litserve.transport.base import MessageTransport
from litserve.utils import ResponseBufferItem, WorkerSetupStatus

from server.lit_server import EventServer
from server.model_status import ModelStatus


def source(method: object) -> str:
    return inspect.getsource(method)  # type: ignore[arg-type]


def parameters(method: object) -> list[str]:
    return list(inspect.signature(method).parameters)[1:]  # type: ignore[arg-type]


def test_the_version_is_the_one_that_was_measured() -> None:
    assert version("litserve") == "0.2.19"


OVERRIDDEN = {
    "run": [
        "host",
        "port",
        "num_api_servers",
        "log_level",
        "generate_client_file",
        "api_server_worker_type",
        "pretty_logs",
        "kwargs",
    ],
    "lifespan": ["app"],
    "launch_inference_worker": ["lit_api"],
    "launch_single_inference_worker": ["lit_api", "worker_id"],
    "verify_worker_status": [],
    "_register_internal_endpoints": [],
    "_register_middleware": [],
    "_register_api_endpoints": ["lit_api", "request_type", "response_type"],
    "_init_manager": ["num_api_servers"],
    "_start_server": ["port", "num_uvicorn_servers", "log_level", "sockets", "uvicorn_worker_type", "kwargs"],
    "_start_worker_monitoring": ["manager", "uvicorn_workers"],
    "_perform_graceful_shutdown": ["manager", "uvicorn_workers", "shutdown_reason"],
}


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_a_method_that_is_overridden_is_there_and_takes_the_same(name: str) -> None:
    assert name in vars(EventServer)
    found = parameters(getattr(litserve.LitServer, name))
    assert found == OVERRIDDEN[name]


def test_nothing_else_of_litserve_s_server_is_overridden() -> None:
    assert set(vars(litserve.LitServer)) & set(vars(EventServer)) - {"__init__", "__module__", "__doc__"} == set(
        OVERRIDDEN
    )


def test_run_calls_what_is_overridden_in_this_order() -> None:
    code = source(litserve.LitServer.run)
    calls = [
        "configure_logging(log_level, ",
        "sockets = [config.bind_socket()]",
        "self._init_manager(num_api_servers)",
        "self.launch_inference_worker(lit_api)",
        "self.verify_worker_status()",
        "self._start_server(",
        "self._start_worker_monitoring(manager, uvicorn_workers)",
        "except KeyboardInterrupt:",
        'shutdown_reason = "keyboard_interrupt"',
        "self._perform_graceful_shutdown(manager, uvicorn_workers, shutdown_reason)",
    ]
    places = [code.index(call) for call in calls]
    assert places == sorted(places)


def test_the_constructor_registers_endpoints_and_middleware() -> None:
    code = source(litserve.LitServer.__init__)
    assert "FastAPI(lifespan=self.lifespan" in code
    assert "self.response_buffer" in code  # ours is set after it
    assert code.index("self.register_endpoints()") < code.index("self._register_middleware()")


def test_a_model_process_gets_queue_transport_and_status() -> None:
    for launch in (litserve.LitServer.launch_inference_worker, litserve.LitServer.launch_single_inference_worker):
        code = source(launch)
        assert 'mp.get_context("spawn")' in code
        assert "self._get_request_queue(lit_api.api_path)" in code
        assert "self._transport" in code
        assert "self.workers_setup_status," in code
    assert parameters(litserve.LitServer.launch_single_inference_worker) == ["lit_api", "worker_id"]


def test_a_model_process_reports_to_the_status() -> None:
    code = source(inference_worker)
    assert "if workers_setup_status:" in code
    assert "except Exception:" in code  # so that SystemExit ends it
    status = ModelStatus(1, 1)
    assert status
    for state in (WorkerSetupStatus.STARTING, WorkerSetupStatus.READY, WorkerSetupStatus.ERROR):
        status["predict_0"] = state
        assert status.values() == [state]


def test_a_loop_is_called_once_with_the_queue_and_the_transport() -> None:
    ours = ["lit_api", "device", "worker_id", "request_queue", "transport", "workers_setup_status", "callback_runner"]
    assert parameters(LitLoop.__call__) == ours
    assert "    loop(\n" in source(inference_worker)


def test_the_receiving_task_fills_the_buffer_by_uid() -> None:
    code = source(response_queue_to_buffer)
    assert parameters(response_queue_to_buffer) == ["response_buffer", "consumer_id", "litapi_connector"]
    assert "result = await transport.areceive(consumer_id)" in code
    assert "uid, (*response, response_type, worker_id) = result" in code
    assert "response_item = response_buffer.get(uid)" in code
    assert code.rstrip().count("response_item.response = response\n                response_item.event.set()") == 1
    assert [f for f in ResponseBufferItem.__dataclass_fields__ if f in ("event", "response")] == ["event", "response"]
    assert {"send", "areceive", "close"} <= set(vars(MessageTransport))


def test_a_handler_takes_the_request_and_its_type() -> None:
    assert parameters(RegularRequestHandler.__init__) == ["lit_api", "server"]
    assert parameters(RegularRequestHandler.handle_request) == ["request", "request_type"]


def test_uvicorn_ends_on_a_signal_through_handle_exit() -> None:
    assert "self.handle_exit" in source(uvicorn.Server.capture_signals)
    assert "self.should_exit = True" in source(uvicorn.Server.handle_exit)
