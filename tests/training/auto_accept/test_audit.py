"""What audits count as wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.auto_accept.gate import Gate
from backend.auto_accept.marks import accepted_regions
from backend.domain import LabelledMask, Outlining
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.regions.encode import encode
from tests.training.dataset.test_build import CONFIG
from training.annotations.approvals import Approved, approved_annotations
from training.auto_accept.audit import Audit, AuditedImage, audit

WITH_ALIAS = parse_label_config(
    '<View><Image name="i" value="$image"/><PolygonLabels name="p" toName="i"><Label value="saree" alias="s"/>'
    '</PolygonLabels><RectangleLabels name="r" toName="i"><Label value="saree" alias="s"/></RectangleLabels></View>'
)
ALL_AUDITED = Gate("v1", 0.5, {}, 1.0)


def garment(
    left: int, right: int, score: float | None = None, label: str = "saree", config: LabelConfig = CONFIG
) -> list[dict[str, Any]]:
    mask = np.zeros((100, 200), bool)
    mask[10:90, left:right] = True
    return encode(LabelledMask(mask, label, score), config, outlining=Outlining(), model_version="v1")


def approved(result: list[dict[str, Any]]) -> Approved:
    return Approved(annotation_id=5, task_id=7, data={}, result=result, content_hash="")


WHOLE = garment(10, 110)
# what was predicted, what a person approved, how many predicted regions are wrong
CASES = [
    (garment(10, 110, 0.9), WHOLE, 0),
    (garment(10, 110, 0.9), garment(10, 110, label="blouse"), 1),
    (garment(10, 110, 0.9), [], 1),
    (garment(10, 110, 0.9), garment(10, 60), 1),
    # A person has cut it in two; the model found it whole.
    (garment(10, 110, 0.9), garment(10, 60) + garment(60, 110), 0),
    # One approved garment makes one region right, the surest.
    (garment(10, 110, 0.9) + garment(10, 105, 0.8), WHOLE, 1),
    (garment(10, 110, 0.9) + garment(10, 105, 0.8), garment(10, 60) + garment(60, 110), 1),
    (garment(10, 60, 0.9) + garment(60, 110, 0.8), garment(10, 60) + garment(60, 110), 0),
]


@pytest.mark.parametrize(("predicted", "result", "wrong"), CASES)
def test_each_approved_garment_makes_one_region_right(
    predicted: list[dict[str, Any]], result: list[dict[str, Any]], wrong: int
) -> None:
    found = audit([approved(result)], {7: {"v1": predicted}}, [ALL_AUDITED], CONFIG, precision=0.98, iou=0.8)
    regions = len({region["score"] for region in predicted})
    assert found == Audit((AuditedImage("v1", regions, wrong),), 0.98)


def test_two_garments_of_one_label_and_one_score_are_two() -> None:
    predicted = garment(10, 60, 0.9) + garment(120, 170, 0.9)
    found = audit([approved(garment(10, 60))], {7: {"v1": predicted}}, [ALL_AUDITED], CONFIG, precision=0.98, iou=0.8)
    assert found.images == (AuditedImage("v1", 2, 1),)


def test_labels_that_regions_call_by_an_alias_are_audited() -> None:
    """A calibrated gate knows labels by their values."""
    gate = Gate("v1", None, {"saree": 0.5}, 1.0)
    predicted, result = garment(10, 110, 0.9, config=WITH_ALIAS), garment(10, 110, config=WITH_ALIAS)
    found = audit([approved(result)], {7: {"v1": predicted}}, [gate], WITH_ALIAS, precision=0.98, iou=0.8)
    assert found.images == (AuditedImage("v1", 1, 0),)


def test_an_approval_without_the_outline_of_a_garment_tells_nothing() -> None:
    (region,) = garment(10, 110, config=WITH_ALIAS)
    box = {"x": 5, "y": 10, "width": 50, "height": 80, "rectanglelabels": ["s"]}
    mere_box = {**region, "type": "rectanglelabels", "from_name": "r", "value": box}
    predicted = {7: {"v1": garment(30, 80, 0.9, config=WITH_ALIAS)}}
    found = audit([approved([mere_box])], predicted, [ALL_AUDITED], WITH_ALIAS, precision=0.98, iou=0.8)
    assert found.images == ()


def test_only_what_would_have_been_accepted_is_audited() -> None:
    one = approved(WHOLE)
    unsure = {7: {"v1": garment(10, 110, 0.9) + garment(120, 190, 0.49)}}
    assert audit([one], unsure, [ALL_AUDITED], CONFIG, precision=0.98, iou=0.8).images == ()
    sure = {7: {"v1": garment(10, 110, 0.9)}}
    assert audit([one], sure, [Gate("v1", 0.5, {}, 0.0)], CONFIG, precision=0.98, iou=0.8).images == ()
    assert audit([one], {}, [ALL_AUDITED], CONFIG, precision=0.98, iou=0.8).images == ()


def test_an_image_counts_for_the_first_version_that_would_have_accepted_it() -> None:
    unsure, right, wrong = garment(10, 110, 0.4), garment(10, 110, 0.9), garment(120, 190, 0.9)
    gates = [ALL_AUDITED, Gate("v2", 0.5, {}, 1.0), Gate("v3", 0.5, {}, 1.0)]
    stored = {7: {"v1": unsure, "v2": wrong, "v3": right}}
    assert audit([approved(WHOLE)], stored, gates, CONFIG, precision=0.98, iou=0.8).images == (
        AuditedImage("v2", 1, 1),
    )
    del stored[7]["v2"]
    assert audit([approved(WHOLE)], stored, gates, CONFIG, precision=0.98, iou=0.8).images == (
        AuditedImage("v3", 1, 0),
    )


def images(version: str, right: int, wrong: int) -> tuple[AuditedImage, ...]:
    return (*[AuditedImage(version, 1, 0)] * right, *[AuditedImage(version, 1, 1)] * wrong)


def test_the_promise_is_broken_when_chance_alone_would_not_explain_it() -> None:
    # 2 % may be wrong: 3 of 50 are by chance now and then, 5 of 50 are not.
    broken = [Audit(images("v1", 50 - wrong, wrong), 0.98).breaks_promise for wrong in (0, 1, 3, 5)]
    assert broken == [False, False, False, True]
    assert not Audit((), 0.98).breaks_promise
    # Five wrong regions of one image may be one mistake.
    together = (AuditedImage("v1", 5, 5), *[AuditedImage("v1", 5, 0)] * 9)
    assert not Audit(together, 0.98).breaks_promise


# audited images, what breaks the promise of v3, v2 and v1
BREACHES: list[tuple[tuple[AuditedImage, ...], tuple[str, ...]]] = [
    (images("v3", 50, 1) + images("v2", 50, 1) + images("v1", 50, 1), ()),
    # Too little of each version, but enough of them all.
    (images("v3", 9, 1) + images("v2", 9, 1) + images("v1", 9, 1), ("v3", "v2", "v1")),
    # A replaced version is found out by what was audited late; the champion keeps its promise.
    (images("v3", 30, 0) + images("v1", 20, 4), ("v1",)),
    # The good predecessors do not excuse the champion.
    (images("v3", 20, 4) + images("v2", 900, 0), ("v3",)),
]


@pytest.mark.parametrize(("audited", "names"), BREACHES)
def test_the_audits_of_a_version_count_with_its_predecessors_and_alone(
    audited: tuple[AuditedImage, ...], names: tuple[str, ...]
) -> None:
    assert Audit(audited, 0.98).breach(["v3", "v2", "v1"]) == names


def test_what_the_service_accepted_is_told_from_what_people_did() -> None:
    own = {"id": 1, "result": accepted_regions(garment(10, 110, 0.9), "v1"), "lead_time": None}
    theirs = {"id": 2, "result": WHOLE, "lead_time": 3.0}
    tasks = [{"id": 7, "annotations": [own]}, {"id": 8, "annotations": [own, theirs]}]
    counted = approved_annotations(tasks, with_auto_accepted=True)
    assert [(one.annotation_id, one.by_person) for one in counted] == [(1, False), (2, True)]
    assert [one.annotation_id for one in approved_annotations(tasks)] == [2]
