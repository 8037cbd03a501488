"""Our server with an engine that has its answer ready: what everything but the model costs.

python -m benchmarks.serving.instant --bundle BUNDLE [any setting of the server]
"""

import os
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from eventmodel.bundle import Bundle
from eventmodel.engine.query import Answer, Query
from server.run import serve
from server.settings import read_settings

BATCH_S = "INSTANT_ENGINE_BATCH_S"
"""Environment variable: seconds that a batch takes all the same."""


class InstantEngine:
    """Gives the same distribution to everybody.

    Args:
        bundle: whose categories it has.
    """

    def __init__(self, bundle: Bundle) -> None:
        chance, sizes = np.random.default_rng(0), bundle.codec.sizes
        logits = [chance.normal(size=size) for size in sizes]
        self._log_probs = np.concatenate([x - np.log(np.exp(x).sum()) for x in logits])[None].astype(np.float32)
        self._ids = np.array([[[x.argmax() for x in logits]]], np.int32)
        self._log_prob = np.array([[sum(x.max() - np.log(np.exp(x).sum()) for x in logits)]], np.float32)
        self._batch_s = float(os.environ.get(BATCH_S, 0))

    def answer(self, queries: Sequence[Query], on_step: Callable[[], None]) -> list[Answer]:
        """One event each, a minute after now."""
        time.sleep(self._batch_s)
        moments = [np.array([[query.now + 60_000_000]]) for query in queries]
        return [Answer(self._log_probs, self._ids, moment, self._log_prob) for moment in moments]

    def count(self) -> None:
        """Nothing that the metrics could show."""


if __name__ == "__main__":
    sys.exit(serve(read_settings(), InstantEngine))
