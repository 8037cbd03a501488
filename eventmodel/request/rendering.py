"""An answer in names: ids to names, log-probabilities to the few values that were asked for."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eventmodel.bundle import Bundle
from eventmodel.codec import Codec
from eventmodel.engine.query import Answer
from eventmodel.request.reader import PredictRequest
from eventmodel.schema import Category


def render(bundle: Bundle, request: PredictRequest, answer: Answer) -> dict[str, Any]:
    """What an answer says, in dicts, lists, text and numbers.

    Numbers that the model computed are numpy's float32, so that they are written with the nine digits
    that they have. Probabilities of a category's listed values, ``unknown`` and ``rest`` add up to 1. Entropy and
    surprise are in nats; they are None where the probability is 0, which only ``allowed`` makes it.
    """
    codec, schema = bundle.codec, bundle.schema
    sampled = request.query.sampling is not None
    start = np.concatenate([[0], np.cumsum(codec.sizes)])
    body: dict[str, Any] = {
        "model": {"name": bundle.name, "version": bundle.version},
        "focus": request.focus,
        "now": codec.iso(codec.at_timestamp(request.query.now)),
        "unknown_values": request.unknown_values,
        "events": [
            {
                **({} if sampled else {"event": _event(codec, answer, 0, step)}),
                **_when(codec, request.query.quantiles, answer.when, step),
                "categories": {
                    schema.categories[c].name: _distribution(
                        answer.log_probs[step, start[c] : start[c + 1]], codec.names[c], request.top_k
                    )
                    for c in request.categories
                },
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


def _distribution(log_p: np.ndarray, names: Sequence[str | None], top_k: int | None) -> dict[str, Any]:
    """One category at one step.

    Args:
        log_p: (n,) of every id; -inf where ``allowed`` rules the id out.
        names: of every id; id 0 has none.
        top_k: how many values to list; None lists all that are possible.
    """
    p = np.exp(log_p.astype(np.float64))
    possible = p > 0
    named = possible.copy()
    named[0] = False
    top = largest(p, np.flatnonzero(named), top_k)
    named[top] = False  # leaves the rest
    return {
        "top": [{"value": names[i], "probability": p_i} for i, p_i in zip(top, p[top].astype(np.float32), strict=True)],
        "unknown": np.float32(p[0]),
        "rest": np.float32(p[named].sum()),
        "entropy": np.float32(-(p[possible] * log_p[possible]).sum()),
    }


def largest(p: np.ndarray, candidates: np.ndarray, k: int | None) -> np.ndarray:
    """The candidates with the k largest probabilities, largest first; among equals the lower id first.

    Args:
        p: (n,) probabilities.
        candidates: (m,) ids in increasing order.
        k: how many; None takes all.
    """
    if k is not None and k < len(candidates):
        # argpartition would break ties by chance: keep all that reach the k-th largest value, in order of id
        kth = np.partition(p[candidates], -k)[-k]
        candidates = candidates[p[candidates] >= kth]
    return candidates[np.argsort(-p[candidates], kind="stable")][:k]


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
