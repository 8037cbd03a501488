"""Artefacts of models of any shape: what training takes, export writes."""

from pathlib import Path

import pytest
import torch
from conftest import TINY

from eventmodel.bundle import ArtefactForm
from eventmodel.codec import Codec
from eventmodel.harmonics import OrderedRows
from eventmodel.model import EventModel
from eventmodel.schema import Category, Schema
from export.graphs import Artefact, artefacts
from export.parity import largest_difference


def encoders(schema: Schema) -> list[Artefact]:
    torch.manual_seed(0)
    model = EventModel(TINY, Codec(schema, {name: ["a", "b"] for name in schema.vocabularies}))
    return [artefact for artefact in artefacts(model) if artefact.name.startswith("encode_")]


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
@pytest.mark.parametrize("longest", [1, 3])
def test_an_encoder_of_short_histories_is_exported(
    tiny_schema: Schema, longest: int, form: ArtefactForm, tmp_path: Path
) -> None:
    short = tiny_schema.streams[0].model_dump() | {"max_events": longest}
    (artefact,) = encoders(Schema.model_validate(tiny_schema.model_dump() | {"streams": [short]}))
    largest_difference(artefact, form, artefact.write(form, tmp_path))


def test_ordered_rows_that_are_the_whole_table_are_added_to_it(tmp_path: Path) -> None:
    hour = Category("Time_Event_Hour", "EventDatetime", "datetime", "Hour", None)
    rows = OrderedRows(7, (hour,), (25,), (0,), std=1.0).eval()
    example = (torch.randn(25, 7),)
    artefact = Artefact("rows", rows, ["table"], ["sum"], [()], lambda *_: example)
    largest_difference(artefact, "onnx", artefact.write("onnx", tmp_path))
