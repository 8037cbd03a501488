"""The example request with something changed, and the places in a document."""

from typing import Any

from server_example import example

ANN = ("streams", "Worker", 0)
EVENTS = (*ANN, "events")


def changed(*path: Any, to: object) -> dict[str, Any]:
    """The example with one place changed."""
    body = example()
    place: Any = body
    for key in path[:-1]:
        place = place[key]
    if isinstance(place, list) and path[-1] == len(place):
        place.append(to)
    else:
        place[path[-1]] = to
    return body


def without(*path: Any) -> dict[str, Any]:
    """The example with one place left out."""
    body = example()
    place: Any = body
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return body


def as_rows(events: list[dict[str, object]]) -> dict[str, list[Any]]:
    """The same events as columns and rows."""
    columns = sorted({name for e in events for name in e})
    return {"columns": columns, "rows": [[e.get(name) for name in columns] for e in events]}


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, item in inner for place in places(item, (*at, key)))]
