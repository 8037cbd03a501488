"""What serves a batch of queries, without HTTP."""

from eventmodel.engine.engine import Engine
from eventmodel.engine.opening import open_engine
from eventmodel.engine.query import Answer, Histories, Query, Sampling

__all__ = ["Answer", "Engine", "Histories", "Query", "Sampling", "open_engine"]
