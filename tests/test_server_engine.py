"""How the model process opens its engine."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from eventmodel.bundle import Bundle, load_bundle
from server.engine import open_bundle_engine


@pytest.fixture
def served(bundle: Bundle, tmp_path: Path) -> Bundle:
    shutil.copytree(bundle.path, tmp_path / "bundle")
    return load_bundle(tmp_path / "bundle")


def open_it(bundle: Bundle) -> None:
    open_bundle_engine(bundle, backend="onnx", device="cpu", threads=1, state_cache_mib=0)


def test_the_bundle_that_the_server_began_with_is_opened(served: Bundle) -> None:
    open_it(served)


def test_a_bundle_put_in_its_place_since_is_not(served: Bundle) -> None:
    began_with = replace(served, version="fedcba987654")
    with pytest.raises(ValueError, match="is no longer the bundle fedcba987654 that this server began with"):
        open_it(began_with)


def test_a_bundle_that_is_half_replaced_is_not(served: Bundle) -> None:
    with (served.path / "weights.safetensors").open("ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match="is not the file that was exported"):
        open_it(served)
