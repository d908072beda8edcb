"""Several machines: an import of 500 images, hosts that are cut off and come back, and a new model for all of them."""

from __future__ import annotations

import pytest
from rich.console import Console

from benchmarks.hosts.__main__ import run
from tests.conftest import ARTEFACTS

pytestmark = [pytest.mark.services, pytest.mark.long, pytest.mark.timeout(1500)]
IMAGES, CUT_S = 500, 20.0


def test_everything_ends_right(hosts_can_be_made: None) -> None:
    """Label Studio, Redis and S3 on one host, a backend on another, a backend and workers on two more."""
    found = run(IMAGES, CUT_S, Console(), keep_logs=ARTEFACTS / "hosts")
    assert found.broken == []
    assert found.asked > 0
    assert set(found.took_s) >= {"all predicted, after the cut", "missed events made up for"}
