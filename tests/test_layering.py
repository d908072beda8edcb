"""One direction of dependency: read from the imports themselves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"backend", "training", "label_studio_config", "launcher"}
MAY_IMPORT = {
    "backend": {"backend"},
    "training": {"training", "backend"},
    "label_studio_config": {"label_studio_config", "backend"},
    "launcher": PACKAGES,
}
# The stages between the wire and the models know neither; they also import in milliseconds.
SHAPES = ("bitmask", "brush", "encode", "line_fit", "mask_borders", "polygons")
WIRE = ("label_config", "payloads", "prompts")
PURE = (
    "domain",
    "errors",
    "settings",
    *(f"regions/{name}" for name in SHAPES),
    *(f"label_studio/{name}" for name in WIRE),
)
HEAVY = {"fastapi", "torch", "ultralytics", "uvicorn", "rq"}


def imported(path: Path) -> set[str]:
    """First parts of the modules that the file imports."""
    tree = ast.parse(path.read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        assert imported(path) & PACKAGES <= MAY_IMPORT[package], path


@pytest.mark.parametrize("module", PURE)
def test_the_stages_between_import_no_framework(module: str) -> None:
    assert not imported(ROOT / "backend" / f"{module}.py") & HEAVY


def test_nothing_of_ours_imports_flask() -> None:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            assert "flask" not in imported(path), path


def test_only_settings_read_the_environment() -> None:
    for package in PACKAGES - {"launcher"}:
        for path in (ROOT / package).rglob("*.py"):
            if path.name != "settings.py":
                assert "os.environ" not in path.read_text(), path
