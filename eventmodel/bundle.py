"""The bundle: a directory with everything that serving needs. Export writes it, the server reads it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from eventmodel.codec import Codec, Vocabularies
from eventmodel.config import ModelConfig
from eventmodel.header import Format
from eventmodel.schema import Schema

FORMAT = Format(
    "a bundle",
    name="event model bundle",
    version=5,
    file="bundle.json",
    instead="make one with python -m export.run",
    again="export it again",
)

ArtefactForm = Literal["onnx", "torchscript"]
_SUFFIX: dict[ArtefactForm, str] = {"onnx": ".onnx", "torchscript": ".ts"}


@dataclass(frozen=True)
class Bundle:
    """The header of a bundle; the artefacts lie beside it under ``path``."""

    path: Path
    name: str
    """Of the schema."""
    version: str
    """Content hash of the weights: equal weights, equal version."""
    schema: Schema
    vocabularies: Vocabularies
    config: ModelConfig
    months: tuple[int, ...]
    """Of the datetime that orders the log, those that training has shown."""
    metrics: dict[str, Any]
    """Of the checkpoint, as training measured them."""
    versions: dict[str, str]
    """Of the libraries that wrote the artefacts."""
    parity: dict[str, float]
    """Per format, the largest difference in probability from the eager model that export saw."""
    example: dict[str, Any]
    """A real request."""

    @cached_property
    def codec(self) -> Codec:
        return Codec(self.schema, self.vocabularies)

    @property
    def formats(self) -> tuple[str, ...]:
        """Artefact formats that the bundle holds beside the weights."""
        return tuple(self.parity)

    @property
    def max_horizon(self) -> int:
        return self.config.target_length


def artefact_path(directory: Path, graph: str, form: ArtefactForm) -> Path:
    """Where a bundle in ``directory`` keeps a graph."""
    return directory / f"{graph}{_SUFFIX[form]}"


def write_bundle(bundle: Bundle, draft: Path) -> None:
    """Write header and example into ``draft``, where the artefacts already lie, and hash them all."""
    (draft / "example.json").write_text(json.dumps(bundle.example, indent=2), "utf-8")
    files = {p.name: _sha256(p) for p in sorted(draft.iterdir()) if p.name != FORMAT.file}
    header = {
        **FORMAT.header(),
        "name": bundle.name,
        "version": bundle.version,
        "schema": bundle.schema.model_dump(mode="json"),
        "vocabularies": {name: list(values) for name, values in bundle.vocabularies.items()},
        "model": bundle.config.to_dict(),
        "months": bundle.months,
        "metrics": bundle.metrics,
        "versions": bundle.versions,
        "parity": bundle.parity,
        "files": files,
    }
    (draft / FORMAT.file).write_text(json.dumps(header, indent=1), "utf-8")


def load_bundle(path: Path) -> Bundle:
    """Read a bundle's header and verify every file against its hash.

    Raises:
        ValueError: not a bundle, of another format, or a file is missing or changed.
    """
    path = Path(path)
    header = FORMAT.read(path)
    with FORMAT.reading(path):
        files = dict(header["files"])
    _check_files(path, files)
    with FORMAT.reading(path):
        bundle = Bundle(
            path=path,
            name=header["name"],
            version=header["version"],
            schema=Schema.model_validate(header["schema"]),
            vocabularies=header["vocabularies"],
            config=ModelConfig.from_dict(header["model"]),
            months=tuple(header["months"]),
            metrics=header["metrics"],
            versions=header["versions"],
            parity=header["parity"],
            example=json.loads((path / "example.json").read_text("utf-8")),
        )
        _ = bundle.codec  # a vocabulary that is missing is missed here
    return bundle


def _check_files(path: Path, expected: Mapping[str, str]) -> None:
    for name, sha256 in expected.items():
        if not (path / name).is_file():
            raise ValueError(f"{path} lacks {name}; export the bundle again, or copy it whole")
        if _sha256(path / name) != sha256:
            raise ValueError(
                f"{path / name} is not the file that was exported: its sha256 differs; copy the bundle again"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
