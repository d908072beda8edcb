"""What is kept with a version after it was judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.registry.records import write_text
from backend.registry.registry import Registry
from backend.registry.verdict import FILE, LabelVerdict, Verdict, read_verdict, write_verdict


def test_a_verdict_is_read_as_it_was_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = tmp_path / "w.pt"
    weights.write_bytes(b"weights")
    version = Registry(tmp_path / "models").add(
        1,
        weights=weights,
        classes=("saree",),
        parent=None,
        metrics={},
        annotations={},
        image_size_px=256,
        origin="training",
    )
    assert read_verdict(version) is None
    labels = (LabelVerdict("saree", 12, 0.8, 0.7),)
    for verdict in (Verdict(True, "first", 3), Verdict(False, "no", 40, "v1", 0.5, 0.6, (-0.2, 0.1), labels)):
        write_verdict(version, verdict)
        assert read_verdict(version) == verdict
    for damage in ('{"promoted": tr', "[]", '{"promoted": true, "gain_95": 3, "labels": []}'):
        write_text(version, FILE, damage)
        assert read_verdict(version) is None
    assert caplog.text.count(version.name) == 3
