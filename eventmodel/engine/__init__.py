"""What serves a batch of queries, without HTTP."""

from eventmodel.engine.engine import Engine, open_engine
from eventmodel.engine.query import Answer, Histories, Query

__all__ = ["Answer", "Engine", "Histories", "Query", "open_engine"]
