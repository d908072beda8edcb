"""What is on a sheet, and where the next one begins."""

from __future__ import annotations

from typing import Any

import pytest

from backend.label_studio.label_config import parse_label_config
from backend.review.sheet import SIZE, Place, Sheet, next_place, prediction_of, read_sheet
from backend.review.thumbnails import SIDE_PX, Thumbnails
from backend.service import Service
from backend.settings import Settings
from label_studio_config.palette_xml import GARMENTS, palette
from tests.projects import Predicted


def tasks(*scores: float) -> list[dict[str, Any]]:
    return [{"id": number, "predictions_score": score} for number, score in enumerate(scores, start=1)]


def test_the_next_sheet_begins_at_the_last_score() -> None:
    assert next_place(Place(), tasks(*[0.9] * (SIZE - 1))) is None
    assert next_place(Place(), tasks(*[0.9] * (SIZE - 2), 0.5, 0.5)) == Place(0.5, (SIZE - 1, SIZE))
    # Of a score that whole sheets share, all that was seen is left out.
    assert next_place(Place(0.5, (70, 71)), tasks(*[0.5] * SIZE)) == Place(0.5, (70, 71, *range(1, SIZE + 1)))
    assert next_place(Place(0.9, (70, 71)), tasks(*[0.5] * SIZE)) == Place(0.5, tuple(range(1, SIZE + 1)))


def test_the_prediction_is_that_of_the_version() -> None:
    task = {"predictions": [{"id": 9, "model_version": "v2"}, {"id": 8, "model_version": "v2"}, {"id": 3}]}
    assert prediction_of(task, "v2") == {"id": 8, "model_version": "v2"}
    assert prediction_of(task, "v1") is None and prediction_of({}, "v1") is None


@pytest.mark.services
def test_only_what_nobody_has_looked_at_is_on_it(predicted: Predicted, reviewed_settings: Settings) -> None:
    service = Service.build(reviewed_settings)
    studio, number, version = predicted.studio, predicted.number, predicted.version

    def sheet(place: Place = Place(), version: str = version) -> Sheet:  # noqa: B008
        return read_sheet(
            studio,
            Thumbnails(service.batch.images),
            project_id=number,
            version=version,
            config=parse_label_config(palette(GARMENTS)),
            place=place,
        )

    try:
        first = sheet()
        assert [tile.task_id for tile in first.tiles] == predicted.tasks and first.after is None
        tile = first.tiles[0]
        assert tile.picture is not None and max(tile.picture.width, tile.picture.height) <= SIDE_PX
        assert tile.score == pytest.approx(0.99) and len(tile.names) >= 1 and not tile.problem
        assert tile.picture.address.startswith("data:image/jpeg;base64,")
        after = Place(first.tiles[1].score, (predicted.tasks[1],))
        assert [tile.task_id for tile in sheet(after).tiles] == predicted.tasks[2:]
        assert not sheet(version="yolo11n-seg-v9-abcdef").tiles

        # Annotated, skipped, and begun.
        studio.sdk.annotations.create(predicted.tasks[0], result=[])
        studio.sdk.annotations.create(predicted.tasks[1], result=[], was_cancelled=True)
        studio.send("POST", f"/api/tasks/{predicted.tasks[2]}/drafts", json={"result": []}).raise_for_status()
        assert [tile.task_id for tile in sheet().tiles] == predicted.tasks[3:]
    finally:
        service.close()


@pytest.mark.services
def test_a_picture_that_cannot_be_read_is_said_on_its_tile(predicted: Predicted, reviewed_settings: Settings) -> None:
    service = Service.build(reviewed_settings.model_copy(update={"image_max_pixels": 100}))
    try:
        sheet = read_sheet(
            predicted.studio,
            Thumbnails(service.batch.images),
            project_id=predicted.number,
            version=predicted.version,
            config=parse_label_config(palette(GARMENTS)),
            place=Place(),
        )
    finally:
        service.close()
    assert all("IMAGE_MAX_PIXELS" in tile.problem and tile.picture is None for tile in sheet.tiles)
