"""`drape models add`: a student of a comparison becomes a version of the project's model, and is judged as one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.connections import Connections
from backend.errors import DatasetError, ModelError
from backend.images.fetch import ImageStore
from backend.label_studio.label_config import parse_label_config
from backend.registry.files import NETWORK, sha256_of
from backend.registry.registry import NetworkKind, Version
from backend.registry.verdict import Verdict
from backend.storage.atomic_files import staging_folder
from training.annotations.approvals import Approved
from training.annotations.stored_regions import kept
from training.dataset.manifest import DATASET_FILE, DatasetManifest, joined, latest_manifest
from training.evaluation.held_out import HeldOut, held_out_images
from training.judging import Judge
from training.runs import evaluation_folder
from training.students.compare import EXPORT, WORK, Result, read_failure, read_result
from training.students.families.yolo import WEIGHTS
from training.students.lesson import begun_with
from training.students.project import comparison_folder


def add_student(connections: Connections, project_id: int, name: str) -> tuple[Version, Verdict]:
    """Stores a student as a version, judges it by what answers today, and promotes it if it is better.

    It is judged on the images that judged it in the comparison, but for those that a training was given since. A
    student that was added before is judged again only if the champion is another now.

    Raises:
        DatasetError: no image is left that neither it nor a training learnt from.
        LabelStudioError, QueueError, StorageError: Label Studio, Redis or the storage failed.
        ModelError: the student was not judged, was not exported, or names no labels.
    """
    settings, registry = connections.settings, connections.registry
    folder = comparison_folder(settings, project_id)
    student = _read_student(folder, name)
    approved, begun = kept(folder), begun_with(folder)
    if approved is None or begun is None:
        raise ModelError(f"What {name} learnt from cannot be read in {folder}. Compare with --afresh.")
    manifest = joined(begun, latest_manifest(registry, project_id))
    judging = _that_judge(approved, manifest)
    if not judging:
        raise DatasetError(
            f"No image is left to judge {name} on: the project's trainings were given all that judged it in the "
            "comparison. Compare with --afresh."
        )
    project = connections.label_studio.project(project_id)
    config = parse_label_config(project.label_config)
    images = ImageStore(settings, bearer=connections.label_studio.bearer)
    champion = registry.champion(project_id)
    version = _store(connections, project_id, student, approved, manifest, champion)
    line = registry.line_of(champion)
    before = next((one for one in line if one.name != version.name), None)
    with staging_folder(evaluation_folder(settings)) as pixels:

        def held_out(side_px: int) -> Iterator[HeldOut]:
            return held_out_images(judging, config, images, side_px=side_px, folder=pixels)

        judge = Judge(connections, project, config, held_out, before=before)
        verdict = judge.judge(version)
        # Somebody may promote another version meanwhile: then this one is judged against that.
        while verdict.promoted and not judge.promote(version, verdict):
            verdict = judge.judge(version)
    return version, verdict


@dataclass(frozen=True)
class _Student:
    """A judged student, and its files as the registry stores them; `network` is None for a YOLO."""

    result: Result
    kind: NetworkKind
    weights: Path
    network: Path | None


def _read_student(folder: Path, name: str) -> _Student:
    result = read_result(folder, name)
    if result is None:
        reason = read_failure(folder, name) or (
            f"{folder} has no result of it. If the worker is elsewhere, add it there. Otherwise let `drape compare` "
            "train and judge it; what is trained already is only judged."
        )
        raise ModelError(f"{name} cannot become a model: {reason}")
    if result.kind == "clothing":
        raise ModelError(
            f"{name} cannot become a model: it tells clothing from none, and names none of the project's labels."
        )
    trained, exported = folder / name / WORK / WEIGHTS, folder / name / EXPORT
    if trained.is_file():
        return _Student(result, "yolo", trained, None)
    weights = exported.with_suffix(".bin")
    if not (exported.is_file() and weights.is_file()):
        raise ModelError(f"{name} cannot become a model: it was not exported. {result.note}".rstrip())
    return _Student(result, result.kind, weights, exported)


def _that_judge(approved: Sequence[Approved], manifest: DatasetManifest) -> list[Approved]:
    held_out = {entry.annotation_id for entry in manifest.entries if entry.side == "val"}
    return [annotation for annotation in approved if annotation.annotation_id in held_out and annotation.by_person]


def _store(
    connections: Connections,
    project_id: int,
    student: _Student,
    approved: Sequence[Approved],
    manifest: DatasetManifest,
    champion: Version | None,
) -> Version:
    """Returns the version in the registry; adds it unless it was added before."""
    registry, result = connections.registry, student.result
    digest = sha256_of(student.weights)
    for version in registry.versions(project_id):
        if version.weights_sha256 == digest:
            return version
    # Of all images with a side, as the next training and `drape evaluate` look for those in the newest version.
    beside = {DATASET_FILE: json.dumps(manifest.as_facts(), indent=1)}
    if student.network is not None:
        beside[NETWORK] = student.network.read_text()
    scores = {"mask_map50": result.scores.mask_map50, "mask_map50_95": result.scores.mask_map}
    return registry.add(
        project_id,
        weights=student.weights,
        classes=tuple(score.label for score in result.scores.labels),
        parent=champion.name if champion else None,
        metrics={name: round(value, 4) for name, value in scores.items() if value is not None},
        annotations={str(annotation.annotation_id): annotation.content_hash for annotation in approved},
        image_size_px=result.image_size_px,
        origin="comparison",
        architecture=f"{result.name.replace('-', '')}-seg",
        dataset=manifest.digest,
        settings={
            "student": result.name,
            "minutes": result.minutes,
            "epochs": result.epochs,
            "began_with": result.began_with,
        },
        network=student.kind,
        beside=beside,
    )
