"""What ``/metrics`` adds up."""

import subprocess
import sys

READ_BESIDE_A_NEW_FILE = """
import os
from pathlib import Path
from server.metrics_directory import VARIABLE, metrics_directory

with metrics_directory():
    from server.metrics import REQUESTS, metrics

    REQUESTS.labels("200").inc(3)
    (Path(os.environ[VARIABLE]) / "counter_1.db").touch()
    print(metrics().body.decode())
"""


def test_a_process_that_is_about_to_count_does_not_disturb_the_metrics() -> None:
    done = subprocess.run([sys.executable, "-c", READ_BESIDE_A_NEW_FILE], capture_output=True, text=True, check=True)
    assert 'eventmodel_requests_total{status="200"} 3.0' in done.stdout
