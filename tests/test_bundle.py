"""A bundle's header: what is wrong with it is said in one line that names it."""

import json
from pathlib import Path
from typing import Any

import pytest
from server_example import write_example

from eventmodel.bundle import FORMAT, load_bundle


def without(header: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in header.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: without(header, "files"), "lacks 'files'"),
        (lambda header: header | {"files": ["weights"]}, "is damaged"),
        (lambda header: header | {"model": header["model"] | {"d_model": "20"}}, "is damaged"),
        (
            lambda header: header | {"vocabularies": without(header["vocabularies"], "people")},
            "no values for the vocabularies",
        ),
        (lambda header: [header], "is not a bundle: its bundle.json says 'list'"),
    ],
)
def test_a_damaged_header_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    file = write_example(tmp_path).path / FORMAT.file
    file.write_text(json.dumps(change(json.loads(file.read_text("utf-8")))), "utf-8")
    with pytest.raises(ValueError, match=message):
        load_bundle(tmp_path)


def test_a_header_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (write_example(tmp_path).path / FORMAT.file).write_bytes(b"\xff\xd8")
    with pytest.raises(ValueError, match="is not a bundle"):
        load_bundle(tmp_path)
