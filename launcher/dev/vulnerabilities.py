"""Finds known vulnerabilities of the installed packages with pip-audit: `make audit`.

If the data on vulnerabilities cannot be reached, it reports that and exits with 0, so that a build does not fail. It
exits with 1 if docs/explanation/security-dependencies.md does not discuss a vulnerability.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PROGRAM = ROOT / ".venv-audit" / "bin" / "pip-audit"
ASSESSMENTS = ROOT / "docs" / "explanation" / "security-dependencies.md"
SERVICES = ("pypi", "osv")
# It has known vulnerabilities. A service that reports none, as mirrors do, would report none for other packages either.
CANARY = "jinja2==3.0.3"
TIMEOUT_S = 300


def read_report(report: str) -> list[str]:
    """One line for each vulnerability in a report of `pip-audit --format json`."""
    return [
        f"{package['name']} {package['version']}: {', '.join([found['id'], *found.get('aliases', ())])} "
        f"(fixed in {', '.join(found.get('fix_versions', ())) or 'no version'})"
        for package in json.loads(report)["dependencies"]
        for found in package.get("vulns", ())
    ]


def assessed_names(assessments: str) -> list[str]:
    """The identifiers that the document contains; pip-audit ignores a vulnerability under any of its identifiers."""
    return re.findall(r"\b(?:CVE|GHSA|OSV|PYSEC)-[\w-]+", assessments)


def _query(service: str, options: Sequence[str]) -> list[str] | None:
    """The vulnerabilities that the service reports; None if it does not answer."""
    command = [str(PROGRAM), "-s", service, "-f", "json", "--progress-spinner", "off", *options]
    try:
        # The exit status is 1 both after a finding and after a failure, but a failure leaves no report.
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
    ignored = [f"--ignore-vuln={name}" for name in assessed_names(ASSESSMENTS.read_text())]
    found = None if service is None else _query(service, ["--path", sysconfig.get_path("purelib"), *ignored])
    if found is None:
        return 0, ["NOT AUDITED: neither PyPI nor OSV returned data on known vulnerabilities."]
    page = ASSESSMENTS.relative_to(ROOT).as_posix()
    return int(bool(found)), [f"{len(found)} known vulnerabilities that {page} does not discuss ({service}).", *found]


if __name__ == "__main__":
    status, output = audit()
    sys.stdout.write("\n".join(output) + "\n")
    sys.exit(status)
