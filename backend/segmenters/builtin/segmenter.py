"""Answers clicks and boxes with Drape's own network: first from the whole picture, then from a crop of the garment."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import cv2
import numpy as np

from backend.domain import Box, Mask, Photo, Pixels, Point, Prompt, Segment
from backend.errors import PromptError
from backend.segmenters.builtin.frames import SIZE_WH, Frame, around, whole
from backend.segmenters.builtin.prompt_maps import Probabilities, PromptMaps, prompt_maps

# Answers to the clicks so far, so that a further click takes `LOOKS` passes; and whole pictures as the network sees
# them, with which each new garment begins: to reduce one takes a quarter of a pass. Each takes 200 KB at most.
REMEMBERED = 64
THRESHOLD = 0.5
# How often the network looks at the nearer crop after a click, each time with what it found before: it improves its own
# answer. A box gets a look of its own kind instead.
LOOKS = 2
# With more clicks, the first ones are answered together.
MOST_TURNS = 20

Key = TypeVar("Key")
Value = TypeVar("Value")
Network: TypeAlias = Callable[[Pixels, PromptMaps], Probabilities]


@dataclass(frozen=True)
class Answer:
    """What the network found in a frame: how probable each of its pixels is, `float32 (h, w)` of `SIZE_WH`."""

    frame: Frame
    probable: Probabilities

    def bounds(self, picture_wh: tuple[int, int]) -> Box | None:
        """Returns the box, in pixels of the picture, around what was found; None where nothing was."""
        found = _bounds(self.probable > THRESHOLD)
        if found is None:
            return None
        first, last = self._in_picture(found.x_min, found.y_min), self._in_picture(found.x_max, found.y_max)
        return Box(max(first.x, 0), max(first.y, 0), min(last.x, picture_wh[0]), min(last.y, picture_wh[1]))

    def middle(self) -> Point | None:
        """Returns the place furthest inside what was found, in pixels of the picture; None where nothing was."""
        found = np.pad((self.probable > THRESHOLD).astype(np.uint8), 1)
        distance = cv2.distanceTransform(found, cv2.DIST_L2, 5)[1:-1, 1:-1]
        row, column = np.unravel_index(int(distance.argmax()), distance.shape)
        return self._in_picture(float(column) + 0.5, float(row) + 0.5) if distance[row, column] else None

    def _in_picture(self, x: float, y: float) -> Point:
        scale_x, scale_y = self.frame.width / SIZE_WH[0], self.frame.height / SIZE_WH[1]
        return Point(self.frame.left + x * scale_x, self.frame.top + y * scale_y)


class BuiltinSegmenter:
    """Needs nothing but what Drape ships. Deterministic: what it remembers is what it would compute again."""

    name = "builtin"

    def __init__(self, network: Network) -> None:
        self._network = network
        self._answers: OrderedDict[tuple[object, ...], Answer] = OrderedDict()
        self._whole: OrderedDict[tuple[str, Frame], Pixels] = OrderedDict()
        self._lock = threading.Lock()

    def segment(self, image: Photo, prompt: Prompt) -> list[Segment]:
        """Returns at most one mask `bool (H, W)`: of the clicks, of the box, or of all boxes together.

        Raises:
            PromptError: there is neither a positive click nor a box.
            ImageError, LabelStudioError: the image cannot be read.
        """
        if not prompt.boxes and not any(point.positive for point in prompt.points):
            raise PromptError("Click on the garment first. Alt-click only removes parts of it.")
        if len(prompt.boxes) < 2:
            answers = [self._answer(image, prompt.points, prompt.boxes[0] if prompt.boxes else None)]
        else:
            answers = [
                self._answer(image, tuple(point for point in prompt.points if _contains(box, point)), box)
                for box in prompt.boxes
            ]
        return _segments(answers, image.size_wh)

    def refine(self, image: Photo, mask: Mask) -> Mask:
        """Returns the mask with a better border, `bool (H, W)`; the mask itself where the network finds nothing.

        Raises:
            ImageError, LabelStudioError: the image cannot be read.
        """
        before = self._mask_so_far(mask, image.size_wh)
        segments = _segments([self._look(image, before.frame, (), None, before)], image.size_wh)
        return segments[0].mask if segments else mask

    def correct(self, image: Photo, mask: Mask, points: Sequence[Point]) -> Mask:
        """See `MaskCorrector.correct`; the mask itself where the network finds nothing."""
        answer = self._look_nearer(image, points, None, self._mask_so_far(mask, image.size_wh))
        segments = _segments([answer], image.size_wh)
        return segments[0].mask if segments else mask

    def _mask_so_far(self, mask: Mask, size_wh: tuple[int, int]) -> Answer:
        frame = around(_bounds(mask), (), size_wh)
        return Answer(frame, frame.cut(mask.astype(np.float32), size_wh=SIZE_WH))

    def _answer(self, image: Photo, points: tuple[Point, ...], box: Box | None) -> Answer:
        """Returns the answer to clicks in turn: each corrects the answer to the clicks before it."""
        first = max(0 if box else 1, len(points) - MOST_TURNS)
        turns = [points[:count] for count in range(first, len(points) + 1)]
        with self._lock:
            known = [self._answers.get((image.key, first, turn, box)) for turn in turns]
        done = max((number for number, answer in enumerate(known, start=1) if answer), default=0)
        answer = (known[done - 1] if done else None) or self._first_look(image, turns[0], box)
        for turn in turns[done:]:
            answer = self._look_nearer(image, turn, box, answer)
            middle = answer.middle()
            if not turn and middle is not None:
                # Of a box alone, as if somebody had also clicked the garment that was found.
                answer = self._look(image, answer.frame, (middle,), box, answer)
            self._remember(self._answers, (image.key, first, turn, box), answer)
        return answer

    def _first_look(self, image: Photo, points: tuple[Point, ...], box: Box | None) -> Answer:
        frame = around(box, points, image.size_wh) if box else whole(image.size_wh)
        return self._look(image, frame, points, box, None)

    def _remember(self, remembered: OrderedDict[Key, Value], key: Key, value: Value) -> None:
        with self._lock:
            remembered[key] = value
            while len(remembered) > REMEMBERED:
                remembered.popitem(last=False)

    def _look_nearer(self, image: Photo, points: Sequence[Point], box: Box | None, before: Answer) -> Answer:
        """Returns the answer of the crop around what was found before."""
        answer = before
        for _ in range(LOOKS if points else 1):
            frame = around(answer.bounds(image.size_wh) or box, points, image.size_wh)
            answer = self._look(image, frame, points, box, answer)
        return answer

    def _look(
        self, image: Photo, frame: Frame, points: Sequence[Point], box: Box | None, before: Answer | None
    ) -> Answer:
        maps = prompt_maps(
            [frame.point(point) for point in points],
            frame.box(box) if box else None,
            before.frame.seen_from(before.probable, frame) if before else None,
        )
        return Answer(frame, self._network(self._shown(image, frame), maps))

    def _shown(self, image: Photo, frame: Frame) -> Pixels:
        """Returns what the network sees of the frame, `uint8 (h, w, 3)` of `SIZE_WH`."""
        key = image.key, frame
        with self._lock:
            shown = self._whole.get(key)
        if shown is None:
            shown = frame.cut(image.pixels, size_wh=SIZE_WH)
            if frame == whole(image.size_wh):
                self._remember(self._whole, key, shown)
        return shown


def _segments(answers: Sequence[Answer], size_wh: tuple[int, int]) -> list[Segment]:
    mask = np.logical_or.reduce(
        [answer.frame.place(answer.probable, size_wh, threshold=THRESHOLD) for answer in answers]
    )
    found = np.concatenate([answer.probable[answer.probable > THRESHOLD] for answer in answers])
    return [Segment(mask, float(found.mean()))] if mask.any() else []


def _contains(box: Box, point: Point) -> bool:
    return box.x_min <= point.x <= box.x_max and box.y_min <= point.y <= box.y_max


def _bounds(mask: Mask) -> Box | None:
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return Box(left, top, left + width, top + height) if width else None
