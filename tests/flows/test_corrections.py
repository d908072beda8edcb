"""A person corrects predictions in a real Label Studio: the next training weighs what was wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.prelabel.jobs import prelabel
from backend.registry.records import read_text
from label_studio_config.demo.write import write_images
from label_studio_config.provision import ensure_local_files
from tests.conftest import Studio
from tests.training.conftest import Workplace, regions_of
from training.jobs import check_approvals, train

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

CORRECTED, LEFT = range(600, 612), range(612, 616)


def test_corrections_are_trained_on_by_their_weights(
    workplace: Workplace, label_studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id, studio = workplace.project_id, workplace.label_studio
    monkeypatch.setenv("HARD_EXAMPLE_WEIGHT", "3")
    monkeypatch.setenv("RARE_LABEL_SHARE", "0")
    folder = label_studio.files / tmp_path.name / "more"
    write_images(folder, [*CORRECTED, *LEFT])
    ensure_local_files(studio, project_id=project_id, folder=folder)
    everything = studio.tasks(project_id, studio.task_ids(project_id))
    tasks = {
        int(task["data"]["image"].rsplit("_", 1)[-1].removesuffix(".jpg")): int(task["id"])
        for task in everything
        if "figure_0006" in task["data"]["image"]
    }
    champion = workplace.registry.champion(project_id)
    assert champion is not None
    assert prelabel(project_id, champion.name, list(tasks.values()))["written"] == len(tasks)
    shown = {int(task["id"]): task["predictions"][0] for task in studio.tasks(project_id, list(tasks.values()))}
    for seed, task_id in tasks.items():
        result = regions_of(seed) if seed in CORRECTED else shown[task_id]["result"]
        studio.sdk.annotations.create(task_id, result=result, parent_prediction=shown[task_id]["id"])
    assert check_approvals(project_id)["new"] == len(tasks)

    train(project_id, "test")

    latest = workplace.registry.versions(project_id)[-1]
    facts = json.loads(read_text(latest, "dataset.json"))
    entries = {one["task_id"]: one for one in facts["entries"]}
    assert len(entries) == len(tasks)
    for seed, task_id in tasks.items():
        entry = entries[task_id]
        if seed in LEFT:
            assert entry["disagreed"] == pytest.approx(0, abs=0.02)
        else:
            assert 0.02 < entry["disagreed"] <= 1
        if entry["side"] == "train":
            assert entry["weight"] == pytest.approx(1 + 2 * entry["disagreed"], abs=1e-3)
    drawn_times = [one["copies"] for one in entries.values() if one["side"] == "train"]
    assert sum(drawn_times) > len(drawn_times)
