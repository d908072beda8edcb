"""Students of a comparison become versions, on a real Label Studio and a real Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.connections import Connections
from backend.detector.detector_pool import DetectorPool, load_detector
from backend.errors import DatasetError, ModelError
from backend.prelabel.jobs import prelabel
from backend.registry.records import has_report, write_facts
from backend.registry.scores import read_scores
from backend.registry.verdict import read_verdict
from backend.settings import Settings
from tests.training.conftest import SEEDS, Workplace
from training.add_student import add_student
from training.dataset.manifest import DATASET_FILE, latest_manifest
from training.evaluate import evaluate_model
from training.jobs import check_approvals, train
from training.students.compare import EXPORT, WORK
from training.students.project import Options, compare_in_project, comparison_folder

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]

STUDENTS = ("segformer-b2", "unet-mobilenetv2", "yolo11n-garments")


def connections_of(workplace: Workplace) -> Connections:
    return Connections.of(Settings().for_project(workplace.project_id))


def compare(workplace: Workplace, *students: str, afresh: str = "") -> Path:
    """The folder of a comparison in which each learns for an epoch."""
    connections = connections_of(workplace)
    options = Options(minutes=None, epochs=1, side_px=64, download=False, afresh=afresh)
    for one in students:
        compare_in_project(connections, workplace.project_id, one, STUDENTS, options, report=lambda progress: None)
    return comparison_folder(connections.settings, workplace.project_id)


def test_a_student_is_judged_as_a_version_and_can_be_the_projects_detector(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id, registry = workplace.project_id, workplace.registry
    before = registry.champion(project_id)
    assert before is not None
    for seed in SEEDS:
        workplace.approve(seed)
    folder = compare(workplace, "segformer-b2", "unet-mobilenetv2")
    with pytest.raises(ModelError, match="unet-mobilenetv2 cannot become a model: it tells clothing from none"):
        add_student(connections_of(workplace), project_id, "unet-mobilenetv2")
    with pytest.raises(ModelError, match=r"yolo11n-garments cannot become a model: .* has no result of it"):
        add_student(connections_of(workplace), project_id, "yolo11n-garments")

    # An epoch from random weights is no better than the starter.
    monkeypatch.setenv("PROMOTE_MARGIN", "0.5")
    version, verdict = add_student(connections_of(workplace), project_id, "segformer-b2")
    assert (version.network, version.origin, version.parent) == ("label map", "comparison", before.name)
    assert (version.image_size_px, len(version.annotations)) == (64, 3)
    assert version.name.startswith("segformerb2-seg-v2-")
    assert not verdict.promoted and "not higher by more than 0.5" in verdict.reason
    assert (verdict.champion, verdict.images) == (before.name, 1) and read_verdict(version) == verdict
    compared = read_scores(version)
    assert compared is not None and compared.champion is not None
    assert compared.own.ms_an_image is not None and compared.champion.ms_an_image is not None
    assert has_report(version)
    assert registry.champion(project_id) == before
    # Nothing of it counts as trained, and the images keep their sides.
    assert check_approvals(project_id)["new"] == 3
    placed = latest_manifest(registry, project_id)
    assert placed is not None and sorted(one.side for one in placed.placed.values()) == ["train", "train", "val"]

    # Added again it is the same, and is judged by its promotion's rule again only for another champion.
    assert add_student(connections_of(workplace), project_id, "segformer-b2") == (version, verdict)
    # A person may overrule the verdict.
    monkeypatch.setenv("MODEL_SCORE_THRESHOLD", "0.05")
    registry.promote(project_id, version.name)
    tasks = [workplace.tasks[seed] for seed in SEEDS]
    assert prelabel(project_id, version.name, tasks)["written"] == 3
    for task in workplace.label_studio.tasks(project_id, tasks):
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == version.name
    pool = DetectorPool(registry, Settings())
    loaded = pool.for_project(project_id)
    assert loaded is not None and loaded.is_prepared and loaded.runtime == "openvino-f32"
    assert evaluate_model(connections_of(workplace), project_id, version, source="split").images == 1

    # Its files in the comparison are not needed any more; without them it is not added.
    (folder / "segformer-b2" / EXPORT).unlink()
    load_detector(version, device="cpu")
    with pytest.raises(ModelError, match="it was not exported"):
        add_student(connections_of(workplace), project_id, "segformer-b2")


def test_a_yolo_of_a_comparison_is_a_version_like_any_other(workplace: Workplace) -> None:
    project_id, registry = workplace.project_id, workplace.registry
    before = registry.champion(project_id)
    assert before is not None
    for seed in SEEDS:
        workplace.approve(seed)
    folder = compare(workplace, "yolo11n-garments")
    # Every challenger is promoted here.
    version, verdict = add_student(connections_of(workplace), project_id, "yolo11n-garments")
    assert verdict.promoted and registry.champion(project_id) == version
    assert (version.network, version.parent) == ("yolo", before.name)
    assert version.weights.read_bytes() == (folder / "yolo11n-garments" / WORK / "trained.pt").read_bytes()
    # A training goes on from it.
    made = train(project_id, "test")
    assert registry.version(project_id, str(made["version"])).parent == version.name


def test_what_a_training_was_given_since_does_not_judge(workplace: Workplace) -> None:
    """Where the comparison began before the first training, they may have split the images differently."""
    project_id, registry = workplace.project_id, workplace.registry
    for seed in SEEDS:
        workplace.approve(seed)
    compare(workplace, "yolo11n-garments")
    train(project_id, "test")
    manifest = latest_manifest(registry, project_id)
    assert manifest is not None
    everything = {key: type(known)(known.hashes, "train", known.groups) for key, known in manifest.placed.items()}
    champion = registry.champion(project_id)
    assert champion is not None
    facts = {**manifest.as_facts(), "placed": {key: vars(known) for key, known in everything.items()}}
    write_facts(champion, DATASET_FILE, facts)
    with pytest.raises(DatasetError, match="No image is left to judge yolo11n-garments on"):
        add_student(connections_of(workplace), project_id, "yolo11n-garments")
    assert registry.champion(project_id) == champion
