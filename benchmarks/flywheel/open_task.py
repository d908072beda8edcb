"""A task in Label Studio, as an annotator has it open: the same requests as the page makes, without the page."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from backend.domain import LabelledMask, Point
from backend.errors import LabelStudioError
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import LabelConfig
from backend.regions.decode import decode

ANSWER_TIMEOUT_S = 120.0
# Width of a key point in percent, as the page sends it.
POINT_PERCENT = 0.4

Region = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What came back for a prompt: regions, their masks, and the seconds that Label Studio's page waits for them."""

    regions: list[Region]
    masks: list[LabelledMask]
    wait_s: float


@dataclass
class OpenTask:
    """A task that an annotator works on. What is shown is saved as a draft at once; the page takes some seconds."""

    label_studio: LabelStudio
    backend_id: int
    config: LabelConfig
    task_id: int
    regions: list[Region] = field(default_factory=list)
    masks: list[LabelledMask] = field(default_factory=list)
    _draft_id: int | None = None

    def show(self, regions: Sequence[Region]) -> None:
        """Has these regions in the page, and saves them as a draft: Label Studio sends them with the next prompt.

        Raises:
            LabelStudioError: it does not answer, or refuses the draft.
        """
        self.regions, self.masks = list(regions), decode(regions)[0]
        draft = {"result": self.regions, "lead_time": 0}
        if self._draft_id is None:
            answer = self.label_studio.send("POST", f"/api/tasks/{self.task_id}/drafts", json=draft)
            self._draft_id = int(_content(answer)["id"])
        else:
            _content(self.label_studio.send("PATCH", f"/api/drafts/{self._draft_id}/", json=draft))

    def prompt(self, label: str, points: Sequence[Point], size_wh: tuple[int, int]) -> Answer:
        """Asks with all clicks of the pending suggestion, through Label Studio's interactive endpoint.

        A refusal, which the page shows as a message, is an answer without masks.

        Args:
            points: in pixels of the image, whose width and height are `size_wh`.

        Raises:
            LabelStudioError: Label Studio does not answer, or the backend failed.
        """
        context = {"result": [part for point in points for part in self._key_point(label, point, size_wh)]}
        started = time.perf_counter()
        answer = self.label_studio.send(
            "POST",
            f"/api/ml/{self.backend_id}/interactive-annotating",
            json={"task": self.task_id, "context": context},
            timeout_s=ANSWER_TIMEOUT_S,
        )
        wait_s = time.perf_counter() - started
        content = _content(answer)
        if content.get("errors"):
            raise LabelStudioError(f"The prompt in task {self.task_id} failed: {'; '.join(content['errors'])}")
        regions = content["data"]["result"]
        return Answer(regions, decode(regions)[0], wait_s)

    def submit(self, *, parent: int | None, lead_time_s: float) -> None:
        """Submits what is shown.

        Args:
            parent: the prediction that it began with.

        Raises:
            LabelStudioError: it does not answer, or refuses the annotation.
        """
        annotation = {"result": self.regions, "lead_time": lead_time_s, "draft_id": self._draft_id}
        if parent is not None:
            annotation["parent_prediction"] = parent
        _content(self.label_studio.send("POST", f"/api/tasks/{self.task_id}/annotations/", json=annotation))

    def _key_point(self, label: str, point: Point, size_wh: tuple[int, int]) -> list[Region]:
        """Returns a click as the page sends it with a palette: the key point and its label, under one id."""
        width, height = size_wh
        common = {
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "x": 100 * point.x / width,
                "y": 100 * point.y / height,
                "width": POINT_PERCENT,
                "labels": [label],
            },
            "is_positive": point.positive,
            "id": secrets.token_urlsafe(7),
            "to_name": self.config.image_tag,
            "origin": "manual",
        }
        palette = self.config.output_for(label).labels_tag
        return [common | {"from_name": "click", "type": "keypoint"}, common | {"from_name": palette, "type": "labels"}]


def _content(answer: httpx.Response) -> Mapping[str, Any]:
    if not answer.is_success:
        raise LabelStudioError(f"Label Studio answered {answer.status_code}: {answer.text[:300]}")
    content: Mapping[str, Any] = answer.json()
    return content
