"""The LitServe API: what the model process does."""

import logging
from collections.abc import Sequence

import litserve

from eventmodel.bundle import Bundle
from eventmodel.engine.query import Answer, Query
from eventmodel.request.reader import read_request
from server.drift import DriftCounters
from server.engine import OpenEngine
from server.logs import configure_logs
from server.loop import QueueLoop
from server.model_status import ModelStatus
from server.processes import begin_child
from server.settings import Settings

PATH = "/predict"

logger = logging.getLogger("eventmodel")


class PredictAPI(litserve.LitAPI):
    """Answers batches of queries with an engine.

    Args:
        bundle: what is served.
        open_engine: called once, in the model process.
        settings: of the server.
        status: where the model process says why it cannot start.
    """

    def __init__(self, bundle: Bundle, open_engine: OpenEngine, settings: Settings, status: ModelStatus) -> None:
        super().__init__(api_path=PATH, max_batch_size=settings.max_batch_size, loop=QueueLoop())
        self.bundle, self.open_engine, self.settings, self.status = bundle, open_engine, settings, status

    def setup(self, device: str) -> None:
        """Open the engine and answer the bundle's example, which warms it up and shows that it works.

        Args:
            device: LitServe's idea of a device; the engine has its own.

        Raises:
            SystemExit: the model does not load; the main process says why.
        """
        begin_child()
        configure_logs(self.settings)
        try:
            self.engine = self.open_engine(self.bundle)
            self.drift = DriftCounters(self.bundle.codec)
            self.example = read_request(self.bundle.example, self.bundle).query
            self.check()
        except Exception as error:
            self.status.fail(f"{type(error).__name__}: {error}")
            if not isinstance(error, ValueError | OSError):  # those say all themselves
                logger.exception("The model does not load.")
            raise SystemExit(1) from None

    def check(self) -> None:
        """Answer the bundle's example; raises what the engine raises."""
        self.predict([self.example])

    def predict(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer a batch; raises what the engine raises."""
        return self.engine.answer(list(queries), self.status.beat)

    def count(self, queries: Sequence[Query], answers: Sequence[Answer]) -> None:
        """Count an answered batch, while the model works on the next one."""
        self.engine.count()
        self.drift.count(queries, answers)

    def publish(self) -> None:
        """Let the metrics show what was counted; called often, it does so about once a second."""
        self.drift.publish()
