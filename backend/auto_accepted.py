"""Annotations that the service accepted by itself: what marks them, and whether a person has touched one since."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from backend.regions import content_hash

# Any constant does; it makes our ids differ from those of others.
NAMESPACE = uuid.UUID("6d9a6a0e-6a4f-4f0b-9d3e-5b0d1d7c2f11")
KEY = "drape"


def accepted_regions(regions: list[dict[str, Any]], version: str) -> list[dict[str, Any]]:
    """Copies of a prediction's regions that say by which version, and with which score, each was accepted.

    Messages for annotators are left out.
    """
    regions = [region for region in regions if region.get("type") != "textarea"]
    shown = content_hash(regions)
    return [
        {
            **region,
            "meta": {
                "text": [f"accepted by Drape: {version}, score {region.get('score', 0):.2f}"],
                KEY: {"accepted_by": version, "score": region.get("score"), "shown": shown},
            },
        }
        for region in regions
    ]


def accepted_by(annotation: Mapping[str, Any]) -> str | None:
    """The version that an annotation was accepted by; None where a person made it, or has saved it since.

    Label Studio's page sends the seconds that a person spent (`lead_time`) whenever it saves; ours has none. Through
    its API one may save without: then the regions are other than were accepted.
    """
    regions = annotation.get("result") or []
    if annotation.get("lead_time") or annotation.get("was_cancelled") or not regions:
        return None
    marks = [(region.get("meta") or {}).get(KEY) or {} for region in regions]
    found = {(mark.get("accepted_by"), mark.get("shown")) for mark in marks}
    version, shown = found.pop()
    return str(version) if version and not found and shown == content_hash(regions) else None


def annotation_id(project_id: int, task_id: int, version: str) -> str:
    """A UUID that is the same for the same acceptance: Label Studio refuses to store it twice."""
    return str(uuid.uuid5(NAMESPACE, f"{project_id}/{task_id}/{version}"))
