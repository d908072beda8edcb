"""What the jobs of one worker share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from backend.prelabel.worker_models import worker_models
from backend.segmenters.sam_weights import auto_weights
from backend.settings import Settings
from benchmarks.random_weights import random_mobile_sam, random_sam3, small_sam3


@pytest.mark.slow
def test_a_worker_loads_what_the_backend_has_downloaded_without_a_restart(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", device="cpu", sam_weights="auto")
    models = worker_models(settings)
    first = models.batch.segmenter()
    assert first.name == "builtin" and models.batch.segmenter() is first
    path = auto_weights(settings)
    path.parent.mkdir(parents=True)
    shutil.move(random_mobile_sam(tmp_path), path)
    then = models.batch.segmenter()
    assert then.name == "mobile_sam" and models.batch.segmenter() is then


@pytest.mark.slow
def test_a_loaded_sam_3_is_not_loaded_again_for_what_the_backend_downloads(tmp_path: Path) -> None:
    """There may be no memory for it twice; a SAM without words would answer in its place."""
    with small_sam3():
        sam3 = str(random_sam3(tmp_path, seed=1))
        settings = Settings(data_dir=tmp_path / "data", device="cpu", sam_weights="auto", sam3_weights=sam3)
        models = worker_models(settings)
        first = models.batch.segmenter()
        path = auto_weights(settings)
        path.parent.mkdir(parents=True)
        path.touch()
        assert models.batch.segmenter() is first
