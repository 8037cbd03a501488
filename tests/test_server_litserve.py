"""What we lean on in LitServe 0.2.19 beyond its documentation: an upgrade that moves it fails here first.

That it works is for ``test_server_http.py``, with real processes.
"""

import inspect
from importlib.metadata import version

import litserve
from litserve.loops import LitLoop, inference_worker
from litserve.server import BaseRequestHandler, LitServer
from litserve.utils import LitAPIStatus


def test_the_version_is_the_one_that_was_measured() -> None:
    assert version("litserve") == "0.2.19"


def test_a_loop_is_called_once_with_the_queue_and_the_transport() -> None:
    ours = ["lit_api", "device", "worker_id", "request_queue", "transport", "workers_setup_status", "callback_runner"]
    assert list(inspect.signature(LitLoop.__call__).parameters)[1:] == ours
    assert "    loop(\n" in inspect.getsource(inference_worker)


def test_a_loop_answers_through_put_response() -> None:
    names = ["transport", "response_queue_id", "uid", "response_data", "status", "response_type"]
    assert list(inspect.signature(LitLoop.put_response).parameters)[1:] == names
    assert LitAPIStatus.OK == "OK"


def test_a_queued_request_is_consumer_uid_time_payload() -> None:
    source = inspect.getsource(BaseRequestHandler._submit_request)
    assert "request_queue.put((response_queue_id, uid, time.monotonic(), payload))" in source


def test_the_app_knows_the_number_of_its_http_process() -> None:
    assert "self.app.response_queue_id = response_queue_id" in inspect.getsource(LitServer._start_server)


def test_work_is_finished_on_a_keyboard_interrupt() -> None:
    source = inspect.getsource(LitServer.run)
    assert "except KeyboardInterrupt:" in source
    assert "self._perform_graceful_shutdown" in source


def test_the_annotation_of_decode_request_reaches_fastapi() -> None:
    assert 'parameters["request"].annotation' in inspect.getsource(litserve.LitServer.register_endpoints)
