"""Where the processes of one server keep their counters.

Imports no prometheus_client, because that looks for the directory when it is imported.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def metrics_directory() -> Iterator[None]:
    """An empty directory for the counters, named in the environment for all processes that come.

    Enter it in the main process, before the first import of ``server.metrics``: prometheus_client
    looks at the variable once, when it is imported. Each start has a directory of its own, so that
    nothing is counted twice.
    """
    with tempfile.TemporaryDirectory(prefix="eventmodel-metrics-") as directory:
        os.environ[VARIABLE] = directory
        try:
            yield
        finally:
            del os.environ[VARIABLE]
