from __future__ import annotations

from typing import Any

from tests.support import recorded
from training.approvals import approved_annotations, content_hash, new_annotations


def task(number: int, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {"id": number, "data": {"image": "/a.jpg"}, "annotations": list(annotations)}


def annotation(
    number: int, *, points: float = 1, at: str = "2026-11-20T10:00:00Z", skipped: bool = False
) -> dict[str, Any]:
    region = {"id": f"r{number}", "from_name": "p", "type": "polygonlabels", "value": {"points": [[points, 1]]}}
    return {"id": number, "result": [region], "updated_at": at, "was_cancelled": skipped}


def test_skipped_and_missing_annotations_do_not_count() -> None:
    tasks = [task(1, annotation(11)), task(2, annotation(21, skipped=True)), task(3)]
    assert [one.annotation_id for one in approved_annotations(tasks)] == [11]


def test_of_several_on_one_task_the_latest_counts() -> None:
    early, late = annotation(12, at="2026-11-20T09:00:00Z"), annotation(11, at="2026-11-20T11:00:00Z")
    assert [one.annotation_id for one in approved_annotations([task(1, early, late)])] == [11]


def test_new_is_what_the_model_has_not_learnt_as_it_is_now() -> None:
    learnt = {str(one.annotation_id): one.content_hash for one in approved_annotations([task(1, annotation(11))])}
    same, edited, other = annotation(11), annotation(11, points=5), annotation(12)
    assert new_annotations(approved_annotations([task(1, same)]), learnt) == []
    for changed in (edited, other):
        assert len(new_annotations(approved_annotations([task(1, changed)]), learnt)) == 1


def test_the_hash_is_that_of_shapes_and_labels_alone() -> None:
    result = recorded("webhook_ANNOTATION_CREATED")["annotation"]["result"]
    renamed = [{**region, "id": "other", "score": 0.1} for region in result]
    assert content_hash(renamed) == content_hash(result)
    assert content_hash(result[:-1]) != content_hash(result)
