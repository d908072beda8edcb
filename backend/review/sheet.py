"""What is on a review sheet: the surest predictions of the current model that nobody has looked at."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from backend.errors import DrapeError, LabelStudioUnavailableError
from backend.images.task_image import image_url
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.payloads import Task
from backend.review.outlines import DrawnRegion, Name, drawn_regions, names
from backend.review.thumbnails import Thumbnail, Thumbnails

SIZE = 12
# Reading pictures mostly waits for Label Studio.
THREADS = 4
# Height of the letters, as a share of the width of a tile, which is three quarters of its height.
LETTERS, WIDTH_TO_HEIGHT = 0.056, 3 / 4


@dataclass(frozen=True)
class Place:
    """Where a sheet begins in the order of scores, the highest first.

    Attributes:
        score: no task with a higher score is on the sheet; None for the first sheet.
        seen: ids of tasks of just this score that were on sheets before.
    """

    score: float | None = None
    seen: tuple[int, ...] = ()


@dataclass(frozen=True)
class Tile:
    """One task of a sheet.

    Attributes:
        score: the prediction's.
        picture: None where `problem` says why there is none.
        problem: why the task cannot be looked at here; '' where it can.
    """

    task_id: int
    prediction_id: int
    score: float | None
    picture: Thumbnail | None
    regions: tuple[DrawnRegion, ...]
    problem: str = ""

    @property
    def letters_px(self) -> float:
        """Height of the letters of names, in pixels of the picture."""
        return LETTERS * max(self.picture.width, WIDTH_TO_HEIGHT * self.picture.height) if self.picture else 0.0

    @property
    def names(self) -> list[Name]:
        """The names of the regions, placed in the picture."""
        size_wh = (self.picture.width, self.picture.height) if self.picture else (0, 0)
        return names(self.regions, size_wh=size_wh, height_px=self.letters_px)


@dataclass(frozen=True)
class Sheet:
    """Tiles, the surest first; `after` is where the next sheet begins, None after the last."""

    tiles: tuple[Tile, ...]
    after: Place | None


def read_sheet(
    label_studio: LabelStudio,
    thumbnails: Thumbnails,
    *,
    project_id: int,
    version: str,
    config: LabelConfig,
    place: Place,
) -> Sheet:
    """Reads the sheet that begins at `place`, with one request to Label Studio besides those for pictures.

    Raises:
        LabelStudioError: Label Studio is unreachable, or refuses the request.
    """
    tasks = label_studio.surest_tasks(project_id, version=version, count=SIZE, up_to=place.score, without=place.seen)
    shown = [(task, prediction) for task in tasks if (prediction := prediction_of(task, version)) is not None]
    with ThreadPoolExecutor(THREADS) as pool:
        tiles = tuple(pool.map(lambda pair: _tile(thumbnails, pair[0], pair[1], config), shown))
    return Sheet(tiles, next_place(place, tasks))


def prediction_of(task: dict[str, Any], version: str) -> dict[str, Any] | None:
    """The task's first prediction of a version; None if there is none."""
    found = [one for one in task.get("predictions") or [] if one.get("model_version") == version]
    return min(found, key=lambda one: int(one["id"]), default=None)


def next_place(place: Place, tasks: Sequence[dict[str, Any]]) -> Place | None:
    """Where the sheet after `tasks` begins; None if no task follows."""
    if len(tasks) < SIZE:
        return None
    score = tasks[-1].get("predictions_score")
    # By score rather than by page: what is approved meanwhile leaves the pages, and would push others past.
    seen = [int(task["id"]) for task in tasks if task.get("predictions_score") == score]
    return Place(score, (*(place.seen if place.score == score else ()), *seen))


def _tile(thumbnails: Thumbnails, task: dict[str, Any], prediction: dict[str, Any], config: LabelConfig) -> Tile:
    task_id, prediction_id, score = int(task["id"]), int(prediction["id"]), prediction.get("score")
    try:
        regions = drawn_regions(prediction.get("result") or [], config)
        address = image_url(Task(id=task_id, data=task["data"]), config)
        return Tile(task_id, prediction_id, score, thumbnails.get(address, task_id=task_id), regions)
    except LabelStudioUnavailableError:
        raise
    except DrapeError as e:
        return Tile(task_id, prediction_id, score, None, (), problem=str(e))
