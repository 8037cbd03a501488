"""The mix of requests that a load test sends: of several sizes and horizons, and about the same entities again.

The server's card, ``GET /info``, tells all that it takes: its schema, its limits and an example.
"""

import itertools
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson

from benchmarks.loadtest.bodies import Material, iso, make_request
from eventmodel.schema import Schema

SIZES = {"short": (0.3, 0.1), "medium": (0.4, 0.5), "full": (0.3, 1.0)}
"""Share of the requests, and length of their histories as a share of what the model reads."""
HORIZONS = {1: 0.8, 3: 0.15, 8: 0.05}
"""Share of the requests by the number of future events asked for; a model that has fewer gives what it has."""
REPEATED = 0.5
"""Share of the requests whose histories were sent before, so that the server may still have their states."""
FORMS = 16
"""Different requests of each kind, beside the time of their last event."""
_LAST = datetime(2026, 6, 1)
_PLACE = datetime(2099, 12, 31, 23, 59, 59)
"""Stands in a body for the time of each history's last event: a later one makes a history that was never sent."""


class Body(NamedTuple):
    """One request."""

    kind: str
    content: str


class Mix:
    """An endless supply of requests.

    Args:
        card: what ``GET /info`` answers.
        seed: the same seed, the same requests.
    """

    def __init__(self, card: Mapping[str, Any], seed: int = 0) -> None:
        self._chance = random.Random(seed)
        schema, example = Schema.model_validate(card["schema"]), card["example"]
        material = Material.of_example(schema, _values(schema, example), example)
        self._place = iso(schema, _PLACE)
        self._moments = (iso(schema, _LAST + timedelta(seconds=n)) for n in itertools.count())
        self._sent = next(self._moments)
        limits: Mapping[str, int] = {name: limit["events"] for name, limit in card["limits"]["streams"].items()}
        horizons = sorted({min(horizon, card["limits"]["horizon"]) for horizon in HORIZONS})
        self._forms = {
            (size, horizon): [
                orjson.dumps(
                    make_request(
                        material,
                        {name: max(round(limit * share), 1) for name, limit in limits.items()},
                        "rows",
                        self._chance,
                        _PLACE,
                    )
                    | {"horizon": horizon}
                ).decode()
                for _ in range(FORMS)
            ]
            for size, (_, share) in SIZES.items()
            for horizon in horizons
        }
        self._horizons = dict.fromkeys(horizons, 0.0)
        for asked, share in HORIZONS.items():
            self._horizons[min(asked, horizons[-1])] += share

    def __iter__(self) -> Iterator[Body]:
        chance = self._chance
        sizes = [share for share, _ in SIZES.values()]
        while True:
            (size,) = chance.choices(list(SIZES), sizes)
            (horizon,) = chance.choices(list(self._horizons), list(self._horizons.values()))
            form = chance.choice(self._forms[size, horizon])
            # with the first moment, each form is what the server has read before
            moment = self._sent if chance.random() < REPEATED else next(self._moments)
            yield Body(f"{size}, {horizon} ahead", form.replace(self._place, moment))


def _values(schema: Schema, example: Mapping[str, Any]) -> dict[str, list[str]]:
    """The values that an example has, by vocabulary or field; one where it has none."""
    found: dict[str, set[str]] = defaultdict(set)
    for field in schema.fields:
        if field.kind in ("id", "key"):
            found[field.names_from] |= {
                str(event[field.name])
                for event in Material.of_example(schema, {}, example).events
                if event.get(field.name) is not None
            }
    return {name: sorted(values) or ["1"] for name, values in found.items()}
