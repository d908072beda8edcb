"""What pip-audit reports, and which of it the document answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from launcher.dev.vulnerabilities import ASSESSMENTS, CANARY, ROOT, Vulnerability, read_report, unassessed

FOUND = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1", "GHSA-aaaa"], "fix_versions": ["3.1.6"], "description": "…"}


@pytest.mark.parametrize(
    ("dependencies", "expected"),
    [
        ([], []),
        ([{"name": "a", "version": "1", "vulns": []}], []),
        # As pip-audit 2.10 writes of a package that its service does not know.
        ([{"name": "a", "skip_reason": "Dependency not found on PyPI and could not be audited: a (1)"}], []),
        (
            [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "version": "2", "vulns": [FOUND]}],
            [Vulnerability("b", "2", ("CVE-2026-1", "GHSA-aaaa", "PYSEC-2026-1"), ("3.1.6",))],
        ),
    ],
)
def test_a_report_is_read(dependencies: list[dict[str, Any]], expected: list[Vulnerability]) -> None:
    assert read_report(json.dumps({"dependencies": dependencies, "fixes": []})) == expected


@pytest.mark.parametrize("answers", ["See GHSA-aaaa.", "| b 2 | CVE-2026-1 |"])
def test_a_finding_is_answered_under_any_of_its_names(answers: str) -> None:
    (found,) = read_report(json.dumps({"dependencies": [{"name": "b", "version": "2", "vulns": [FOUND]}]}))
    assert unassessed([found], answers) == []
    assert unassessed([found], "See CVE-2026-2.") == [found]
    assert str(found) == "b 2: CVE-2026-1, GHSA-aaaa, PYSEC-2026-1 (fixed in 3.1.6)"


def test_the_canary_is_installed_and_answered() -> None:
    name, _, version = CANARY.partition("==")
    assert f"{name}=={version}" in (ROOT / "requirements.txt").read_text().lower()
    assert f"Jinja2 {version}" in ASSESSMENTS.read_text()
