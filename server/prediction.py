"""The shape of a prediction as its receiver sees it, for type checkers; ``/docs`` describes it at length."""

from typing import NotRequired, TypedDict

Record = dict[str, str | None]
"""An event by field name; None is unknown, or does not apply."""


class Value(TypedDict):
    """A value of a category, and how probable it is."""

    value: str
    probability: float


class Distribution(TypedDict):
    """Of one category of one event; ``top``, ``unknown`` and ``rest`` add up to 1."""

    top: list[Value]
    unknown: float
    rest: float
    entropy: float


class PredictedEvent(TypedDict):
    """One future event; ``event`` is what the rollout took, ``when`` its time by quantile."""

    event: NotRequired[Record]
    when: NotRequired[dict[str, str]]
    categories: dict[str, Distribution]


class Rollout(TypedDict):
    """One of the futures that were drawn."""

    events: list[Record]
    log_probability: float | None


class Score(TypedDict):
    """Of one category of the observed event; surprises are in nats, None where the probability is 0."""

    probability: float
    surprise: float | None
    expected: float


class Joint(TypedDict):
    """Of the whole observed event, along the chain."""

    log_probability: float | None
    surprise: float | None


class Observed(TypedDict):
    """How unusual the observed event is."""

    categories: dict[str, Score]
    joint: Joint


class Model(TypedDict):
    """What answered."""

    name: str
    version: str


class Prediction(TypedDict):
    """What ``POST /predict`` answers."""

    model: Model
    focus: str
    now: str
    unknown_values: dict[str, int]
    """By category, how many of the values sent the model does not know."""
    events: list[PredictedEvent]
    rollouts: NotRequired[list[Rollout]]
    observed: NotRequired[Observed]
