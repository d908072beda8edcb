"""A hash of the visible content of an annotation, which tells whether a person has changed the annotation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

# The keys that refer to other regions: the parent in a group, and the two ends of a relation.
LINKS = ("parentID", "from_id", "to_id")


def content_hash(result: Sequence[Mapping[str, Any]]) -> str:
    """Returns the SHA-256 (64 hex digits) of shapes, labels, groups and relations, regardless of ids and scores."""
    result = [region for region in result if isinstance(region, Mapping)]
    positions = {str(region["id"]): number for number, region in enumerate(result) if "id" in region}
    content = [
        [region.get("from_name"), region.get("type"), region.get("value")]
        + [positions.get(str(region[key])) for key in LINKS if region.get(key)]
        for region in result
    ]
    # Label Studio's page writes 50 where 50.0 was stored: both must give the same hash.
    canonical = json.loads(json.dumps(content), parse_float=_canonical_number)
    return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()


def _canonical_number(number: str) -> float | int:
    value = float(number)
    return int(value) if value.is_integer() else value
