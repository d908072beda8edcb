from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.errors import DatasetError
from training.annotations.approvals import Approved
from training.annotations.stored_regions import ApprovedFacts, StoredRegions, store_regions

REGIONS = [{"id": "a", "value": {"points": [[0, 0], [9, 0], [9, 9]]}}, {"id": "b", "value": {}}]


def test_a_training_keeps_regions_that_a_later_count_deletes(tmp_path: Path) -> None:
    annotation = Approved(3, 7, {"image": "a.jpg"}, REGIONS, "hash", shown=REGIONS[:1], shown_hash="shown")
    counted = store_regions(annotation, tmp_path / "count").restored(tmp_path / "count")
    assert counted == annotation and isinstance(counted.result, StoredRegions)
    facts = json.loads(json.dumps(vars(store_regions(counted, tmp_path / "training"))))
    counted.result.path.unlink()
    kept = ApprovedFacts(**facts).restored(tmp_path / "training")
    assert kept == annotation
    assert (len(kept.result), kept.result[1], kept.result[:1]) == (2, REGIONS[1], REGIONS[:1])
    with pytest.raises(DatasetError, match="counted again"):
        list(counted.result)
