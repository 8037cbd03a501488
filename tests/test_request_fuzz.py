"""Whatever is asked is read or refused, and nothing else happens."""

from contextlib import suppress
from copy import deepcopy
from typing import Any

import numpy as np
from documents import EVENTS, as_rows, changed, places
from hypothesis import given, settings
from hypothesis import strategies as st
from server_example import example

from eventmodel.bundle import Bundle
from eventmodel.request.errors import RequestError
from eventmodel.request.reader import read_request

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.datetimes()
    | st.sampled_from(["ann", "2026-01-29", np.float32(2), np.int64(3), (1, 2), {1}, object()]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=5,
)


def as_example_in_rows() -> dict[str, Any]:
    return changed(*EVENTS, to=as_rows(example()["streams"]["Worker"][0]["events"]))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_document_is_read_or_refused_and_nothing_else(example_bundle: Bundle, data: st.DataObject) -> None:
    body: Any = {"": deepcopy(data.draw(st.sampled_from([example(), as_example_in_rows()])))}
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(body)[1:]))
        parent = body
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = data.draw(VALUES)
    with suppress(RequestError):
        read_request(body[""], example_bundle)
