"""Known vulnerabilities of what is installed, by pip-audit: `make audit`.

Where the data on vulnerabilities cannot be reached it says so, and ends with 0: a build does not fail for that. A
finding that docs/explanation/security-dependencies.md does not answer ends it with 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PROGRAM = ROOT / ".venv-audit" / "bin" / "pip-audit"
ANSWERS = ROOT / "docs" / "explanation" / "security-dependencies.md"
SERVICES = ("pypi", "osv")
# It has known vulnerabilities. An index that knows of none, as mirrors do, would call everything else clean, too.
CANARY = "jinja2==3.0.3"
PATIENCE_S = 300


@dataclass(frozen=True)
class Vulnerability:
    """One known vulnerability of an installed package; `names` are all that it goes by, such as CVE and GHSA."""

    package: str
    version: str
    names: tuple[str, ...]
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        fixed = ", ".join(self.fixed_in) or "no version"
        return f"{self.package} {self.version}: {', '.join(self.names)} (fixed in {fixed})"


def read_report(report: str) -> list[Vulnerability]:
    """What a report of `pip-audit --format json` holds; of what could not be looked up it holds none."""
    facts: dict[str, Any] = json.loads(report)
    return [
        Vulnerability(
            package["name"],
            package["version"],
            tuple(sorted({found["id"], *found.get("aliases", ())})),
            tuple(found.get("fix_versions", ())),
        )
        for package in facts["dependencies"]
        for found in package.get("vulns", ())
    ]


def unanswered(found: Sequence[Vulnerability], answers: str) -> list[Vulnerability]:
    """Those of which the document holds none of the names."""
    return [one for one in found if not any(name in answers for name in one.names)]


def _ask(service: str, chosen: Sequence[str]) -> list[Vulnerability] | None:
    """What the service knows; None where it does not answer."""
    command = [str(PROGRAM), "-s", service, "-f", "json", "--progress-spinner", "off", *chosen]
    try:
        # It ends with 1 both where it finds something and where it fails: only the former leaves a report.
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        return read_report(done.stdout)
    except (subprocess.TimeoutExpired, OSError, ValueError, KeyError, TypeError):
        return None


def audit() -> tuple[int, list[str]]:
    """The exit status, and what to say."""
    if not PROGRAM.is_file():
        return 0, ["NOT AUDITED: pip-audit could not be installed here."]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as canary:
        canary.write(CANARY + "\n")
        canary.flush()
        service = next((one for one in SERVICES if _ask(one, ["-r", canary.name, "--no-deps", "--disable-pip"])), None)
    found = None if service is None else _ask(service, ["--path", sysconfig.get_path("purelib")])
    if found is None:
        return 0, ["NOT AUDITED: no data on known vulnerabilities can be reached from here (neither PyPI's nor OSV's)."]
    new = unanswered(found, ANSWERS.read_text())
    page = ANSWERS.relative_to(ROOT).as_posix()
    said = [f"{len(found)} known vulnerabilities, {len(new)} of them not answered in {page} ({service})."]
    return int(bool(new)), said + [str(one) for one in new]


if __name__ == "__main__":
    status, sentences = audit()
    sys.stdout.write("\n".join(sentences) + "\n")
    sys.exit(status)
