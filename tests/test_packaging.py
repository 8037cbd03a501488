"""What is installed is what is in the repository."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
PACKAGES = ("eventmodel", "training", "export", "server")


def files() -> list[Path]:
    found = (file.relative_to(ROOT) for package in PACKAGES for file in (ROOT / package).rglob("*"))
    return [file for file in found if (ROOT / file).is_file() and "__pycache__" not in file.parts]


def test_every_package_is_installed() -> None:
    there = {".".join(file.parent.parts) for file in files() if file.name == "__init__.py"}
    assert there == set(SETUPTOOLS["packages"])
    assert {file.parent for file in files() if file.suffix == ".py"} == {Path(*name.split(".")) for name in there}


def test_every_file_that_is_no_module_is_installed() -> None:
    installed = {
        file.relative_to(ROOT)
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for file in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    assert {file for file in files() if file.suffix != ".py"} == installed
