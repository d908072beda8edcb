"""What pip-audit reports, and which of it the document answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from launcher.dev.vulnerabilities import ASSESSMENTS, CANARY, ROOT, assessed_names, read_report

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
            ["b 2: PYSEC-2026-1, CVE-2026-1, GHSA-aaaa (fixed in 3.1.6)"],
        ),
    ],
)
def test_a_report_is_read(dependencies: list[dict[str, Any]], expected: list[str]) -> None:
    assert read_report(json.dumps({"dependencies": dependencies, "fixes": []})) == expected


def test_what_the_document_discusses_is_ignored_under_the_name_that_it_gives() -> None:
    text = "| b 2 | CVE-2026-1, GHSA-aaaa-bbbb |\nSee PYSEC-2026-1. Under BSD-3-Clause."
    assert assessed_names(text) == ["CVE-2026-1", "GHSA-aaaa-bbbb", "PYSEC-2026-1"]
    assert "CVE-2023-30861" in assessed_names(ASSESSMENTS.read_text())


def test_the_canary_is_installed_and_answered() -> None:
    name, _, version = CANARY.partition("==")
    assert f"{name}=={version}" in (ROOT / "requirements.txt").read_text().lower()
    assert f"Jinja2 {version}" in ASSESSMENTS.read_text()
