"""Stores a photograph that was tried as a task of the project, with the prediction of the version that was tried."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from backend.domain import Image, Prediction
from backend.errors import ImageError, LabelConfigError, LabelStudioError, NotFoundError
from backend.images.decode import decode_image
from backend.label_studio.client import LabelStudio
from backend.label_studio.data_keys import plain_key
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.uploads import UPLOADABLE, import_tasks, upload, upload_name, uploads
from backend.predict.batch import ActiveModel, Batch
from backend.predict.garments import lowest_threshold


@dataclass(frozen=True)
class TriedPhotograph:
    """A photograph's file, and the name to upload it under."""

    name: str
    encoded: bytes


@dataclass(frozen=True)
class StoredTask:
    """A new task; `garments` is the number of garments that were predicted."""

    task_id: int
    version: str
    garments: int


def store_tried(
    batch: Batch,
    label_studio: LabelStudio,
    config: LabelConfig,
    photograph: TriedPhotograph,
    *,
    project_id: int,
    version_name: str,
) -> StoredTask:
    """Uploads a photograph, and makes it a task with the prediction that the version would store for it.

    Args:
        version_name: '' for the project's current version.

    Raises:
        ImageError: the file is no picture, or of a type that Label Studio does not take.
        LabelConfigError: new tasks cannot be made for this label config.
        LabelStudioError: Label Studio is unreachable, or refuses the photograph.
        ModelError: there is no such version, or it does not load.
    """
    key, name = _data_key(config), _upload_name(photograph.name)
    model = batch.active_model(project_id, version_name=version_name)
    if model is None:
        raise NotFoundError(f"Project {project_id} has no model yet.")
    image = decode_image(
        photograph.encoded, source=name, max_pixels=model.settings.image_max_pixels, side_px=model.side_px
    )
    prediction = _predict(batch, model, config, image)
    upload_ids = upload(label_studio, project_id=project_id, named=[(name, photograph.encoded)], as_tasks=False)
    (uploaded,) = uploads(label_studio, project_id=project_id, upload_ids=upload_ids)
    stored = {
        "result": prediction.regions,
        "score": prediction.score,
        "model_version": prediction.model_version,
    }
    task = {"data": {key: uploaded.address}, "predictions": [stored]}
    task_ids = import_tasks(label_studio, project_id=project_id, tasks=[task])
    if len(task_ids) != 1:
        raise LabelStudioError("Label Studio took the photograph, but does not say as which task. Look for the newest.")
    return StoredTask(task_ids[0], prediction.model_version, len(prediction.label_scores))


def _predict(batch: Batch, model: ActiveModel, config: LabelConfig, image: Image) -> Prediction:
    (scene,) = model.detector(config).detect([image], min_score=lowest_threshold(config, model.settings))
    return batch.prediction(scene, model, config, image.original_wh)


def _data_key(config: LabelConfig) -> str:
    key = plain_key(config.image_key)
    if key is None:
        raise LabelConfigError(
            f"The label config reads the image under '{config.image_key}', and new tasks have it under one name. Use a "
            'project whose <Image> has a value such as value="$image".'
        )
    return key


def _upload_name(name: str) -> str:
    path = PurePosixPath(PurePosixPath(name).name)
    if path.suffix.lower() not in UPLOADABLE:
        raise ImageError(f"Label Studio takes no file of this type. Send one of {', '.join(sorted(UPLOADABLE))}.")
    return upload_name(path)
