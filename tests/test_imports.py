"""The arrows of the house plan: training, export and server import eventmodel, never one another."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("eventmodel", "training", "export", "server")


def imported(package: str) -> set[str]:
    """First names of everything that a package's files import."""
    found = set()
    for file in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_no_other_but_eventmodel(package: str) -> None:
    others = set(PACKAGES) - {package, "eventmodel"} if package != "eventmodel" else set(PACKAGES) - {package}
    assert not imported(package) & others


def test_schema_log_and_bundle_need_no_torch() -> None:
    for name in (
        "schema",
        "calendar",
        "codec",
        "array_file",
        "event_log",
        "log_writer",
        "bundle",
        "directory",
        "context",
        "config",
        "entities",
        "api",
    ):
        tree = ast.parse((ROOT / "eventmodel" / f"{name}.py").read_text("utf-8"))
        modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        modules |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert not any(str(module).startswith("torch") for module in modules), name
