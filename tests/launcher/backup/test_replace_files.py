"""Old or new, all together."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.backup.replace_files import Replacement, recover, replace_all


def made(root: Path) -> list[Replacement]:
    """A folder and a file with new ones beside them, one that is not there yet, one that is to go."""
    places = [
        Replacement(root / "models"),
        Replacement(root / "database"),
        Replacement(root / "uploads"),
        Replacement(root / "counts", remove_only=True),
    ]
    for path, word in ((places[0].path, "old"), (places[0].new, "new"), (places[2].new, "new")):
        path.mkdir()
        (path / "file").write_text(word)
    places[1].path.write_text("old")
    places[1].new.write_text("new")
    places[3].path.write_text("old")
    return places


def state(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


OLD = {"models/file": "old", "database": "old", "counts": "old"}
NEW = {"models/file": "new", "database": "new", "uploads/file": "new"}


def test_all_are_replaced(tmp_path: Path) -> None:
    replace_all(made(tmp_path))
    assert state(tmp_path) == NEW


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_where_one_cannot_be_moved_all_come_back(tmp_path: Path, missing: int) -> None:
    places = made(tmp_path)
    places[missing].new.rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError):
        replace_all(places)
    (tmp_path / "elsewhere").rename(places[missing].new)
    recover(places)
    assert state(tmp_path) == OLD


@pytest.mark.parametrize("steps", range(8))
def test_what_was_killed_anywhere_is_taken_back_or_through(tmp_path: Path, steps: int) -> None:
    places = made(tmp_path)
    moves = [
        (source, target)
        for place in places
        for source, target in ((place.path, place.old), (place.new, place.path))
        if not (place.remove_only and source == place.new)
        and not (place.path.name == "uploads" and source == place.path)
    ]
    for source, target in moves[:steps]:
        source.rename(target)
    recover(places)
    left = state(tmp_path)
    if steps < 5:
        assert left == OLD
    else:
        # All that is new had been moved; what is left to do is to take away.
        left.pop("counts", None)
        assert left == NEW
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_was_only_being_made_is_taken_away(tmp_path: Path) -> None:
    places = made(tmp_path)
    recover(places)
    assert state(tmp_path) == OLD
