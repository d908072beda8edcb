"""The page of licences, made from what is installed: `python -m launcher.dev.licences_page`.

It lists the packages of requirements.txt and requirements-students.txt and all their dependencies, on this machine,
with this Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from launcher.dev.generated_page import DOCS, markdown_table, with_generated_part

PAGE = DOCS / "explanation" / "licences.md"
REQUIREMENTS = tuple(DOCS.parent / name for name in ("requirements.txt", "requirements-students.txt"))
# A longer first line is the licence's text, not its name.
MAX_NAME_LENGTH = 80
# Packages whose metadata name no licence; these are the licences of their licence files.
LICENCES_BY_FILE = {
    "faster-coco-eval": "Apache-2.0",
    "label-studio-sdk": "Apache-2.0",
    "cuda-toolkit": "NVIDIA (metapackage)",
}


@dataclass(frozen=True)
class Package:
    """An installed package; `direct` if one of these files names it."""

    name: str
    version: str
    licence: str
    home: str
    direct: bool


def requirement_lines() -> list[str]:
    """The lines of the files of requirements."""
    return [line for file in REQUIREMENTS for line in file.read_text().splitlines()]


def direct_requirements() -> dict[str, Requirement]:
    """The requirements of these files that apply to this machine, by normalised name."""
    lines = (line.split("#")[0].strip() for line in requirement_lines())
    requirements = [Requirement(line) for line in lines if line]
    return {
        canonicalize_name(requirement.name): requirement
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate()
    }


def installed_packages() -> list[Package]:
    """The packages of these files and all their dependencies, by name."""
    direct = direct_requirements()
    packages: dict[str, Package] = {}
    pending = list(direct.values())
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        try:
            package = distribution(requirement.name)
        except PackageNotFoundError:
            continue
        if name not in packages or requirement.extras:
            dependencies = _dependencies(package, requirement.extras)
            pending += [needed for needed in dependencies if canonicalize_name(needed.name) not in packages]
        packages[name] = Package(
            package.metadata["Name"], package.version, licence_of(package), _home(package), name in direct
        )
    return sorted(packages.values(), key=lambda package: package.name.lower())


def _dependencies(package: Distribution, extras: set[str]) -> list[Requirement]:
    environment = {name: str(value) for name, value in default_environment().items()}
    environments = [{**environment, "extra": extra} for extra in ("", *sorted(extras))]
    return [
        requirement
        for requirement in map(Requirement, package.requires or ())
        if requirement.marker is None or any(map(requirement.marker.evaluate, environments))
    ]


def licence_of(package: Distribution) -> str:
    """The licence that the package's metadata name: as an expression, in a line, or by classifiers."""
    classifiers = [
        entry.rpartition("::")[2].strip()
        for entry in package.metadata.get_all("Classifier") or ()
        if entry.startswith("License ::") and not entry.endswith(("DFSG approved", "OSI Approved"))
    ]
    line = next(iter(_field(package, "License").strip().splitlines()), "")
    line = line.rpartition("::")[2].strip()
    short = line if line != "UNKNOWN" and len(line) <= MAX_NAME_LENGTH and line.strip("=") else ""
    # The line may be more exact than a classifier such as 'BSD License', but many packages put the whole text there.
    exact = short if not any(word in short.lower() for word in ("copyright", "agreement")) else ""
    licence = _field(package, "License-Expression") or exact or ", ".join(classifiers)
    return licence or LICENCES_BY_FILE.get(canonicalize_name(package.metadata["Name"]), "unknown")


def _field(package: Distribution, name: str) -> str:
    return next(iter(package.metadata.get_all(name) or ()), "")


def _home(package: Distribution) -> str:
    links = dict(
        (label.strip().lower(), link.strip())
        for label, _, link in (entry.partition(",") for entry in package.metadata.get_all("Project-URL") or ())
    )
    preferred = (links.get(label) for label in ("homepage", "repository", "source", "source code", "documentation"))
    return next((link for link in preferred if link), _field(package, "Home-page") or next(iter(links.values()), ""))


def licences_page() -> str:
    """The page as Markdown: one row a package."""
    rows = [
        (
            package.name,
            package.version,
            package.licence.replace("|", "/"),
            "yes" if package.direct else "",
            package.home,
        )
        for package in installed_packages()
    ]
    columns = ("package", "version", "licence", "required directly", "home page")
    return with_generated_part(PAGE, markdown_table(columns, rows))


if __name__ == "__main__":
    PAGE.write_text(licences_page())
