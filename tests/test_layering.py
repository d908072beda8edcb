"""One direction of dependency, and where everything stands: read from the imports themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Lowest first: a unit, a module or a folder of a package, imports only from units before it.
ORDER = {
    "backend": [
        "errors",
        "domain",
        "project_settings",
        "installation_settings",
        "settings",
        "templates",
        "telemetry",
        "compute",
        "storage",
        "label_studio",
        "web",
        "images",
        "regions",
        "registry",
        "segmenters",
        "detector",
        "auto_accept",
        "predict",
        "queues",
        "connections",
        "prelabel",
        "status",
        "timer",
        "service",
        "page",
        "review",
        "live",
        "app",
        "model",
    ],
    "training": [
        "metrics",
        "annotations",
        "dataset",
        "finetuning",
        "evaluation",
        "auto_accept",
        "report",
        "model_export",
        "data_in",
        "data_out",
        "prompt_network",
        "garment_base",
        "students",
        "runs",
        "judging",
        "retraining",
        "add_student",
        "evaluate",
        "jobs",
    ],
    "label_studio_config": ["palette_xml", "palettes", "demo", "uploads", "provision"],
    "launcher": ["errors", "bootstrap", "stack", "doctor", "backup", "commands", "cli", "dev"],
}
MAY_IMPORT = {
    "backend": {"backend"},
    "training": {"training", "backend"},
    "label_studio_config": {"label_studio_config", "backend"},
    "launcher": set(ORDER),
}
MOST_MODULES, MOST_LINES = 12, 400
# The stages between the wire and the models know neither; they also import in milliseconds.
WIRE = [f"backend/label_studio/{name}.py" for name in ("label_config", "payloads", "prompts")]
REGIONS = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "backend" / "regions").glob("*.py"))]
PURE = [*(f"backend/{name}.py" for name in ("errors", "domain", "settings")), *WIRE, *REGIONS]
HEAVY = {"fastapi", "torch", "ultralytics", "uvicorn", "rq"}


def imports(path: Path) -> set[str]:
    """Dotted names of the modules that the file imports, wherever in it."""
    tree = ast.parse(path.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    # What is imported may be a module of that package.
    return names | {f"{node.module}.{alias.name}" for node in froms for alias in node.names}


def heads(path: Path) -> set[str]:
    """First parts of what the file imports."""
    return {name.split(".")[0] for name in imports(path)}


def modules(package: str) -> list[Path]:
    """Its Python files."""
    return sorted((ROOT / package).rglob("*.py"))


def folders(package: str) -> Iterator[Path]:
    """Itself and its sub-packages."""
    return (path.parent for path in modules(package) if path.name == "__init__.py")


def unit_of(path: Path, package: str) -> str:
    """The part of the package that the file is, or lies in."""
    return path.relative_to(ROOT / package).parts[0].removesuffix(".py")


@pytest.mark.parametrize("package", ORDER)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    for path in modules(package):
        assert heads(path) & set(ORDER) <= MAY_IMPORT[package], path


@pytest.mark.parametrize("package", ORDER)
def test_every_unit_stands_in_the_order(package: str) -> None:
    assert {unit_of(path, package) for path in modules(package)} - {"__init__"} == set(ORDER[package])


@pytest.mark.parametrize("package", ORDER)
def test_a_unit_imports_only_from_units_before_it(package: str) -> None:
    order = ORDER[package]
    for path in modules(package):
        unit = unit_of(path, package)
        if unit == "__init__":
            assert not heads(path) & set(ORDER), path
            continue
        used = {name.split(".")[1] for name in imports(path) if name.startswith(f"{package}.")} - {unit}
        late = [one for one in used if order.index(one) > order.index(unit)]
        assert not late, (path, late)


@pytest.mark.parametrize("package", ORDER)
def test_a_folder_and_a_module_can_be_looked_over(package: str) -> None:
    for folder in folders(package):
        assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= MOST_MODULES, folder
    for path in modules(package):
        assert len(path.read_text().splitlines()) <= MOST_LINES, path


@pytest.mark.parametrize("package", [*ORDER, "benchmarks"])
def test_each_folder_names_its_modules(package: str) -> None:
    for folder in folders(package):
        said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
        named = {line.split("`")[1] for line in said.splitlines() if line.startswith("- `")}
        there = {path.stem for path in folder.glob("*.py")} | {
            path.parent.name for path in folder.glob("*/__init__.py")
        }
        assert named == there - {"__init__"}, folder


@pytest.mark.parametrize("module", PURE)
def test_the_stages_between_import_no_framework(module: str) -> None:
    assert not heads(ROOT / module) & HEAVY


def test_nothing_of_ours_imports_flask() -> None:
    for package in ORDER:
        for path in modules(package):
            assert "flask" not in heads(path), path


def test_only_settings_read_the_environment() -> None:
    for package in set(ORDER) - {"launcher"}:
        for path in modules(package):
            if path.name != "settings.py":
                assert "os.environ" not in path.read_text(), path
