"""Images built here in the place of those that docker-compose.yml and Dockerfile take from a registry.

A registry need not be in reach, and the packages of the checkout's own environments are mounted, not installed again.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.compose.engine import Engine
from tests.conftest import ROOT, STUDIO_VENV

HERE = Path(__file__).parent
DEBIAN, RELEASE = "drape-stand-in/debian:trixie", "trixie"
PYTHON = "drape-stand-in/python"
# Of the standard library, what a container never needs.
LEFT_OUT = shutil.ignore_patterns("site-packages", "dist-packages", "test", "tests", "__pycache__", "config-*")
# Their code as well: they build Drape's own package, and Debian's Python has no pip of its own.
WHOLE = ("pip", "setuptools", "_distutils_hack", "pkg_resources")
PACKAGES = "/opt/packages"


def build_stand_ins(engine: Engine) -> None:
    """Builds what is missing, tagged as the files of the deployment name it."""
    if not engine.docker("images", "--quiet", DEBIAN):
        _import_debian(engine)
    images = {
        name: str(service["image"])
        for name, service in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].items()
    }
    found = re.search(r"^FROM (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found, "Dockerfile names no image to build from"
    with _python_context() as context:
        _build(engine, context, PYTHON, found[1])
    for folder, service in (
        ("label-studio", "label-studio"),
        ("postgres", "postgres"),
        ("redis", "redis"),
        ("caddy", "proxy"),
    ):
        _build(engine, HERE / folder, images[service])


def override(services: dict[str, dict[str, Any]]) -> str:
    """What changes in the services of docker-compose.yml here, as another such file; `s3` is a server of buckets.

    The packages are mounted; health is asked for more often, for the tests' sake; and as an engine that leaves the
    host's firewall alone gives its own networks no way out, images are built in the host's.
    """
    drape, studio = (f"{packages_of(environment)}:{PACKAGES}:ro" for environment in (ROOT / ".venv", STUDIO_VENV))
    changed: dict[str, dict[str, Any]] = {name: {} for name in services}
    for name, service in services.items():
        if "healthcheck" in service:
            # A start of `drape` takes most of a second of a processor.
            often = "10s" if "drape" in service["healthcheck"]["test"] else "3s"
            changed[name]["healthcheck"] = {"interval": often}
        if name == "label-studio":
            changed[name]["volumes"] = [studio]
        elif "build" in service:
            changed[name]["volumes"] = [drape]
            changed[name]["build"] = {"network": "host"}
    server = ["python3", "-m", "moto.server", "-H", "0.0.0.0", "-p", "5000"]
    changed["s3"] = {"image": PYTHON, "profiles": ["s3"], "command": server, "volumes": [drape], "init": True}
    return yaml.safe_dump({"services": changed})


def packages_of(environment: Path) -> Path:
    """The folder of packages of a virtual environment."""
    return next((environment / "lib").glob("python3*/site-packages")).resolve()


def _import_debian(engine: Engine) -> None:
    with TemporaryDirectory(dir=engine.folder) as folder:
        subprocess.run(["debootstrap", "--variant=minbase", RELEASE, folder], check=True, stdout=subprocess.DEVNULL)
        with subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE) as packed:
            subprocess.run(
                ["docker", "import", "-", DEBIAN],
                stdin=packed.stdout,
                env=engine.environment,
                check=True,
                stdout=subprocess.DEVNULL,
            )


@contextmanager
def _python_context() -> Iterator[Path]:
    """What the image of Python is built from."""
    version = f"python3.{sys.version_info.minor}"
    source, packages = Path(sys.base_prefix), packages_of(ROOT / ".venv")
    with TemporaryDirectory() as folder:
        context = Path(folder)
        shutil.copy(HERE / "python" / "Dockerfile", context)
        shutil.copytree(source / "lib" / version, context / "python" / "lib" / version, ignore=LEFT_OUT, symlinks=True)
        for library in (source / "lib").glob(f"lib{version}*.so*"):
            shutil.copy(library, context / "python" / "lib", follow_symlinks=False)
        programs = context / "python" / "bin"
        programs.mkdir()
        shutil.copy(Path(sys.executable).resolve(), programs / version)
        for name in ("python", "python3"):
            (programs / name).symlink_to(version)
        for said in packages.glob("*.dist-info"):
            if not said.name.startswith("drape-"):
                shutil.copytree(said, context / "packages" / said.name)
        for name in WHOLE:
            if (packages / name).is_dir():
                shutil.copytree(packages / name, context / "packages" / name, ignore=LEFT_OUT)
        yield context


def _build(engine: Engine, context: Path, *tags: str) -> None:
    arguments = [part for tag in tags for part in ("--tag", tag)]
    engine.docker("build", "--network=host", *arguments, str(context))
