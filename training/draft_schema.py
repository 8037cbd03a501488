"""A first schema for a user's own log, guessed from the data, for a person to correct.

python -m training.draft_schema events.csv --out schema.json
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import tyro
from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eventmodel.schema import MAX_CATEGORIES, AnyField, DatetimeField, Schema, categories_of
from training.column import Column
from training.errors import exit_on_user_error
from training.profile import AMOUNT_LIKE, DATE_LIKE, Profile
from training.read_table import find_tables, read_table

NEARLY_ALL = 0.95
"""Share of a column's values that must read as datetimes, or as numbers; rows with the others are refused later."""
MAX_ENUM_VALUES = 24
"""A column with more distinct values than this is no closed set."""
N_BUCKETS = 16
"""Buckets of a number with many values, equally full."""
NEARLY_FULL = 0.99
"""Share of the most that a datetime is given in from which it may order the log."""
MAX_STREAM_NAME = 60
"""Letters."""
LEAST_REPEATS = 1.5
"""Events per value below which a column names each event rather than an entity."""
LEAST_HISTORY = 3
"""Events per value from which an entity has a history worth reading."""


_FIELD: TypeAdapter[AnyField] = TypeAdapter(AnyField)


@dataclass(frozen=True)
class DraftConfig:
    """Guess a schema from files of events."""

    input: tyro.conf.Positional[tuple[str, ...]]
    """The events: files or patterns, as training.prepare takes them; all are read into memory."""
    out: Path = Path("schema.json")
    """Where to write the draft; a file that is there already stays."""


class Guess(NamedTuple):
    """What a column is taken for."""

    column: str
    field: dict[str, Any] | None
    """As it stands in the schema; None where the column is left out."""
    reason: str


def draft_schema(frame: pl.DataFrame, name: str) -> tuple[dict[str, Any], list[Guess]]:
    """Guess a schema.

    Args:
        frame: the events, a column per field.
        name: of the schema.

    Returns:
        The schema as a JSON document that ``Schema`` accepts, and the guess per column.

    Raises:
        ValueError: no column could order the log, or none could name an entity.
    """
    profiles = {column: Profile(column, Column.of(frame[column])) for column in frame.columns}
    dated = [p for p in profiles.values() if p.n and p.datetime_share >= NEARLY_ALL]
    if not dated:
        raise ValueError(
            "no column holds ISO 8601 datetimes like 2026-01-29T08:00:00, and a log needs one that orders it; "
            f"{_nearest_to_datetimes(list(profiles.values()))}the columns are {frame.columns}"
        )
    # hardly more blanks than another; of these the one that changes most: a ticket is opened once
    most = max(p.n for p in dated)
    order = max(dated, key=lambda p: (p.n >= NEARLY_FULL * most, len(p.counts)))
    oldest_first = np.argsort([_sort_key(at) for at in order.datetimes], kind="stable")
    rank = np.empty_like(oldest_first)
    rank[oldest_first] = np.arange(len(rank))
    rows = np.argsort(rank[order.column.codes], kind="stable")

    guesses = [_guess(profile, order, rows) for profile in profiles.values()]
    guesses = _without_clashes(guesses, order)
    guesses = _with_an_entity(guesses, profiles)
    streams = _streams(guesses, profiles)
    document: dict[str, Any] = {
        "name": name,
        "fields": [guess.field for guess in guesses if guess.field],
        "order_by": order.name,
        "streams": streams,
        "focus": streams[0]["name"],
    }
    if order.is_zoned:
        document["time_zone"] = _zone(frame.schema[order.name])
    Schema.model_validate(document)
    return document, guesses


def _nearest_to_datetimes(profiles: Sequence[Profile]) -> str:
    nearest = max(profiles, key=lambda p: p.datetime_share, default=None)
    if nearest is None or not nearest.datetime_share:
        found = ((p.name, text) for p in profiles if (text := p.written_like(DATE_LIKE)))
        return next((f"{name!r} may hold some, as {text!r}, but in another format; " for name, text in found), "")
    other = next(text for text, fits in zip(nearest.texts, nearest.fits, strict=True) if text is not None and not fits)
    zone = "with a zone" if nearest.is_zoned else "without one"
    return f"of {nearest.name!r} {nearest.datetime_share:.0%} are some, {zone}, but not {other!r}; "


def _guess(profile: Profile, order: Profile, rows: np.ndarray) -> Guess:
    """What one column is, given the datetime that orders the log and the rows in that order."""
    name, n_distinct = profile.name, len(profile.counts)
    values = f"{n_distinct:,} values, {profile.repeats:.1f} events each"

    def guess(kind: str, reason: str, **more: object) -> Guess:
        return Guess(name, {"name": name, "kind": kind, **more}, reason)

    def left_out(reason: str) -> Guess:
        return Guess(name, None, reason)

    if not name.strip():
        return left_out("the column has no name")
    if not n_distinct:
        return left_out("it has no values that can be read")
    if profile.datetime_share >= NEARLY_ALL:
        return _guess_datetime(profile, order)
    if n_distinct == 1 and profile.n == len(rows):
        return left_out(f"it always says {next(iter(profile.counts))!r}")
    if n_distinct > MAX_ENUM_VALUES and profile.number_share >= NEARLY_ALL and not profile.names_things:
        others = f"but not {1 - profile.number_share:.1%} of them: those rows will be refused"
        what = "all numbers" if profile.number_share == 1 else f"numbers, {others}"
        if all(map(float.is_integer, profile.numbers)):
            what += ' (if they are names, make it {"kind": "id"})'
        return guess("number", f"{values}, {what}; buckets as full as can be", edges=_edges(profile.numbers))
    if profile.number_share == 1 and not profile.names_things:
        if not all(map(float.is_integer, profile.numbers)):
            return guess("number", f"{values}, all numbers; a bucket for each", edges=list(profile.numbers))
        texts = sorted(profile.counts, key=float)
        return guess("enum", f"{values}: few enough for a closed set", values=texts)
    if n_distinct <= MAX_ENUM_VALUES and not profile.names_things:
        return guess("enum", f"{values}: few enough for a closed set", values=list(profile.counts))
    text = profile.written_like(DATE_LIKE)
    date_like = f"datetimes, as {text!r}? Only ISO 8601 is read, as 2026-01-29T08:00:00" if text else ""
    if profile.repeats < LEAST_REPEATS:
        if date_like:
            return left_out(f"{values}: {date_like}")
        if text := "" if profile.number_share > 0.5 else profile.written_like(AMOUNT_LIKE):
            return left_out(f"{values}: numbers, as {text!r}? Only digits and a decimal point are read, as 1234.5")
        reason = f"{values}: it names each event, or is free text, as {next(iter(profile.counts))!r}"
        if 0.5 < profile.number_share < 1:
            reason += f"; {profile.number_share:.0%} are numbers, but not {profile.no_number!r}"
        return left_out(reason)
    known = _known_share(profile, rows)
    if known < 0.5:
        return guess("key", f"{values}; only {known:.0%} of the newest fifth occur before: nothing to learn by name")
    doubt = f"; or {date_like}" if date_like else ""
    return guess("id", f"{values}; {known:.0%} of the newest fifth occur before{doubt}")


def _without_clashes(guesses: Sequence[Guess], order: Profile) -> list[Guess]:
    """The guesses without fields whose categories another one's bear the name of, or that are too many."""
    taken: set[str] = set()
    kept: dict[str, Guess] = {}
    # what orders the log and what names entities is needed
    for guess in sorted(guesses, key=lambda g: (g.column != order.name, not g.field or g.field["kind"] != "id")):
        categories = categories_of(_FIELD.validate_python(guess.field)) if guess.field else ()
        names = {category.name for category in categories}
        if names & taken:
            guess = guess._replace(field=None, reason=f"another column has a category {min(names & taken)!r}")
        elif len(names | taken) > MAX_CATEGORIES:
            guess = guess._replace(field=None, reason=f"an event has at most {MAX_CATEGORIES} categories")
        else:
            taken |= names
        kept[guess.column] = guess
    return [kept[guess.column] for guess in guesses]


def _guess_datetime(profile: Profile, order: Profile) -> Guess:
    if profile.is_zoned != order.is_zoned:
        has, lacks = (profile.name, order.name) if profile.is_zoned else (order.name, profile.name)
        return Guess(profile.name, None, f"{has} carries a zone and {lacks} does not; a log keeps to one convention")
    field = DatetimeField(name=profile.name)
    reason = "ISO 8601 datetimes" + (" with a zone" if profile.is_zoned else "")
    if profile.datetime_share < 1:
        reason += f", but not {1 - profile.datetime_share:.1%} of them: those rows will be refused"
    if profile is order:
        blank = 1 - profile.n / len(profile.column.codes)
        reason += "; orders the log: few blanks, many values"
        reason += f"; rows in which it is blank, {blank:.1%}, will be refused" if blank else ""
    elif profile.n >= order.n:
        reason += f"; order_by is this one, if it rather than {order.name} says when the event happened"
    return Guess(profile.name, field.model_dump(include={"name", "kind"}), reason)


def _known_share(profile: Profile, rows: np.ndarray) -> float:
    """Of the newest fifth of the events that hold a value, the share whose value occurs before."""
    is_value = np.array([text is not None for text in profile.texts])
    codes = profile.column.codes[rows]
    codes = codes[is_value[codes]]
    cut = len(codes) * 4 // 5
    return float(np.isin(codes[cut:], codes[:cut]).mean())


def _edges(numbers: dict[float, int]) -> list[float]:
    """A bucket for each value that fills one, and quantiles of the others, to three significant digits where that
    keeps them apart."""
    values, counts = np.array(list(numbers)), np.array(list(numbers.values()))
    fills = counts * N_BUCKETS >= counts.sum()
    # such a bucket ends where the next value begins
    own = {*values[fills].tolist(), *values[1:][fills[:-1]].tolist()}
    n_others = N_BUCKETS - int(fills.sum())
    quantiles = []
    if n_others > 1 and not fills.all():
        shares = np.cumsum(counts[~fills]) / counts[~fills].sum()
        quantiles = values[~fills][np.searchsorted(shares, np.arange(1, n_others) / n_others)].tolist()
    exact = own | set(quantiles)
    rounded = own | {float(f"{quantile:.3g}") for quantile in quantiles}
    return sorted(rounded if len(rounded) == len(exact) else exact)


def _with_an_entity(guesses: list[Guess], profiles: dict[str, Profile]) -> list[Guess]:
    """The guesses with at least one field that can name entities.

    Raises:
        ValueError: no column can.
    """
    if any(guess.field and guess.field["kind"] in ("id", "key") for guess in guesses):
        return guesses
    enums = [guess for guess in guesses if guess.field and guess.field["kind"] == "enum"]
    if not enums:
        raise ValueError("no column names an entity, a thing with several events of its own, whose future to predict")
    chosen = max(enums, key=lambda guess: len(profiles[guess.column].counts))
    as_id = Guess(
        chosen.column, {"name": chosen.column, "kind": "id"}, "the likeliest to name entities, lacking a better one"
    )
    return [as_id if guess is chosen else guess for guess in guesses]


def _streams(guesses: Sequence[Guess], profiles: dict[str, Profile]) -> list[dict[str, Any]]:
    """The focus, one more kind of entity where there is one, and the log's most recent events."""
    naming = [profiles[g.column] for g in guesses if g.field and g.field["kind"] in ("id", "key")]
    n = max(p.n for p in naming)
    # Many entities, each with a history: aircraft rather than carriers, cases rather than products.
    focus = max(naming, key=lambda p: (p.repeats >= LEAST_HISTORY, p.n * 2 > n, len(p.counts)))
    of_focus = _stream_name(focus.name, ())
    streams: list[dict[str, Any]] = [{"name": of_focus, "keys": [focus.name], "max_entities": 1}]
    ids = [profiles[g.column] for g in guesses if g.field and g.field["kind"] == "id" and g.column != focus.name]
    if ids:
        # Half-way (in ratio) between one focus entity and the whole log, which Time shows already.
        middle = np.log(len(focus.counts)) / 2
        context = min(ids, key=lambda p: (p.n * 2 <= n, abs(np.log(len(p.counts)) - middle)))
        name = _stream_name(context.name, (of_focus,))
        streams.append({"name": name, "keys": [context.name], "max_entities": 2})
    streams.append({"name": "Time"})
    return streams


def _stream_name(column: str, taken: Sequence[str]) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "", column)[:MAX_STREAM_NAME]  # files are named for it
    if not re.match(r"[A-Za-z]", name):
        name = f"Stream{name}"
    while name in ("Time", *taken):
        name += "_"
    return name


def _sort_key(at: datetime | None) -> float:
    if at is None:
        return -np.inf
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _zone(dtype: pl.DataType) -> str:
    return (isinstance(dtype, pl.Datetime) and dtype.time_zone) or "UTC"


def print_guesses(document: dict[str, Any], guesses: Sequence[Guess], console: Console) -> None:
    """Print what each column was taken for and why, and what the streams are."""
    table = Table(title="Guessed from the data", title_justify="left")
    for heading in ("column", "kind", "why"):
        table.add_column(heading, overflow="fold")
    for guess in guesses:
        table.add_row(escape(guess.column), guess.field["kind"] if guess.field else "left out", escape(guess.reason))
    console.print(table)
    for stream in document["streams"]:
        keys = ", ".join(stream.get("keys", ())) or "the most recent events of all"
        is_focus = stream["name"] == document["focus"]
        console.print(f"Stream {stream['name']}: {escape(keys)}{', the focus' if is_focus else ''}", soft_wrap=True)


def run(config: DraftConfig, console: Console) -> None:
    """Draft a schema for files and write it.

    Raises:
        ValueError: a file is broken, or no schema can be guessed.
        OSError: a file is missing, or ``config.out`` exists.
    """
    if config.out.exists():
        raise FileExistsError(f"{config.out} exists, perhaps corrected by hand; name another file with --out")
    paths = find_tables(config.input)
    with console.status("reading"):
        tables = [read_table(path) for path in paths]
        try:
            frame = pl.concat(tables, how="diagonal_relaxed")
        except pl.exceptions.PolarsError as error:
            names = ", ".join(map(str, paths))
            raise ValueError(f"columns of one name are of different kinds in {names}: {error}") from None
        document, guesses = draft_schema(frame, paths[0].name.split(".")[0])
    config.out.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print_guesses(document, guesses, console)
    if "time_zone" in document:
        console.print(f"Hours are read in {document['time_zone']}; set time_zone to where the clocks hang.")
    arguments = f"--schema {shlex.quote(str(config.out))} --input {shlex.join(config.input)} --out log"
    console.print(
        f"\nCorrect {config.out}: is order_by when it happened, is the focus what you want predicted, are kinds and "
        "edges right? Answers bear its name. "
        'Fields that name the same things (an actor, a recipient) share a "vocabulary". Then:\n'
        f"  python -m training.prepare {arguments}",
        soft_wrap=True,
        markup=False,
    )


def main() -> None:
    """Read the command line and run."""
    config = tyro.cli(DraftConfig, prog="python -m training.draft_schema")
    with exit_on_user_error():
        run(config, Console())


if __name__ == "__main__":
    main()
