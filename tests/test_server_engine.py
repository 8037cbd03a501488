"""What the server counts of its engine."""

from dataclasses import dataclass, field

from prometheus_client import REGISTRY

from eventmodel.engine.states import Statistics
from server.engine import CountedEngine


@dataclass
class StandIn:
    """Encodes 3 of 5 histories each time."""

    statistics: Statistics = field(default_factory=Statistics)

    def answer(self, queries: list[object]) -> list[object]:
        self.statistics.hits += 2
        self.statistics.misses += 3
        self.statistics.tokens += 70
        self.statistics.padding += 7
        return queries


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_each_batch_is_counted_once() -> None:
    engine = CountedEngine(StandIn())  # type: ignore[arg-type]
    names = [("eventmodel_states_total", {"source": "cached"}), ("eventmodel_states_total", {"source": "encoded"})]
    names += [("eventmodel_encoded_positions_total", {"kind": kind}) for kind in ("real", "padding")]
    before = [value(name, **labels) for name, labels in names]
    for _ in range(2):
        assert engine.answer([1]) == [1]  # type: ignore[comparison-overlap, list-item]
    assert [value(name, **labels) - b for (name, labels), b in zip(names, before, strict=True)] == [4, 6, 140, 14]
