"""A click on a region that is shown, or beside it, fixes that region in its place.

Stock Label Studio puts an answer that bears a shown region's id in that region's place when it is accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from backend.domain import LabelledMask, Mask, Outlining, Photo, Point, Prompt
from backend.errors import PromptError
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.payloads import DrawnRegions
from backend.predict.recent_fixes import RecentFixes
from backend.regions.decode import decode, shapes
from backend.regions.encode import encode
from backend.regions.exclusive import occupied_pixels
from backend.segmenters.base import MaskCorrector, Segmenter

# Shares of the picture's longer side: how near to a region a click is about it, whatever it adds; how far from it, if
# what it adds joins the region; how near to a click a change is kept; and what gap still counts as joined.
BESIDE_SHARE, REACH_SHARE, TOUCH_SHARE, GAP_SHARE = 0.02, 0.2, 0.01, 0.01
# A click that takes away is about a part: more than this share is another answer to the same garment.
MOST_TAKEN_SHARE = 0.7
# With more clicks, the first ones are answered together.
MOST_TURNS = 10
# Kinds of regions whose pixels can be changed one by one.
FIXED_KINDS = ("polygon", "brush", "bitmask")
NOTHING_CHANGES = "Nothing changes there. Click nearer to the middle of what is missing, or too much."


@dataclass(frozen=True)
class FixInPlace:
    """Fixes regions that are shown, with the segmenter."""

    segmenter: Segmenter
    recent: RecentFixes

    def fix(
        self,
        image: Photo,
        task_id: int,
        drawn: DrawnRegions,
        prompt: Prompt,
        config: LabelConfig,
        outlining: Outlining,
    ) -> list[dict[str, Any]] | None:
        """Returns the shown region that the clicks are about, fixed by them; None if they ask for a new garment.

        What a person drew or changed is changed around the clicks alone, as in FocalClick's progressive merge (Chen and
        others, CVPR 2022). What a model predicted gets the segmenter's whole answer, which is better elsewhere, too. A
        click that is not just beside the region must add something that joins it.

        Raises:
            PromptError: the segmenter finds nothing to take away there, or nothing of the region would be left.
            ImageError, LabelStudioError: the image cannot be read.
        """
        found = region_to_fix(drawn, prompt, config, size_wh=image.size_wh)
        if found is None:
            return None
        distance, region = found
        sent = shapes(drawn.shown())[str(region.region_id)].region
        is_predicted = sent.get("origin") == "prediction"
        before = self.recent.current(task_id, region, prompt.points)
        mask = before
        first, point = max(1, len(prompt.points) - MOST_TURNS), prompt.points[0]
        for count in range(first, len(prompt.points) + 1):
            turn = replace(prompt, points=prompt.points[:count])
            mask = self._turn(image, mask, turn, is_predicted=is_predicted)
            # The first click decides, so that further ones do not turn a new garment into a fix.
            if count == first and point.positive and not _adds(before, mask, point, distance):
                return None
        if config.is_exclusive(region.label):
            mask = mask & (before | ~occupied_pixels(drawn, image.size_wh, but=region.region_id))
        if np.array_equal(mask, before):
            raise PromptError(NOTHING_CHANGES)
        garment = replace(region, mask=mask, score=None)
        regions = encode(garment, config, outlining=outlining, model_version=self.segmenter.name)
        # What has broken off is a region of its own from now on.
        own, _ = decode([part for part in regions if part["id"] == region.region_id])
        if not own:
            raise PromptError("Nothing of the region would be left. Delete it instead.")
        self.recent.remember(task_id, region, prompt.points, before=before, after=own[0].mask)
        return _in_group(regions, sent.get("parentID"))

    def _turn(self, image: Photo, before: Mask, prompt: Prompt, *, is_predicted: bool) -> Mask:
        """Returns the mask after the last click; `before` is the mask after those before it."""
        answer = _answer(self.segmenter, image, before, prompt)
        merged = merge(before, answer, prompt.points[-1:])
        if not np.array_equal(merged, before):
            return answer if is_predicted else merged
        alone = self._by_click_alone(image, before, prompt)
        if is_predicted and np.array_equal(alone, before):
            return self._from_clicks(image, before, prompt)
        return alone

    def _from_clicks(self, image: Photo, before: Mask, prompt: Prompt) -> Mask:
        """Returns what the clicks find without the mask, which may be of another garment; the mask if they do not."""
        point, found = prompt.points[-1], _without_mask(self.segmenter, image, before, prompt)
        return found if found[_pixel(found, point)] == point.positive else before

    def _by_click_alone(self, image: Photo, before: Mask, prompt: Prompt) -> Mask:
        """Returns the mask with what the last click finds by itself, or without it unless that is most of the mask."""
        point = prompt.points[-1]
        segments = self.segmenter.segment(image, replace(prompt, points=(replace(point, positive=True),)))
        found = segments[0].mask if segments else np.zeros_like(before)
        if point.positive:
            return merge(before, before | found, (point,))
        rest = before & ~found
        return merge(before, rest, (point,)) if rest.sum() > (1 - MOST_TAKEN_SHARE) * before.sum() else before


def region_to_fix(
    drawn: DrawnRegions, prompt: Prompt, config: LabelConfig, *, size_wh: tuple[int, int]
) -> tuple[float, LabelledMask] | None:
    """Returns the region of the prompt's label that its first click may be about, and their distance in pixels.

    Label Studio sends the regions as it last saved them. Of several, the smallest under the click counts, else the
    nearest. None is far from the click.
    """
    if not prompt.points or prompt.boxes or prompt.words or prompt.examples or prompt.label is None:
        return None
    kind, reach = config.output_for(prompt.label).kind, REACH_SHARE * max(size_wh)
    if kind not in FIXED_KINDS:
        return None
    shown = drawn.shown()
    found: list[tuple[float, int, LabelledMask]] = []
    for region_id, shape in shapes(shown).items():
        # A region of another kind would become one of this kind.
        if shape.kind != kind or shape.label is None or config.label_of(shape.label) != prompt.label:
            continue
        masks, _ = decode([region for region in shown if str(region.get("id")) == region_id])
        if masks and masks[0].mask.shape == size_wh[::-1]:
            distance = _distance(masks[0].mask, prompt.points[0], reach_px=reach)
            if distance <= reach:
                found.append((distance, int(np.count_nonzero(masks[0].mask)), replace(masks[0], label=prompt.label)))
    if not found:
        return None
    distance, _, region = min(found, key=lambda one: one[:2])
    return distance, region


def merge(before: Mask, after: Mask, points: Sequence[Point]) -> Mask:
    """Returns `before` with those changes towards `after` that touch a click of their sign, `bool (H, W)`."""
    merged = before.copy()
    radius = max(1, round(TOUCH_SHARE * max(before.shape)))
    for positive, change in ((True, after & ~before), (False, before & ~after)):
        left, top, width, height = cv2.boundingRect(change.astype(np.uint8))
        inside = slice(top, top + height), slice(left, left + width)
        touched = np.zeros((height, width), np.uint8)
        for point in points:
            if point.positive is positive:
                cv2.circle(touched, (int(point.x) - left, int(point.y) - top), radius, 1, cv2.FILLED)
        if touched.any():
            _, parts = cv2.connectedComponents(change[inside].astype(np.uint8), connectivity=4)
            wanted = np.setdiff1d(np.unique(parts[touched > 0]), 0)
            merged[inside][np.isin(parts, wanted)] = positive
    return merged


def _answer(segmenter: Segmenter, image: Photo, mask: Mask, prompt: Prompt) -> Mask:
    if isinstance(segmenter, MaskCorrector):
        return segmenter.correct(image, mask, prompt.points)
    return _without_mask(segmenter, image, mask, prompt)


def _without_mask(segmenter: Segmenter, image: Photo, mask: Mask, prompt: Prompt) -> Mask:
    """Returns what a click in the mask's middle, far from those that take away, and the prompt's own clicks find."""
    inside = np.pad(mask.astype(np.uint8), 1)
    for point in prompt.points:
        if not point.positive:
            clicked_row, clicked_column = _pixel(mask, point)
            inside[clicked_row + 1, clicked_column + 1] = 0
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(distance.argmax()), mask.shape)
    middle = Point(float(column) + 0.5, float(row) + 0.5)
    segments = segmenter.segment(image, replace(prompt, points=(middle, *prompt.points)))
    return segments[0].mask if segments else mask


def _adds(before: Mask, after: Mask, point: Point, distance: float) -> bool:
    """Whether a first click has added something to the region that it may be about."""
    if np.array_equal(before, after):
        return False
    return distance <= BESIDE_SHARE * max(before.shape) or _joined(before, after, point)


def _joined(before: Mask, merged: Mask, point: Point) -> bool:
    """Whether what the click added and the region before are one, but for a narrow gap."""
    gap = 2 * max(1, round(GAP_SHARE * max(before.shape))) + 1
    _, parts = cv2.connectedComponents(cv2.dilate(merged.astype(np.uint8), np.ones((gap, gap), np.uint8)))
    clicked = parts[_pixel(before, point)]
    return bool(clicked and (parts[before] == clicked).any())


def _distance(mask: Mask, point: Point, *, reach_px: float) -> float:
    """Returns how far the point is from the mask, in pixels; 0 inside, and infinity beyond `reach_px`."""
    (row, column), reach = _pixel(mask, point), int(reach_px) + 1
    if mask[row, column]:
        return 0.0
    top, left = max(row - reach, 0), max(column - reach, 0)
    near = mask[top : row + reach + 1, left : column + reach + 1]
    if not near.any():
        return float("inf")
    return float(cv2.distanceTransform((~near).astype(np.uint8), cv2.DIST_L2, 5)[row - top, column - left])


def _pixel(mask: Mask, point: Point) -> tuple[int, int]:
    return min(int(point.y), mask.shape[0] - 1), min(int(point.x), mask.shape[1] - 1)


def _in_group(regions: list[dict[str, Any]], parent_id: Any) -> list[dict[str, Any]]:
    """Returns the regions as parts of the garment that the fixed region was a part of, if it was."""
    return regions if parent_id is None else [{**region, "parentID": parent_id} for region in regions]
