"""What is kept of a version's figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backend.registry.records import write_text
from backend.registry.registry import Registry
from backend.registry.scores import FILE, Compared, LabelScores, Scores, read_scores, write_scores


def test_scores_are_read_as_they_were_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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
    assert read_scores(version) is None
    saree = LabelScores("saree", 12, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1 / 3)
    belt = LabelScores("belt", 0, *[None] * 10)
    own = Scores(40, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1 / 3, 1.0, 12.5, (saree, belt))
    nothing = Scores(0, None, None, None, None, None, None, None, None, None, None, None, None, ())
    for compared in (Compared(own, replace(own, mask_map=0.0)), Compared(own, None), Compared(nothing, nothing)):
        write_scores(version, compared)
        assert read_scores(version) == compared
    damages = ('{"own": tr', "[]", '{"own": {}, "champion": null}', '{"own": null, "champion": null}', '{"own": {}}')
    for damage in damages:
        write_text(version, FILE, damage)
        assert read_scores(version) is None
    assert caplog.text.count(version.name) == len(damages)
