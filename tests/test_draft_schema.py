import json
from datetime import UTC, datetime, timedelta
from io import StringIO

import polars as pl
import pytest
from rich.console import Console

from eventmodel.schema import Schema, load_schema
from training.column import Column
from training.draft_schema import DraftConfig, draft_schema, main, run
from training.preparation import prepare
from training.profile import Profile
from training.read_table import read_table

N = 400
TIMES = [(datetime(2026, 1, 1) + timedelta(minutes=7 * i)).isoformat() for i in range(N)]


def kinds(**columns: object) -> dict[str, str | None]:
    """The kind guessed for each column of a log of tickets by user; None where it is left out."""
    base = {"UserId": [f"u{i % 9}" for i in range(N)], "At": TIMES}
    _, guesses = draft_schema(pl.DataFrame(base | columns), "log")
    return {guess.column: guess.field["kind"] if guess.field else None for guess in guesses}


def document_of(**columns: object) -> dict:
    base = {"UserId": [f"u{i % 9}" for i in range(N)], "At": TIMES}
    return draft_schema(pl.DataFrame(base | columns), "log")[0]


def field_of(document: dict, name: str) -> dict:
    return next(field for field in document["fields"] if field["name"] == name)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (TIMES, "datetime"),
        ([*TIMES[:-4], "soon", "later", "", None], "datetime"),
        ([i * i % 97 for i in range(N)], "number"),
        ([f"{i % 5}.5" for i in range(N)], "number"),
        ([i % 5 for i in range(N)], "enum"),
        (["open", "closed"] * (N // 2), "enum"),
        ([i % 2 == 0 for i in range(N)], "enum"),
        ([f"C{i % 40}" for i in range(N)], "id"),
        ([f"{i % 40:04d}" for i in range(N)], "id"),
        ([f"K{i // 4}" for i in range(N)], "key"),
        ([f"note {i}" for i in range(N)], None),
        (["always"] * N, None),
        ([None] * N, None),
        ([""] * N, None),
    ],
)
def test_a_column_is_taken_for_what_its_values_look_like(values, kind):
    assert kinds(Thing=values)["Thing"] == kind


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("06.02.2025 18:{:02d}:{:02d}", "datetimes, as '06.02.2025 18:00:00'? Only ISO 8601 is read"),
        (" 2025-02-06T18:{:02d}:{:02d}", "datetimes, as ' 2025-02-06T18:00:00'? Only ISO 8601 is read"),
        ("{},{:02d}", "numbers, as '0,00'? Only digits and a decimal point are read"),
        ("€ {}{:02d}.5", "numbers, as '€ 000.5'? Only digits and a decimal point are read"),
        ("note {} of {}", "free text"),
    ],
)
def test_what_is_written_otherwise_is_told_from_free_text(text: str, reason: str) -> None:
    values = [text.format(i // 60, i % 60) for i in range(N)]
    guesses = draft_schema(pl.DataFrame({"UserId": ["u", "v"] * (N // 2), "At": TIMES, "Thing": values}), "log")[1]
    assert guesses[-1].field is None
    assert reason in guesses[-1].reason


def test_days_in_another_format_are_an_id_with_a_doubt() -> None:
    values = [f"{i % 28 + 1}/2/2025" for i in range(N)]
    guesses = draft_schema(pl.DataFrame({"UserId": ["u", "v"] * (N // 2), "At": TIMES, "Thing": values}), "log")[1]
    assert guesses[-1].field == {"name": "Thing", "kind": "id"}
    assert "or datetimes, as '1/2/2025'?" in guesses[-1].reason


def test_a_log_without_datetimes_names_the_column_that_may_hold_some() -> None:
    times = [f"06.02.2025 18:{i // 60:02d}:{i % 60:02d}" for i in range(N)]
    with pytest.raises(ValueError, match=r"'Start' may hold some, as '06\.02\.2025 18:00:00', but in another format"):
        draft_schema(pl.DataFrame({"UserId": ["u", "v"] * (N // 2), "Start": times}), "log")


@pytest.mark.parametrize("name", ["SiteId", "site_id", "SITE_ID", "CostCode", "case_number", "machine", "Customer"])
def test_numbers_that_name_things_are_ids(name):
    assert kinds(**{name: [i % 40 for i in range(N)]})[name] == "id"


def test_few_sites_with_an_id_in_their_name_stay_an_open_set():
    assert kinds(SiteId=["north", "south"] * (N // 2))["SiteId"] == "id"


def test_every_value_of_a_closed_set_is_listed_most_frequent_first():
    document = document_of(State=["b"] * 200 + ["a"] * 199 + ["rare"])
    assert field_of(document, "State")["values"] == ["b", "a", "rare"]


def test_few_numbers_are_listed_in_their_own_order():
    assert field_of(document_of(Level=[10, 9] * (N // 2)), "Level")["values"] == ["9", "10"]


def test_edges_are_quantiles_in_round_numbers():
    edges = field_of(document_of(Cost=[1000 + i * 3.1717 for i in range(N)]), "Cost")["edges"]
    assert edges[:2] == [1080.0, 1160.0]
    assert len(edges) == 15


def test_a_number_that_fills_a_bucket_has_one_of_its_own():
    discounts = [0.0] * (N - 100) + [100.4 + i for i in range(100)]
    edges = field_of(document_of(Discount=discounts), "Discount")["edges"]
    assert edges[:2] == [0, 100.4]  # no discount, and any
    assert len(edges) == 16


def test_edges_that_rounding_would_merge_stay_exact():
    edges = field_of(document_of(Cost=[10_000_000 + i for i in range(N)]), "Cost")["edges"]
    assert len(edges) == 15


def test_the_log_is_ordered_by_the_datetime_with_the_fewest_blanks():
    document = document_of(Before=[None, *TIMES[1:]], After=TIMES)
    assert document["order_by"] == "At"


def test_of_datetimes_with_few_blanks_the_one_that_changes_most_orders_the_log():
    opened = [TIMES[i // 9 * 9] for i in range(N)]
    assert document_of(Opened=opened, At=["soon", None, *TIMES[2:]])["order_by"] == "At"


def test_a_log_whose_datetimes_carry_a_zone_is_zoned():
    document = document_of(At=[f"{time}+01:00" for time in TIMES])
    assert document["time_zone"] == "UTC"


def test_a_few_values_that_are_no_numbers_are_told_and_leave_it_a_number():
    _, guesses = draft_schema(
        pl.DataFrame(
            {"UserId": ["a", "b"] * (N // 2), "At": TIMES, "Cost": ["12,50", *[f"{i}.5" for i in range(1, N)]]}
        ),
        "log",
    )
    (cost,) = (guess for guess in guesses if guess.column == "Cost")
    assert cost.field is not None
    assert cost.field["kind"] == "number"
    assert "not 0.2% of them: those rows will be refused" in cost.reason


@pytest.mark.parametrize("name", ["order_total", "number_of_items", "user_age"])
def test_a_quantity_is_no_name(name):
    assert kinds(**{name: [i % 90 for i in range(N)]})[name] == "number"


def test_a_closed_set_with_a_word_among_its_numbers_keeps_all_its_values():
    field = field_of(document_of(Priority=["urgent", *[str(i % 5) for i in range(1, N)]]), "Priority")
    assert field["kind"] == "enum"
    assert "urgent" in field["values"]


def test_blanks_of_the_datetime_that_orders_the_log_are_told():
    _, guesses = draft_schema(
        pl.DataFrame({"UserId": ["a", "b"] * (N // 2), "Opened": [TIMES[0]] * N, "At": [None, *TIMES[1:]]}), "log"
    )
    reason = {guess.column: guess.reason for guess in guesses}
    assert "rows in which it is blank, 0.2%, will be refused" in reason["At"]
    assert "order_by is this one, if it rather than At says when" in reason["Opened"]


def test_files_whose_columns_differ_in_kind_are_named(tmp_path):
    for name, values in (("a", [datetime(2026, 1, 1)]), ("b", [datetime(2026, 1, 1, tzinfo=UTC)])):
        pl.DataFrame({"At": values}).write_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(ValueError, match=r"different kinds in .*a\.parquet, .*b\.parquet"):
        run(DraftConfig((str(tmp_path / "*.parquet"),), tmp_path / "schema.json"), Console(quiet=True))


def test_a_long_column_gives_a_stream_whose_files_can_be_named():
    assert len(document_of(**{"x" * 3000 + "Id": [f"u{i % 30}" for i in range(N)]})["streams"][1]["name"]) < 100


def test_a_column_that_is_named_as_another_s_category_is_left_out():
    assert kinds(Time_At_Month=[f"m{i % 7}" for i in range(N)])["Time_At_Month"] is None


def test_columns_beyond_what_an_event_holds_are_left_out():
    many = {f"c{i}": ["a", "b"] * (N // 2) for i in range(300)}
    found = kinds(**many, LateId=[f"u{i % 40}" for i in range(N)])
    assert sum(kind == "enum" for kind in found.values()) == 256 - 4 - 2  # a datetime and two ids
    assert found["LateId"] == "id"


def test_a_draft_is_made_of_several_files(tmp_path):
    for part in (0, 1):
        half = slice(part * N // 2, (part + 1) * N // 2)
        users = [f"u{part}{i % 20}" for i in range(N // 2)]
        pl.DataFrame({"User": users, "At": TIMES[half]}).write_csv(tmp_path / f"{part}.csv")
    run(DraftConfig((str(tmp_path / "*.csv"),), tmp_path / "schema.json"), Console(quiet=True))
    assert field_of(json.loads((tmp_path / "schema.json").read_text()), "User")["kind"] == "id"


def test_the_zone_of_a_typed_column_is_kept():
    at = pl.Series(TIMES).str.to_datetime(time_zone="UTC").dt.convert_time_zone("Europe/Berlin")
    assert document_of(At=at)["time_zone"] == "Europe/Berlin"


def test_a_datetime_of_the_other_convention_is_left_out():
    assert kinds(Planned=[f"{time}Z" for time in TIMES])["Planned"] is None


def test_two_datetimes_whose_categories_would_clash_do_not_both_stay():
    assert kinds(AtDatetime=TIMES)["AtDatetime"] is None


def test_the_focus_has_many_entities_with_a_history_each():
    document = document_of(Site=[f"s{i % 30}" for i in range(N)], Ticket=[f"t{i // 2}" for i in range(N)])
    assert document["focus"] == "Site"
    assert [stream["name"] for stream in document["streams"]] == ["Site", "UserId", "Time"]


def test_cases_with_several_events_are_a_focus():
    assert document_of(CaseId=[f"c{i // 5}" for i in range(N)])["focus"] == "CaseId"


def test_a_column_name_of_any_script_gives_a_stream():
    document = document_of(**{"2. Ort-ID ü": [f"s{i % 30}" for i in range(N)]})
    assert document["streams"][0]["name"] == "Stream2OrtID"


def test_without_an_id_the_closed_set_of_most_values_names_the_entities():
    document, _ = draft_schema(pl.DataFrame({"Who": [f"u{i % 9}" for i in range(N)], "At": TIMES}), "log")
    assert field_of(document, "Who")["kind"] == "id"
    assert document["focus"] == "Who"


def test_without_a_datetime_there_is_no_draft():
    with pytest.raises(ValueError, match="no column holds ISO 8601 datetimes"):
        draft_schema(pl.DataFrame({"UserId": ["a", "b"], "Count": [20260129, 20260130]}), "log")


def test_the_column_that_comes_nearest_to_datetimes_is_named_with_what_keeps_it_from_it():
    times = [f"{at}Z" for at in TIMES[: N // 2]] + TIMES[: N // 4] + ["soon"] * (N // 4)
    with pytest.raises(ValueError, match=f"of 'When' 50% are some, with a zone, but not '{TIMES[0]}'"):
        draft_schema(pl.DataFrame({"UserId": ["a"] * N, "When": times}), "log")


def test_what_keeps_a_column_from_being_numbers_is_named():
    costs = [f"{i}.5" for i in range(N * 3 // 4)] + ["1,000.5"] * 2 + [f"n{i}" for i in range(N // 4 - 2)]
    _, guesses = draft_schema(pl.DataFrame({"UserId": [f"u{i % 9}" for i in range(N)], "At": TIMES, "C": costs}), "log")
    assert guesses[-1].reason.endswith("free text, as '1,000.5'; 75% are numbers, but not '1,000.5'")


def test_an_infinite_number_is_no_number_and_no_blank():
    profile = Profile("Cost", Column.of(pl.Series([1.5, 2.5, float("inf"), float("nan"), None])))
    assert profile.n == 3
    assert profile.number_share == 2 / 3


def test_without_anything_to_name_an_entity_there_is_no_draft():
    with pytest.raises(ValueError, match="no column names an entity"):
        draft_schema(pl.DataFrame({"At": TIMES, "Cost": [i * 1.5 for i in range(N)]}), "log")


def test_a_file_of_a_header_only_gives_no_draft():
    with pytest.raises(ValueError, match="no column holds"):
        draft_schema(pl.DataFrame({"A": [], "B": []}, schema={"A": pl.String, "B": pl.String}), "log")


def test_every_column_is_accounted_for_with_a_reason(small_frame):
    _, guesses = draft_schema(small_frame, "log")
    assert [guess.column for guess in guesses] == small_frame.columns
    assert all(guess.reason for guess in guesses)


def test_the_draft_of_a_workforce_log_has_the_streams_of_the_built_in_schema(small_frame):
    document, _ = draft_schema(small_frame, "log")
    assert document["order_by"] == "EventDatetime"
    assert [stream.get("keys", []) for stream in document["streams"]] == [["ActorRecordId"], ["LocationRecordId"], []]


def test_prepare_runs_with_the_draft_and_refuses_nothing(small_frame, tmp_path):
    small_frame.write_csv(tmp_path / "events.csv")
    out = StringIO()
    run(DraftConfig((str(tmp_path / "events.csv"),), tmp_path / "schema.json"), Console(file=out, width=100))
    _, report = prepare(read_table(tmp_path / "events.csv"), load_schema(tmp_path / "schema.json"))
    assert report.refused.is_empty()
    assert "python -m training.prepare --schema" in out.getvalue()


def test_the_draft_is_a_schema(small_frame):
    document, _ = draft_schema(small_frame, "log")
    assert Schema.model_validate_json(json.dumps(document)).name == "log"


def test_a_schema_that_is_there_already_stays(tmp_path, monkeypatch, capsys):
    (tmp_path / "schema.json").write_text("corrected by hand")
    monkeypatch.setattr("sys.argv", ["draft_schema", "events.csv", "--out", str(tmp_path / "schema.json")])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "perhaps corrected by hand" in capsys.readouterr().err
    assert (tmp_path / "schema.json").read_text() == "corrected by hand"
