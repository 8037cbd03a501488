"""Rollouts that are drawn: reproducible, true to the chain's probabilities, and possible."""

import numpy as np
import pytest
from test_engine import query

from eventmodel.bundle import Bundle
from eventmodel.engine import Answer, Engine, Query, Sampling, open_engine
from eventmodel.engine.query import SAMPLES
from eventmodel.event_log import EventLog
from training.sampling import Sampler


@pytest.fixture(scope="module", params=("torch", "onnx"))
def engine(request: pytest.FixtureRequest, bundle: Bundle) -> Engine:
    return open_engine(bundle, request.param, "cpu", threads=1)


@pytest.fixture(scope="module")
def queries(small_log: EventLog, bundle: Bundle) -> list[Query]:
    positions = Sampler(small_log, bundle.config, small_log.train_end, len(small_log.events.timestamp)).positions
    return [query(small_log, bundle, int(p), horizon=1 + i) for i, p in enumerate(positions[::29][:3])]


def drawn(engine: Engine, query_: Query, **sampling: float) -> Answer:
    return engine.answer([query_._replace(sampling=Sampling(**{"num_samples": 12} | sampling))])[0]  # type: ignore[arg-type]


def test_every_sample_is_a_rollout_of_its_own(engine: Engine, queries: list[Query]) -> None:
    answer = drawn(engine, queries[2])
    assert answer.ids.shape[:2] == answer.timestamp.shape == answer.log_prob.shape == (12, 3)
    assert len({ids.tobytes() for ids in answer.ids}) == 12


def test_the_same_seed_gives_the_same_rollouts_whatever_the_neighbours(engine: Engine, queries: list[Query]) -> None:
    asked = [q._replace(sampling=Sampling(8, seed=3)) if i != 1 else q for i, q in enumerate(queries)]
    for one, together in zip(asked, engine.answer(asked), strict=True):
        assert (engine.answer([one])[0].ids == together.ids).mean() > 0.99  # rounding may break a tie otherwise


def test_every_event_is_a_sign_of_life(engine: Engine, queries: list[Query]) -> None:
    steps: list[int] = []
    engine.answer([query._replace(horizon=3) for query in queries], lambda: steps.append(1))
    assert len(steps) == 3


def test_the_work_of_a_query_is_the_events_that_it_generates(queries: list[Query]) -> None:
    query = queries[0]._replace(horizon=3)
    assert query.work == 3
    assert query._replace(sampling=Sampling(7)).work == 21
    assert query._replace(quantiles=(0.5,)).work == 3 * (1 + SAMPLES)
    assert query._replace(sampling=Sampling(7), quantiles=(0.5,)).work == 21


def test_quantiles_of_drawn_rollouts_are_those_of_their_times(engine: Engine, queries: list[Query]) -> None:
    asked = [q._replace(horizon=3, quantiles=(0.25, 0.5)) for q in queries]
    for answer in engine.answer([q._replace(sampling=Sampling(8)) for q in asked]):
        assert answer.when is not None
        np.testing.assert_array_equal(answer.when, np.sort(answer.timestamp, axis=0)[[1, 3]].T)


def test_another_seed_gives_other_rollouts(engine: Engine, queries: list[Query]) -> None:
    assert not np.array_equal(drawn(engine, queries[1], seed=1).ids, drawn(engine, queries[1], seed=2).ids)


def test_more_samples_begin_with_the_fewer(engine: Engine, queries: list[Query]) -> None:
    few, many = drawn(engine, queries[1], num_samples=3), drawn(engine, queries[1], num_samples=300)
    assert (few.ids == many.ids[:3]).mean() > 0.99


@pytest.mark.parametrize("almost_greedy", [{"temperature": 1e-4}, {"top_p": 1e-4}])
def test_little_freedom_is_greedy(engine: Engine, queries: list[Query], almost_greedy: dict[str, float]) -> None:
    greedy = engine.answer(queries)
    for q, expected in zip(queries, greedy, strict=True):
        assert (drawn(engine, q, **almost_greedy).ids == expected.ids).all()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 1.0), (1.0, 0.7), (1.5, 0.9)])
def test_frequencies_are_the_chain_s_probabilities(
    engine: Engine, queries: list[Query], temperature: float, top_p: float
) -> None:
    n, size = 2000, engine.codec.sizes[0]
    answer = drawn(engine, queries[0], num_samples=n, temperature=temperature, top_p=top_p)
    # the chain's first category has nothing before it, and so its marginal's probabilities (but for the temperatures)
    p = np.exp(engine.answer(queries[:1])[0].log_probs[0, :size].astype(np.float64) / temperature)
    p /= p.sum()
    order = np.argsort(-p)
    kept = order[: np.searchsorted(np.cumsum(p[order]), top_p) + 1]
    expected = np.zeros(size)
    expected[kept] = p[kept] / p[kept].sum()
    found = np.bincount(answer.ids[:, 0, 0], minlength=size) / n
    assert not found[expected == 0].any()
    np.testing.assert_allclose(found, expected, atol=4 * 0.5 / np.sqrt(n))


def test_distributions_of_samples_are_their_mean(engine: Engine, queries: list[Query]) -> None:
    sampled = drawn(engine, queries[1], num_samples=2)
    greedy = engine.answer([queries[1]])[0]
    np.testing.assert_allclose(np.exp(sampled.log_probs[0]), np.exp(greedy.log_probs[0]), atol=1e-5)  # nothing before
    for column in np.split(np.exp(sampled.log_probs), np.cumsum(engine.codec.sizes)[:-1], axis=1):
        np.testing.assert_allclose(column.sum(1), 1, atol=1e-4)


def test_a_rollout_is_no_more_probable_than_its_first_categories(engine: Engine, queries: list[Query]) -> None:
    answer = drawn(engine, queries[0], num_samples=5)
    order = [i for i, c in enumerate(engine.codec.schema.categories) if c.field == engine.codec.schema.order_by]
    for ids, log_prob in zip(answer.ids[:, 0], answer.log_prob[:, 0], strict=True):
        scored = engine.answer([queries[0]._replace(observed=ids)])[0].observed_log_prob
        assert scored is not None
        before = slice(0, order[0])  # the ordering datetime may have been settled, and is never unknown
        assert log_prob <= scored[1, before].sum() + 1e-4


def test_only_what_is_allowed_is_drawn(engine: Engine, queries: list[Query]) -> None:
    start = np.cumsum([0, *engine.codec.sizes])
    allowed = np.ones(start[-1], bool)
    allowed[start[4] : start[5]] = False
    allowed[start[4] + 2] = True
    for top_p in (1.0, 0.8):
        assert (drawn(engine, queries[2]._replace(allowed=allowed), top_p=top_p).ids[:, :, 4] == 2).all()


def test_time_moves_forward_in_every_rollout(engine: Engine, queries: list[Query]) -> None:
    for q in queries:
        answer = drawn(engine, q, temperature=3.0)
        now = np.full((len(answer.ids), 1), q.now)
        assert (np.diff(np.concatenate((now, answer.timestamp), 1), axis=1) >= 0).all()


def test_every_datetime_of_a_rollout_is_a_date_that_exists(engine: Engine, queries: list[Query]) -> None:
    names = [c.name for c in engine.codec.schema.categories]
    month, day = names.index("Time_Reference_Month"), names.index("Time_Reference_Day")
    start = np.cumsum([0, *engine.codec.sizes])
    allowed = np.ones(start[-1], bool)
    allowed[start[month] : start[month + 1]] = False
    allowed[start[month] + 2] = True  # February, whatever the day
    answer = drawn(engine, queries[2]._replace(allowed=allowed), temperature=5.0, num_samples=40)
    assert (answer.ids[..., month] == 2).all()
    assert answer.ids[..., day].max() <= 29
    assert answer.ids[..., day].max() > 20


def test_backends_draw_the_same_rollouts(bundle: Bundle, queries: list[Query]) -> None:
    asked = [q._replace(sampling=Sampling(6, top_p=0.9)) for q in queries]
    eager, onnx = (open_engine(bundle, name, "cpu").answer(asked) for name in ("torch", "onnx"))  # type: ignore[arg-type]
    same = [np.mean(a.ids == b.ids) for a, b in zip(eager, onnx, strict=True)]
    assert np.mean(same) > 0.98  # a choice between two that rounding ties may part the rest of a rollout
