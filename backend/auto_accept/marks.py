"""Marks annotations that Drape accepted without a person, and tells whether a person has changed one since."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from backend.regions.content_hash import content_hash

# Any constant would do: it keeps these ids apart from the UUIDs of other programs.
NAMESPACE = uuid.UUID("6d9a6a0e-6a4f-4f0b-9d3e-5b0d1d7c2f11")
KEY = "drape"


def accepted_regions(regions: list[dict[str, Any]], version: str) -> list[dict[str, Any]]:
    """Copies a prediction's regions and notes in each the version that it is accepted by, and its score.

    The copies leave out messages for annotators.
    """
    regions = [region for region in regions if region.get("type") != "textarea"]
    content = content_hash(regions)
    return [
        {
            **region,
            "meta": {
                "text": [f"accepted by Drape: {version}, score {region.get('score', 0):.2f}"],
                KEY: {"accepted_by": version, "score": region.get("score"), "shown": content},
            },
        }
        for region in regions
    ]


def accepted_by(annotation: Mapping[str, Any]) -> str | None:
    """The version whose prediction was accepted as this annotation; None where a person made or has saved it since.

    Label Studio's page sends the seconds that a person spent (`lead_time`) with every save; an accepted annotation has
    none. A save through the API may lack it too, so the regions must also have the hash from their acceptance.
    """
    regions = annotation.get("result")
    if annotation.get("lead_time") or annotation.get("was_cancelled") or not isinstance(regions, list) or not regions:
        return None
    marks = {_mark(region) for region in regions}
    version, content = marks.pop()
    return version if version and not marks and content == content_hash(regions) else None


def is_marked(annotation: Mapping[str, Any]) -> bool:
    """A quick check whether Drape may have accepted the annotation; `accepted_by` hashes all regions and is certain."""
    regions = annotation.get("result")
    return isinstance(regions, list) and any(_mark(region) != ("", "") for region in regions)


def _mark(region: Any) -> tuple[str, str]:
    """The version and the hash in a region's mark; two empty strings where Drape has not marked it."""
    meta = region.get("meta") if isinstance(region, dict) else None
    mark = meta.get(KEY) if isinstance(meta, dict) else None
    return (str(mark.get("accepted_by") or ""), str(mark.get("shown") or "")) if isinstance(mark, dict) else ("", "")


def was_auto_accepted(regions: Sequence[Mapping[str, Any]]) -> bool:
    """Whether Drape accepted any of an annotation's regions, even where a person has saved it since."""
    return any(isinstance(meta := region.get("meta"), dict) and KEY in meta for region in regions)


def annotation_id(project_id: int, task_id: int, version: str) -> str:
    """A UUID that is always the same for one acceptance, so that Label Studio refuses to store it twice."""
    return str(uuid.uuid5(NAMESPACE, f"{project_id}/{task_id}/{version}"))
