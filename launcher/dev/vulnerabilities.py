"""Finds known vulnerabilities of the installed packages with pip-audit: `make audit`.

If the data on vulnerabilities cannot be reached, it reports that and exits with 0, so that a build does not fail. It
exits with 1 if docs/explanation/security-dependencies.md does not discuss a vulnerability.
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
ASSESSMENTS = ROOT / "docs" / "explanation" / "security-dependencies.md"
SERVICES = ("pypi", "osv")
# It has known vulnerabilities. A service that reports none, as mirrors do, would report none for other packages either.
CANARY = "jinja2==3.0.3"
TIMEOUT_S = 300


@dataclass(frozen=True)
class Vulnerability:
    """One known vulnerability of an installed package; `names` are all of its identifiers, such as CVE and GHSA."""

    package: str
    version: str
    names: tuple[str, ...]
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        fixed = ", ".join(self.fixed_in) or "no version"
        return f"{self.package} {self.version}: {', '.join(self.names)} (fixed in {fixed})"


def read_report(report: str) -> list[Vulnerability]:
    """The vulnerabilities in a report of `pip-audit --format json`."""
    fields: dict[str, Any] = json.loads(report)
    return [
        Vulnerability(
            package["name"],
            package["version"],
            tuple(sorted({vulnerability["id"], *vulnerability.get("aliases", ())})),
            tuple(vulnerability.get("fix_versions", ())),
        )
        for package in fields["dependencies"]
        for vulnerability in package.get("vulns", ())
    ]


def unassessed(vulnerabilities: Sequence[Vulnerability], assessments: str) -> list[Vulnerability]:
    """The vulnerabilities of which the document contains none of the names."""
    return [found for found in vulnerabilities if not any(name in assessments for name in found.names)]


def _query(service: str, options: Sequence[str]) -> list[Vulnerability] | None:
    """The vulnerabilities that the service reports; None if it does not answer."""
    command = [str(PROGRAM), "-s", service, "-f", "json", "--progress-spinner", "off", *options]
    try:
        # The exit status is 1 both after a finding and after a failure, but only a finding leaves a report.
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        return read_report(done.stdout)
    except (subprocess.TimeoutExpired, OSError, ValueError, KeyError, TypeError):
        return None


def audit() -> tuple[int, list[str]]:
    """The exit status, and the lines to print."""
    if not PROGRAM.is_file():
        return 0, ["NOT AUDITED: pip-audit is not installed."]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as canary:
        canary.write(CANARY + "\n")
        canary.flush()
        options = ["-r", canary.name, "--no-deps", "--disable-pip"]
        service = next((service for service in SERVICES if _query(service, options)), None)
    found = None if service is None else _query(service, ["--path", sysconfig.get_path("purelib")])
    if found is None:
        return 0, ["NOT AUDITED: neither PyPI nor OSV returned data on known vulnerabilities."]
    new = unassessed(found, ASSESSMENTS.read_text())
    page = ASSESSMENTS.relative_to(ROOT).as_posix()
    summary = f"{len(found)} known vulnerabilities, {len(new)} of them not discussed in {page} ({service})."
    return int(bool(new)), [summary, *map(str, new)]


if __name__ == "__main__":
    status, output = audit()
    sys.stdout.write("\n".join(output) + "\n")
    sys.exit(status)
