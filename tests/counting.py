"""By how much a metric of this process grows."""

from collections.abc import Callable

from prometheus_client import REGISTRY


def counted(count: Callable[[], object], name: str, **labels: str) -> float:
    """By how much the metric grows meanwhile; 0 where it is not there before."""

    def value() -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    before = value()
    count()
    return value() - before
