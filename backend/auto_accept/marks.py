"""Annotations that the service accepted by itself: what marks them, and whether a person has touched one since."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from backend.regions.content_hash import content_hash

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
    regions = annotation.get("result")
    if annotation.get("lead_time") or annotation.get("was_cancelled") or not isinstance(regions, list) or not regions:
        return None
    found = {_mark(region) for region in regions}
    version, shown = found.pop()
    return version if version and not found and shown == content_hash(regions) else None


def is_marked(annotation: Mapping[str, Any]) -> bool:
    """Whether it may be one that the service accepted; `accepted_by`, which hashes all of it, tells for certain."""
    regions = annotation.get("result")
    return isinstance(regions, list) and any(_mark(region) != ("", "") for region in regions)


def _mark(region: Any) -> tuple[str, str]:
    """The version and the hash that a region was marked with; empty where it bears no mark of ours."""
    meta = region.get("meta") if isinstance(region, dict) else None
    mark = meta.get(KEY) if isinstance(meta, dict) else None
    return (str(mark.get("accepted_by") or ""), str(mark.get("shown") or "")) if isinstance(mark, dict) else ("", "")


def began_accepted(regions: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any of an annotation's regions was accepted by the service, whoever has saved it since."""
    return any(KEY in (region.get("meta") or {}) for region in regions)


def annotation_id(project_id: int, task_id: int, version: str) -> str:
    """A UUID that is the same for the same acceptance: Label Studio refuses to store it twice."""
    return str(uuid.uuid5(NAMESPACE, f"{project_id}/{task_id}/{version}"))
