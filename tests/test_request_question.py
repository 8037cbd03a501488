"""What a request asks for: how much, of what, what is allowed, and what was observed."""

from typing import Any

import numpy as np
import pytest
from documents import changed
from server_example import event, example

from eventmodel.bundle import Bundle
from eventmodel.engine.query import Sampling
from eventmodel.request.question import MAX_QUANTILES
from eventmodel.request.reader import read_request


def test_defaults_ask_for_one_event_in_every_category(example_bundle: Bundle) -> None:
    request = read_request({"streams": {"Worker": [{"id": "ann", "events": [event(0)]}]}}, example_bundle)
    assert request.query.horizon == 1
    assert request.top_k == 5
    assert request.categories == tuple(range(len(example_bundle.schema.categories)))
    assert request.query.allowed is None
    assert request.query.observed is None
    assert request.query.quantiles == ()


def test_a_whole_number_may_be_written_with_a_point(example_bundle: Bundle) -> None:
    sampling = {"num_samples": 3.0, "seed": 7.0}
    request = read_request(example() | {"horizon": 2.0, "top_k": 4.0, "sampling": sampling}, example_bundle)
    assert (request.query.horizon, request.top_k, request.query.sampling) == (2, 4, Sampling(3, seed=7))


def test_quantiles_are_levels_in_the_order_sent(example_bundle: Bundle) -> None:
    assert read_request(example(), example_bundle).query.quantiles == (0.1, 0.5, 0.9)
    most = [i / 20 for i in range(1, MAX_QUANTILES + 1)]
    assert read_request(changed("quantiles", to=most), example_bundle).query.quantiles == tuple(most)


def test_no_levels_ask_for_no_quantiles(example_bundle: Bundle) -> None:
    assert read_request(changed("quantiles", to=[]), example_bundle).query.quantiles == ()


def test_sampling_is_greedy_unless_asked_for(example_bundle: Bundle) -> None:
    assert read_request(example(), example_bundle).query.sampling is None
    seeded = read_request(example() | {"sampling": {"seed": 7}}, example_bundle)
    assert seeded.query.sampling == Sampling(1, 1.0, 1.0, 7)


def test_allowed_keeps_what_it_names_and_every_other_category_whole(example_bundle: Bundle) -> None:
    allowed = read_request(example(), example_bundle).query.allowed
    assert allowed is not None
    names = [category.name for category in example_bundle.schema.categories]
    parts = dict(zip(names, np.split(allowed, np.cumsum(example_bundle.codec.sizes)[:-1]), strict=True))
    assert np.flatnonzero(parts["Site"]).tolist() == [1, 2, 3]
    assert np.flatnonzero(parts["Time_Event_Hour"]).tolist() == [9, 10]  # hours 8 and 9: ids are one above
    others = {name: part for name, part in parts.items() if name not in ("Site", "Time_Event_Hour")}
    assert all(part[1:].all() for part in others.values())
    assert [name for name, part in others.items() if not part[0]] == [
        "Time_Event_Month", "Time_Event_Day", "Time_Event_Minute"
    ]  # fmt: skip


def test_months_without_an_allowed_day_are_ruled_out_and_days_that_no_allowed_month_has(example_bundle: Bundle) -> None:
    asked = {"Time_Event_Month": ["1", "2"], "Time_Event_Day": ["30"], "Time_Planned_Month": ["2"]}
    allowed = read_request(changed("allowed", to=asked), example_bundle).query.allowed
    assert allowed is not None
    parts = dict(
        zip(
            [c.name for c in example_bundle.schema.categories],
            np.split(allowed, np.cumsum(example_bundle.codec.sizes)[:-1]),
            strict=True,
        )
    )
    assert np.flatnonzero(parts["Time_Event_Month"]).tolist() == [1]
    assert np.flatnonzero(parts["Time_Planned_Day"]).tolist() == list(range(1, 30))


@pytest.mark.parametrize("value", [3, "3", 3.5, "0..4"])
def test_a_number_that_is_allowed_means_its_bucket(example_bundle: Bundle, value: object) -> None:
    allowed = read_request(changed("allowed", to={"Hours": [value]}), example_bundle).query.allowed
    assert allowed is not None
    at = [category.name for category in example_bundle.schema.categories].index("Hours")
    ids = np.flatnonzero(allowed[example_bundle.codec.starts[at] : example_bundle.codec.starts[at + 1]])
    assert [example_bundle.codec.names[at][i] for i in ids] == ["0..4"]


def test_a_datetime_of_which_a_part_is_asked_for_is_not_blank(example_bundle: Bundle) -> None:
    allowed = read_request(changed("allowed", to={"Time_Planned_Hour": ["8"]}), example_bundle).query.allowed
    assert allowed is not None
    starts = np.cumsum((0, *example_bundle.codec.sizes))[:-1]
    blank = [c.name for c, start in zip(example_bundle.schema.categories, starts, strict=True) if not allowed[start]]
    assert blank == [f"Time_Planned_{part}" for part in ("Month", "Day", "Hour", "Minute")]


@pytest.mark.parametrize("blank", [{}, {"Worker": None}, {"Worker": "", "Helper": ""}])
def test_an_observed_event_that_names_nobody_is_the_focus_s_own(example_bundle: Bundle, blank: dict[str, Any]) -> None:
    body = changed("focus", to="bob")
    body["observed"] = {k: v for k, v in event(20, "bob").items() if k != "Worker"} | blank
    own = body | {"observed": event(20, "bob")}
    found, expected = (read_request(each, example_bundle).query.observed for each in (body, own))
    assert np.array_equal(found, expected)


def test_an_observed_event_in_which_the_focus_is_second_keeps_its_blank(example_bundle: Bundle) -> None:
    observed = read_request(changed("observed", to=event(20, "", Helper="ann")), example_bundle).query.observed
    assert observed is not None
    assert observed[1:3].tolist() == [0, 1]  # Worker is blank, Helper is ann
