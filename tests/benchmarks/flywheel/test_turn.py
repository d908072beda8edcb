from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.flywheel.turn import settings_for
from tests.benchmarks.flywheel.generations import PLAN

# labels a generation, approved images that a training needs
NEEDED = [(6, 6), (30, 20)]


@pytest.mark.parametrize(("labels", "needed"), NEEDED)
def test_every_batch_starts_one_training(
    labels: int, needed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A service of one's own is left alone.
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://studio.example")
    monkeypatch.setenv("REDIS_URL", "redis://redis.example")
    settings = settings_for(replace(PLAN, labels=labels, initial="n"), tmp_path)
    assert (settings.retrain_after, settings.retrain_min_images) == (labels, needed)
    # With the starter alone the last label begins no training.
    untrained = settings_for(replace(PLAN, labels=labels, generations=0, starter=True, refine="builtin"), tmp_path)
    assert untrained.retrain_after > labels and untrained.refine == "builtin"
    assert (settings.label_studio_url, settings.redis_url, settings.models_path) == ("", "", tmp_path / "models")
