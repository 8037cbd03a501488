"""The engine as the server sees it, and how the model process gets one."""

from collections.abc import Callable
from typing import Protocol

from eventmodel.bundle import Bundle, load_bundle
from eventmodel.engine.backend import BackendName, DeviceName
from eventmodel.engine.query import Answer, Query


class Engine(Protocol):
    """What the server needs of an engine."""

    def answer(self, queries: list[Query], on_step: Callable[[], None]) -> list[Answer]:
        """One answer per query, in their order; calls ``on_step`` now and then.

        Raises:
            FloatingPointError: the model gave something that is no number.
        """
        ...

    def count(self) -> None:
        """Let the metrics show what it has done; in any thread."""
        ...


OpenEngine = Callable[[Bundle], Engine]
"""Opens an engine. It crosses to the model process, so it pickles."""


def open_bundle_engine(
    bundle: Bundle, *, backend: BackendName, device: DeviceName, threads: int, state_cache_mib: int
) -> Engine:
    """Open the bundle's own engine.

    Raises:
        ValueError: the bundle or the machine lacks what the backend needs, or the directory has another bundle by now.
    """
    # Imported here: only the model process may load an inference library, and the metrics need their directory.
    from eventmodel.engine import open_engine
    from server.counted_engine import CountedEngine

    engine = CountedEngine(open_engine(bundle, backend, device, threads, state_cache_mib * 2**20))
    # afterwards, so that what was opened is looked at: a process that replaces a dead one may find another model
    if load_bundle(bundle.path) != bundle:
        raise ValueError(
            f"{bundle.path} is no longer the bundle {bundle.version} that this server began with; restart it"
        )
    return engine
