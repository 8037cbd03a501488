"""What an event is: its fields, the categories they give, and the streams of its entities.

A schema is a JSON file. Everything else (vocabularies, the table, the network, the
request format) is derived from it, so a user's own log needs a schema and nothing else.
"""

import json
from collections.abc import Iterable
from functools import cached_property
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

DATETIME_PARTS = {"Month": 12, "Day": 31, "Hour": 24, "Minute": 60}
"""Categories of a datetime field, with the number of values of each (id 0 comes on top)."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _NamedField(_Strict):
    name: str = Field(min_length=1)
    description: str = ""


class _NamingField(_NamedField):
    vocabulary: str | None = None
    """Fields that name the same things share a vocabulary; the default is the field's own."""

    @property
    def names_from(self) -> str:
        """The vocabulary that its values belong to."""
        return self.vocabulary or self.name


class IdField(_NamingField):
    """An open set of names. The vocabulary is learned from the training part of a log."""

    kind: Literal["id"] = "id"


class EnumField(_NamedField):
    """A closed set of names, in the order of their ids."""

    kind: Literal["enum"] = "enum"
    values: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "EnumField":
        if duplicates := _duplicates(self.values):
            raise ValueError(f"enum {self.name!r} lists {duplicates[0]!r} twice")
        if "" in self.values:
            raise ValueError(f"enum {self.name!r} lists an empty value; an empty value means unknown")
        return self


class NumberField(_NamedField):
    """A number, read and predicted as the bucket [edge, next edge) that it falls into."""

    kind: Literal["number"] = "number"
    edges: tuple[FiniteFloat, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "NumberField":
        if any(b <= a for a, b in pairwise(self.edges)):
            raise ValueError(f"the edges of {self.name!r} must increase from each to the next")
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """Bucket names in the order of their ids: ``<0``, ``0..5``, ``>=5`` for edges 0 and 5."""
        text = [repr(edge).removesuffix(".0") for edge in self.edges]  # repr keeps near edges apart
        inner = [f"{a}..{b}" for a, b in pairwise(text)]
        return (f"<{text[0]}", *inner, f">={text[-1]}")


class DatetimeField(_NamedField):
    """A moment, read and predicted as month, day, hour and minute."""

    kind: Literal["datetime"] = "datetime"

    @property
    def stem(self) -> str:
        """``EventDatetime`` gives the categories ``Time_Event_Month`` and so on."""
        return self.name.removesuffix("Datetime") or self.name


class KeyField(_NamingField):
    """Names an entity (a case number) and is neither read nor predicted."""

    kind: Literal["key"] = "key"


AnyField = Annotated[IdField | EnumField | NumberField | DatetimeField | KeyField, Field(discriminator="kind")]


class Stream(_Strict):
    """A kind of entity history. Without keys it is the log's most recent events of all."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    keys: tuple[str, ...] = ()
    max_entities: int = Field(default=1, ge=1, le=1024)
    """How many entities of this kind one prediction reads."""
    max_events: int = Field(default=200, ge=1, le=100_000)
    """How many events of one entity a prediction reads at most; a model may read fewer."""

    def history_length(self, context_length: int) -> int:
        """How many events of one entity a model with this context reads."""
        return min(self.max_events, context_length)


MAX_CATEGORIES = 256
"""Of an event: a category's number shares a machine word with an id and its probability (``request.distributions``)."""


class Category(NamedTuple):
    """A categorical variable that the model reads and predicts."""

    name: str
    field: str
    kind: Literal["id", "enum", "number", "datetime"]
    part: str | None
    """``Month``, ``Day``, ``Hour`` or ``Minute`` of a datetime field."""
    vocabulary: str | None
    """Name of the learned vocabulary of an id field."""


class Schema(_Strict):
    """The fields of an event, the datetime that orders the log, and the streams.

    Raises:
        pydantic.ValidationError: names the field and what is wrong with it.
    """

    name: str = Field(min_length=1)
    description: str = ""
    time_zone: str | None = None
    """None: datetimes are local wall time and carry no zone. An IANA name: they all carry
    one, and their hours and weekdays are read in this zone."""
    fields: tuple[AnyField, ...] = Field(min_length=1)
    order_by: str
    """The datetime field that orders the log: when the event happened."""
    streams: tuple[Stream, ...] = Field(min_length=1)
    focus: str
    """The keyed stream whose entity's future is predicted."""

    @model_validator(mode="after")
    def _check(self) -> "Schema":
        for what, names in (
            ("fields", [f.name for f in self.fields]),
            ("streams", [s.name for s in self.streams]),
            ("categories", [c.name for c in self.categories]),
        ):
            if duplicates := _duplicates(names):
                raise ValueError(f"two {what} are named {duplicates[0]!r}")
        if len(self.categories) > MAX_CATEGORIES:
            raise ValueError(f"{len(self.categories)} categories are more than {MAX_CATEGORIES}; a datetime is four")
        if self.time_zone is not None:
            try:
                ZoneInfo(self.time_zone)
            except (KeyError, ValueError, OSError):
                raise ValueError(f"time_zone {self.time_zone!r} is not an IANA zone name") from None
        order = self.field_by_name.get(self.order_by)
        if not isinstance(order, DatetimeField):
            raise ValueError(f"order_by must name a datetime field, not {self.order_by!r}")
        for stream in self.streams:
            self._check_stream(stream)
        if self.focus not in self.stream_by_name:
            raise ValueError(f"focus {self.focus!r} is not a stream; streams are {list(self.stream_by_name)}")
        if not self.focus_stream.keys:
            raise ValueError(f"focus {self.focus!r} has no key fields: it names no entity to predict")
        return self

    def _check_stream(self, stream: Stream) -> None:
        vocabularies = set()
        for key in stream.keys:
            field = self.field_by_name.get(key)
            if not isinstance(field, IdField | KeyField):
                raise ValueError(f"key {key!r} of stream {stream.name!r} must name a field of kind id or key")
            vocabularies.add(field.names_from)
        if len(vocabularies) > 1:
            raise ValueError(f"the keys of stream {stream.name!r} must share one vocabulary, not {vocabularies}")
        if not stream.keys and stream.max_entities != 1:
            raise ValueError(f"stream {stream.name!r} has no keys, so its max_entities is 1")

    @cached_property
    def field_by_name(self) -> dict[str, AnyField]:
        """The fields, in the schema's order."""
        return {f.name: f for f in self.fields}

    @cached_property
    def stream_by_name(self) -> dict[str, Stream]:
        """The streams, in the schema's order."""
        return {s.name: s for s in self.streams}

    @property
    def focus_stream(self) -> Stream:
        """The stream whose entity's future is predicted."""
        return self.stream_by_name[self.focus]

    def stream_index(self, name: str) -> int:
        """The number of a stream among the streams."""
        return list(self.stream_by_name).index(name)

    @cached_property
    def categories(self) -> tuple[Category, ...]:
        """The categories in the schema's order, which is also the order of the chain."""
        return tuple(category for f in self.fields for category in categories_of(f))

    def key_category(self, stream: Stream) -> int | None:
        """Index of the category that embeds an entity of this stream; None for key fields."""
        for index, category in enumerate(self.categories):
            if category.kind == "id" and category.field in stream.keys:
                return index
        return None

    @cached_property
    def vocabularies(self) -> tuple[str, ...]:
        """Names of the learned vocabularies, each once."""
        return tuple(dict.fromkeys(c.vocabulary for c in self.categories if c.vocabulary))


def categories_of(field: AnyField) -> tuple[Category, ...]:
    """What a field is read and predicted as."""
    match field:
        case DatetimeField():
            return tuple(
                Category(f"Time_{field.stem}_{part}", field.name, "datetime", part, None) for part in DATETIME_PARTS
            )
        case IdField():
            return (Category(field.name, field.name, "id", None, field.names_from),)
        case EnumField() | NumberField():
            return (Category(field.name, field.name, field.kind, None, None),)
        case KeyField():
            return ()


def siblings(categories: tuple[Category, ...]) -> tuple[tuple[int, ...], ...]:
    """Per category, those whose ids mean the same: of one vocabulary, or one part of a datetime."""

    def meaning(category: Category) -> tuple[str | None, str]:
        # a vocabulary may bear the name of a category that is not its own
        is_alone = category.vocabulary is None and category.part is None
        return (category.name if is_alone else category.vocabulary, category.part or category.kind)

    meanings = [meaning(category) for category in categories]
    return tuple(tuple(i for i, other in enumerate(meanings) if other == own) for own in meanings)


def builtin_schemas() -> list[str]:
    """Names of the schemas that come with the package."""
    return sorted(
        entry.name.removesuffix(".json")
        for entry in resources.files("eventmodel.schemas").iterdir()
        if entry.name.endswith(".json")
    )


def load_schema(name_or_path: str | Path) -> Schema:
    """Read a built-in schema by its name, or a user's own by its path.

    Raises:
        ValueError: not a schema; the message names the file, the place and the fault.
    """
    text = str(name_or_path)
    if text in builtin_schemas():
        source = resources.files("eventmodel.schemas").joinpath(f"{text}.json").read_text("utf-8")
    elif Path(text).is_file():
        try:
            source = Path(text).read_text("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{text} is not UTF-8: {error}") from None
    else:
        raise ValueError(f"no schema {text!r}: give the path of a JSON file, or one of {builtin_schemas()}")
    try:
        return Schema.model_validate(json.loads(source))
    except json.JSONDecodeError as error:
        raise ValueError(f"{text} is not JSON: {error}") from None
    except ValidationError as error:
        raise ValueError(f"{text} is not a schema:\n" + explain(error)) from None


def explain(error: ValidationError) -> str:
    """One line per fault: the place in the document, then what is wrong."""
    lines = []
    for fault in error.errors(include_url=False):
        place = ".".join(str(part) for part in fault["loc"]) or "(top level)"
        lines.append(f"  {place}: {fault['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def _duplicates(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
