"""What label-studio-ml pins of 2022 is installed beside Drape, and never imported by it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PACKAGES = ("backend", "training", "label_studio_config", "launcher")
# By the names that they are imported by; Jinja2, which it pins too, is a dependency of our own.
OLD = ("flask", "werkzeug", "itsdangerous")
WHOLE_PRODUCT = """
import importlib, pkgutil, sys
blocked = sys.argv[2:]
for name in blocked:
    sys.modules[name] = None  # Importing it raises.
names = []
for package in sys.argv[1].split(","):
    found = importlib.import_module(package)
    names += [package, *(module.name for module in pkgutil.walk_packages(found.__path__, package + "."))]
for name in names:
    importlib.import_module(name)
from backend.app import create_app
from backend.settings import Settings
app = create_app(Settings(_env_file=None))
for name in blocked:
    loaded = [module for module in sys.modules if module == name or module.startswith(name + ".")]
    assert loaded == [name] and sys.modules[name] is None, loaded
import attr
print(len(names), len(app.routes), attr.__file__, "label_studio_ml.model" in sys.modules, "torch" in sys.modules)
"""


def test_it_pins_what_we_think() -> None:
    pinned = {re.split(r"[ (]", one)[0].lower() for one in requires("label-studio-ml") or () if "==" in one}
    assert pinned == {*OLD, "jinja2", "attr"}


def test_the_whole_product_works_where_they_cannot_be_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WHOLE_PRODUCT, ",".join(PACKAGES), *OLD],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # Before the last line Ultralytics may say that it writes its settings for the first time.
    modules, routes, attr, plug_in, torch = done.stdout.splitlines()[-1].split()
    # It was the whole of it: the plug-in's class and the trainings, too.
    assert int(modules) > 100 and int(routes) >= 10 and plug_in == torch == "True"
    # Not `attr.py` of 2015, which is installed beside it.
    assert Path(attr).parent.name == "attr"


def test_what_blocks_them_would_be_seen() -> None:
    """The same with a package that is used: it fails."""
    done = subprocess.run(
        [sys.executable, "-c", WHOLE_PRODUCT, "backend", "jinja2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0 and "jinja2" in done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_of_ours_names_them(package: str) -> None:
    """Neither where a module begins nor within a function."""
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            assert not {name.split(".")[0] for name in names} & set(OLD), path


def test_of_jinja_only_what_is_sound_is_used() -> None:
    """See docs/explanation/security-dependencies.md: templates of ours alone, without `xmlattr`; no sandbox."""
    templates = [path for package in PACKAGES for path in (ROOT / package).rglob("*.jinja")]
    assert templates and not any("xmlattr" in path.read_text() for path in templates)
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text()
            assert "Sandboxed" not in text and "from_string" not in text, path
