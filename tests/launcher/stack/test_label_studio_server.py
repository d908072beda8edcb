"""The stock Label Studio that `drape up` runs."""

from __future__ import annotations

import pytest

from backend.label_studio.connection import fetch_version
from tests.conftest import Studio


@pytest.mark.services
def test_it_asks_nobody_for_newer_versions(label_studio: Studio) -> None:
    assert fetch_version(label_studio.url, timeout_s=30).is_success
    log = label_studio.files.parent / "logs" / "label-studio.log"
    assert "/api/version" in log.read_text() and "pypi.org" not in log.read_text()
