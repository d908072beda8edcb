"""The same of a folder and of a bucket on a real server of S3."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from backend.errors import StorageError, StorageUnavailableError
from backend.settings import Settings
from backend.storage.store import Bucket, Folder, Storage, open_storage
from launcher.stack.supervisor import free_port

NAMES = ("models/7/champion", "models/7/v1/weights.pt", "models/12/v1/weights.pt", "models/7/a name, with 'these' ü")
CONTENTS = (b"", b"one", bytes(range(256)) * 40_000, b"two")


def test_what_is_written_is_read(shared: Storage, tmp_path: Path) -> None:
    for name, content in zip(NAMES, CONTENTS, strict=True):
        kept = shared.write(name, content)
        assert shared.read(name) == content and kept.size == len(content)
        assert shared.list_under(name.rpartition("/")[0])[name] == kept
    file, here = tmp_path / "file", tmp_path / "here"
    file.write_bytes(content + b"!")
    other = shared.write(NAMES[-1], file)
    assert other.tag != kept.tag
    shared.fetch(NAMES[-1], here)
    assert here.read_bytes() == content + b"!"


def test_it_lists_what_lies_below_and_nothing_else(shared: Storage) -> None:
    assert shared.list_under("models") == {} and shared.folders("models") == []
    for name in NAMES:
        shared.write(name, name.encode())
    assert set(shared.list_under("models")) == set(NAMES)
    # Not what only begins alike.
    assert set(shared.list_under("models/1")) == set()
    assert set(shared.list_under("models/7")) == {name for name in NAMES if "/7/" in name}
    assert shared.folders("models") == ["12", "7"] and shared.folders("models/7") == ["v1"]


def test_what_is_removed_is_gone_and_may_be_removed_again(shared: Storage, tmp_path: Path) -> None:
    shared.write("a/b/c", b"1")
    for _ in range(2):
        shared.remove("a/b/c")
        assert shared.list_under("a") == {} and shared.folders("a") == []
        for read in (lambda: shared.read("a/b/c"), lambda: shared.fetch("a/b/c", tmp_path / "here")):
            with pytest.raises(FileNotFoundError):
                read()
    assert not (tmp_path / "here").exists()


def test_of_many_who_create_at_once_one_does(shared: Storage) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(3):
            made = list(pool.map(lambda who, number=number: shared.create(f"claims/{number}", who), [b"a", b"b"] * 4))
            assert made.count(True) == 1
            assert shared.read(f"claims/{number}") == [b"a", b"b"][made.index(True) % 2]
    assert not shared.create("claims/0", b"c")


def test_a_folder_shows_no_file_that_is_unfinished(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("a/b", b"1")
    (tmp_path / "a" / ".b.12-ab").write_bytes(b"h")
    (tmp_path / "a" / ".half").mkdir()
    (tmp_path / "a" / ".half" / "c").write_bytes(b"h")
    assert set(folder.list_under("a")) == {"a/b"} and folder.folders("a") == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of the folder")
    folder = Folder(tmp_path / "file")
    for write in (lambda: folder.write("a", b"1"), lambda: folder.create("a", b"1")):
        with pytest.raises(StorageError, match=r"file \(STORAGE_URL\) cannot be written to"):
            write()


@pytest.mark.services
def test_a_bucket_that_is_away_or_not_there_is_named(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for touch in (lambda one: one.write("a", b"1"), lambda one: one.list_under("a"), lambda one: one.create("a", b"")):
        with pytest.raises(StorageError, match=r"s3://no-such-bucket \(STORAGE_URL\).*bucket"):
            touch(Bucket("s3://no-such-bucket"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StorageUnavailableError, match=rf"{bucket} \(STORAGE_URL\) cannot be read: Could not connect"):
        Bucket(bucket).list_under("a")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match="AWS_"):
        Bucket(bucket).read("a")


URLS = [
    ("", None),
    ("/mnt/nfs/drape", "/mnt/nfs/drape"),
    ("relative", "relative"),
    ("file:///mnt/nfs/a%20folder", "/mnt/nfs/a folder"),
    ("s3://bucket", "s3://bucket"),
    ("s3://bucket/some/prefix/", "s3://bucket/some/prefix"),
]


@pytest.mark.parametrize(("url", "where"), URLS)
def test_the_setting_says_where(url: str, where: str | None) -> None:
    storage = open_storage(Settings(storage_url=url))
    assert (storage and storage.url) == where


@pytest.mark.parametrize(
    "given", [{"storage_url": "gs://bucket"}, {"storage_url": "s3://"}, {"storage_url": "/a", "model_dir": Path("/b")}]
)
def test_settings_that_name_no_storage_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="STORAGE_URL"):
        Settings(**given)  # type: ignore[arg-type]


def test_who_has_no_bucket_imports_nothing_for_one() -> None:
    code = (
        "import sys\nfrom backend.settings import Settings\nfrom backend.registry.registry import Registry\n"
        "Registry.of(Settings(_env_file=None, storage_url='/tmp'))\n"
        "print(sorted({'s3fs', 'botocore', 'fsspec', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "[]\n"
