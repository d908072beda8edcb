from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.errors import DatasetError
from training.annotations.approvals import Approved
from training.annotations.stored_regions import ApprovedFacts, StoredRegions, keep, kept, store_regions

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


def counted(folder: Path) -> Approved:
    """An annotation whose regions lie in a folder."""
    annotation = Approved(3, 7, {"image": "a.jpg"}, REGIONS, "hash", shown=REGIONS[:1], shown_hash="shown")
    return store_regions(annotation, folder).restored(folder)


def file_of(annotation: Approved) -> Path:
    assert isinstance(annotation.result, StoredRegions)
    return annotation.result.path


# What a person deletes as the message says, and what a crash leaves.
DAMAGE: list[tuple[str, Callable[[Path], Any]]] = [
    ("folder deleted", lambda file: shutil.rmtree(file.parent)),
    ("emptied", lambda file: file.write_text("")),
    ("other bytes", lambda file: file.write_text('{"result": [], "shown": []}')),
    ("its list damaged", lambda file: (file.parent.parent / "approved.json").write_text("[5")),
]


@pytest.mark.parametrize("damage", [case[1] for case in DAMAGE], ids=[case[0] for case in DAMAGE])
def test_what_a_training_keeps_is_taken_anew_when_it_is_damaged(damage: Callable[[Path], Any], tmp_path: Path) -> None:
    first, run = counted(tmp_path / "count"), tmp_path / "run"
    assert kept(run) is None
    assert keep([first], run) == kept(run) == [first]
    own = file_of(keep([first], run)[0])
    # Not the count's own file, as the two are linked.
    content = own.read_bytes()
    own.unlink()
    own.write_bytes(content)
    damage(own)
    assert kept(run) is None
    assert keep([first], run) == kept(run) == [first]


def test_a_damaged_file_of_the_count_is_named_by_its_own_folder(tmp_path: Path) -> None:
    first = counted(tmp_path / "count")
    file_of(first).write_text("")
    with pytest.raises(DatasetError, match=rf"Delete the folder {tmp_path / 'count'}: everything is counted again"):
        keep([first], tmp_path / "run")
    # A count from Label Studio writes it again, even if nobody deletes it.
    assert list(counted(tmp_path / "count").result) == REGIONS
    assert keep([first], tmp_path / "run") == [first]
