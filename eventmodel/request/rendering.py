"""An answer in names: ids to names, log-probabilities to the few values that were asked for."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from eventmodel.bundle import Bundle
from eventmodel.codec import Codec
from eventmodel.engine.query import Answer
from eventmodel.request.distributions import Listed, list_values
from eventmodel.request.question import PredictRequest
from eventmodel.schema import Category

Answered = tuple[PredictRequest, Answer]
"""A request and its answer."""


def render(bundle: Bundle, request: PredictRequest, answer: Answer) -> dict[str, Any]:
    """What an answer says, in dicts, lists, text and numbers.

    Numbers that the model computed are numpy's float32, so that they are written with the nine digits
    that they have. Probabilities of a category's listed values, ``unknown`` and ``rest`` add up to 1. Entropy and
    surprise are in nats; they are None where the probability is 0, which only ``allowed`` makes it.
    """
    return render_all(bundle, [(request, answer)])[0]


def render_all(bundle: Bundle, answered: Sequence[Answered]) -> list[dict[str, Any]]:
    """Render some answers at once, which costs less than one by one."""
    alike: dict[tuple[tuple[int, ...], int | None], list[int]] = {}
    for at, (request, _) in enumerate(answered):
        alike.setdefault((request.categories, request.top_k), []).append(at)
    bodies: dict[int, dict[str, Any]] = {}
    for (categories, top_k), places in alike.items():
        log_probs = np.concatenate([answered[at][1].log_probs for at in places])
        listed, first = list_values(log_probs, bundle.codec.sizes, categories, top_k), 0
        for at in places:
            steps = slice(first, first + len(answered[at][1].log_probs))
            bodies[at] = _render(bundle, *answered[at], Listed(*(column[steps] for column in listed)))
            first = steps.stop
    return [bodies[at] for at in range(len(answered))]


def count_values(bundle: Bundle, request: PredictRequest) -> int:
    """How many values an answer to this holds at most, which is what the time to render it grows with."""
    sizes = [bundle.codec.sizes[c] - 1 for c in request.categories]
    listed = sum(sizes) if request.top_k is None else sum(min(size, request.top_k) for size in sizes)
    return request.query.horizon * (listed + request.query.n_rollouts * len(bundle.schema.fields))


def _render(bundle: Bundle, request: PredictRequest, answer: Answer, listed: Listed) -> dict[str, Any]:
    codec, schema = bundle.codec, bundle.schema
    sampled = request.query.sampling is not None
    shown = [schema.categories[c].name for c in request.categories]
    names = [codec.names[c] for c in request.categories]
    body: dict[str, Any] = {
        "model": {"name": bundle.name, "version": bundle.version},
        "focus": request.focus,
        "now": codec.iso(codec.at_timestamp(request.query.now)),
        "unknown_values": {schema.categories[c].name: n for c, n in Counter(request.unknown.tolist()).items()},
        "events": [
            {
                **({} if sampled else {"event": _event(codec, answer, 0, step)}),
                **_when(codec, request.query.quantiles, answer.when, step),
                "categories": dict(zip(shown, _distributions(listed, step, names), strict=True)),
            }
            for step in range(len(answer.log_probs))
        ],
    }
    if sampled:
        body["rollouts"] = [
            {
                "events": [_event(codec, answer, rollout, step) for step in range(answer.ids.shape[1])],
                "log_probability": answer.log_prob[rollout].sum(),
            }
            for rollout in range(len(answer.ids))
        ]
    if answer.observed_log_prob is not None and answer.observed_entropy is not None:
        body["observed"] = _observed(
            schema.categories, request.categories, answer.observed_log_prob, answer.observed_entropy
        )
    return body


def _event(codec: Codec, answer: Answer, rollout: int, step: int) -> dict[str, str | None]:
    """One event of a rollout as a record."""
    return codec.decode(answer.ids[rollout, step].tolist(), int(answer.timestamp[rollout, step]))


def plain(rendered: Any) -> Any:
    """A rendered answer with Python's own numbers in place of numpy's: those that its JSON has."""
    match rendered:
        case dict():
            return {key: plain(value) for key, value in rendered.items()}
        case list():
            return [plain(value) for value in rendered]
        case np.floating():
            return float(str(rendered))  # by way of the nine digits, or 0.1 would become 0.10000000149011612
        case _:
            return rendered


def _when(codec: Codec, levels: Sequence[float], when: np.ndarray | None, step: int) -> dict[str, Any]:
    """The quantiles of one event's time by level; nothing where none were asked for."""
    if when is None:
        return {}
    moments = (codec.at_timestamp(int(timestamp)) for timestamp in when[step])
    return {"when": {str(level): codec.iso(moment) for level, moment in zip(levels, moments, strict=True)}}


def _distributions(listed: Listed, step: int, names: Sequence[Sequence[str | None]]) -> list[dict[str, Any]]:
    """The categories asked for at one step; ``names`` of each one's ids."""
    rows = zip(
        names,
        listed.ids[step].tolist(),
        listed.probability[step],
        listed.unknown[step],
        listed.rest[step],
        listed.entropy[step],
        strict=True,
    )
    return [
        {
            "top": [{"value": names_of_ids[i], "probability": p_i} for i, p_i in zip(ids, p, strict=True) if i],
            "unknown": unknown,
            "rest": rest,
            "entropy": entropy,
        }
        for names_of_ids, ids, p, unknown, rest, entropy in rows
    ]


def _observed(
    categories: Sequence[Category], shown: Sequence[int], log_prob: np.ndarray, expected: np.ndarray
) -> dict[str, Any]:
    """Probability and surprise of the observed event.

    Args:
        log_prob: (2, C) of each category on its own, then along the chain.
        expected: (C,) the surprise to be expected of each category: its entropy.
    """
    joint = float(log_prob[1].astype(np.float64).sum())
    return {
        "categories": {
            categories[c].name: {
                "probability": np.exp(log_prob[0, c]),
                "surprise": _finite(-float(log_prob[0, c])),
                "expected": expected[c],
            }
            for c in shown
        },
        "joint": {"log_probability": _finite(joint), "surprise": _finite(-joint)},
    }


def _finite(nats: float) -> float | None:
    # + 0.0 turns the -0.0 of a certain event into 0.0
    return nats + 0.0 if np.isfinite(nats) else None
