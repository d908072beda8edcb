from __future__ import annotations

from pathlib import Path

import pytest

from backend.settings import Settings
from backend.storage.store import Folder, Storage, StoredObject
from launcher.doctor import storage
from launcher.doctor.storage import check_storage


def test_of_a_sound_storage_nothing_is_left(shared: Storage) -> None:
    found = check_storage(Settings(storage_url=shared.url))
    assert [one.state for one in found] == ["ok", "ok"] and shared.url in found[0].message
    assert shared.list_under("doctor") == {}


def test_without_one_there_is_nothing_to_say() -> None:
    assert check_storage(Settings()) == []


def test_one_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of the folder")
    (one,) = check_storage(Settings(storage_url=str(tmp_path / "file")))
    assert one.state == "failed" and "cannot be written to" in one.message and "STORAGE_URL" in one.remedy


class Overwrites(Folder):
    """As a server of S3 does that knows no If-None-Match."""

    def create(self, name: str, content: bytes) -> bool:
        self.write(name, content)
        return True


class ShowsLate(Folder):
    """As NFS does that trusts what it remembers."""

    def list_under(self, under: str) -> dict[str, StoredObject]:
        return {}


@pytest.mark.parametrize(("kind", "said"), [(Overwrites, "If-None-Match"), (ShowsLate, "what was just written")])
def test_one_that_would_lose_something_is_said(
    kind: type[Folder], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "open_storage", lambda settings: kind(tmp_path / "shared"))
    (one,) = check_storage(Settings(storage_url="/any"))
    assert one.state == "failed" and said in one.message
    assert not list(tmp_path.rglob("doctor"))
