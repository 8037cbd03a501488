"""What the server counts of its engine."""

import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from counting import counted
from prometheus_client import REGISTRY
from server_example import FakeEngine, two_queries

from eventmodel.bundle import Bundle
from server.counted_engine import CountedEngine


def batch(bundle: Bundle) -> Callable[[], None]:
    """Answers two queries, and counts what that took."""
    engine, queries = CountedEngine(FakeEngine(bundle)), two_queries(bundle)

    def answer_and_count() -> None:
        engine.answer(queries, lambda: None)
        engine.count()

    return answer_and_count


@pytest.mark.parametrize(
    ("name", "labels", "per_query"),
    [
        ("eventmodel_states_total", {"source": "cached"}, 1),
        ("eventmodel_states_total", {"source": "encoded"}, 1),
        ("eventmodel_encoded_positions_total", {"kind": "real"}, 3),
        ("eventmodel_encoded_positions_total", {"kind": "padding"}, 1),
        ("eventmodel_stage_duration_seconds_count", {"stage": "encode"}, 1),
        ("eventmodel_stage_duration_seconds_count", {"stage": "decode"}, 1),
    ],
)
def test_each_batch_is_counted_once(example_bundle: Bundle, name: str, labels: dict[str, str], per_query: int) -> None:
    answer_and_count = batch(example_bundle)
    answer_and_count()
    assert counted(answer_and_count, name, **labels) == 2 * per_query


def test_a_batch_that_fails_has_taken_its_own_time_and_none_of_the_next_one(
    example_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = CountedEngine(inner := FakeEngine(example_bundle))
    queries, answer = two_queries(example_bundle), inner.answer

    def fail(*arguments: object) -> None:
        answer(queries)
        inner.statistics.seconds += 100
        raise FloatingPointError

    monkeypatch.setattr(inner, "answer", fail)
    with pytest.raises(FloatingPointError):
        engine.answer(queries, lambda: None)
    monkeypatch.undo()
    engine.count()

    def next_one() -> None:
        engine.answer(queries, lambda: None)
        engine.count()

    assert 0 <= counted(next_one, "eventmodel_stage_duration_seconds_sum", stage="encode") < 100


def test_encoding_and_decoding_are_the_engine_s_whole_time(
    example_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ENGINE_BATCH_S", "0.1")  # after encoding
    answer_and_count = batch(example_bundle)
    sums = [
        counted(answer_and_count, "eventmodel_stage_duration_seconds_sum", stage=stage)
        for stage in ("encode", "decode")
    ]
    assert 0 < sums[0] < 0.1 < sums[1] + sums[0]
    assert sums[1] / 2 == pytest.approx(0.1, abs=0.05)  # each of the two requests was there for all of it


def test_the_memory_of_a_gpu_is_told_where_torch_works_on_one(
    example_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = CountedEngine(FakeEngine(example_bundle))
    cuda = SimpleNamespace(is_initialized=lambda: False, memory_allocated=lambda: 5, memory_reserved=lambda: 8)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    engine.count()
    assert REGISTRY.get_sample_value("eventmodel_gpu_memory_bytes", {"kind": "reserved"}) is None
    cuda.is_initialized = lambda: True
    engine.count()
    found = [REGISTRY.get_sample_value("eventmodel_gpu_memory_bytes", {"kind": k}) for k in ("allocated", "reserved")]
    assert found == [5, 8]
