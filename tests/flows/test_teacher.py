"""Before a project has a model SAM 3's words answer: the first model must beat them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backend.registry.scores import read_scores
from backend.registry.verdict import read_verdict
from benchmarks.random_weights import random_sam3, small_sam3
from tests.training.conftest import Workplace
from training.jobs import train

pytestmark = pytest.mark.services


@pytest.mark.parametrize(("margin", "promoted"), [("-1", True), ("1", False)])
def test_the_first_model_is_judged_beside_sam3(
    workplace: Workplace, starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, margin: str, promoted: bool
) -> None:
    project_id, registry = workplace.project_id, workplace.registry
    registry.files.indexes.change(project_id, lambda index: replace(index, champion=""))
    monkeypatch.setenv("YOLO11_BASE", str(starter))
    monkeypatch.setenv("TRAIN_IMAGE_SIZE_PX", "256")
    monkeypatch.setenv("PROMOTE_MARGIN", margin)
    for seed in (1, 3, 7):
        workplace.approve(seed)
    with small_sam3():
        monkeypatch.setenv("SAM3_WEIGHTS", str(random_sam3(tmp_path, seed=1)))
        made = train(project_id, "test")
    version = registry.versions(project_id)[-1]
    verdict, scores = read_verdict(version), read_scores(version)
    assert verdict is not None and verdict.champion == "sam3" and "that of sam3" in verdict.reason
    assert scores is not None and scores.champion is not None
    # Random weights find nothing that is there: what was trained before does.
    assert (scores.own.mask_map or 0) > (scores.champion.mask_map or 0)
    assert scores.own.ms_an_image and scores.champion.ms_an_image is None
    assert made["promoted"] is promoted
    champion = registry.champion(project_id)
    assert (champion == version) if promoted else (champion is None)
