"""Names that stay: of uploads, of local files, of addresses."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from backend.label_studio.uploads import MAX_NAME_LENGTH, image_name, local_address, served_path, upload_name

ADDRESSES = [
    ("/data/upload/7/0123abcd-a_b.jpg", "a_b.jpg"),
    ("https://studio.example/data/upload/7/0123abcd-%E0%A4%B8.jpg", "स.jpg"),
    ("/data/local-files/?d=folder/a%20b.jpg", "folder/a b.jpg"),
    ("https://images.example/a.jpg?size=2", "https://images.example/a.jpg?size=2"),
    ("s3://bucket/a.jpg", "s3://bucket/a.jpg"),
]


@pytest.mark.parametrize(("address", "name"), ADDRESSES)
def test_an_address_is_known_by_what_stays(address: str, name: str) -> None:
    assert image_name(address) == name


@pytest.mark.parametrize("path", ["a.jpg", "folder/a b & c.jpg", "folder/साड़ी?.jpg"])
def test_a_local_address_is_read_back(path: str) -> None:
    assert image_name(local_address(PurePosixPath(path))) == path


def test_long_names_stay_apart() -> None:
    one, other = (upload_name(Path("x" * 90 + middle + "y" * 70 + ".jpg")) for middle in "ab")
    assert one != other and len(one) == len(other) == MAX_NAME_LENGTH and one.endswith("yyy.jpg")
    assert upload_name(Path("x" * (MAX_NAME_LENGTH - 4) + ".jpg")) == "x" * (MAX_NAME_LENGTH - 4) + ".jpg"


def test_what_the_document_root_holds(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "in").mkdir(parents=True)
    (outside / "deep").mkdir(parents=True)
    (root / "link").symlink_to(outside)
    assert served_path(root / "in" / "a.jpg", root) == PurePosixPath("in/a.jpg")
    assert served_path(outside / "deep" / "a.jpg", root) == PurePosixPath("link/deep/a.jpg")
    assert served_path(tmp_path / "other.jpg", root) is None
    assert served_path(root / ".." / "other.jpg", root) is None
    assert served_path(tmp_path / "a.jpg", tmp_path / "none") is None
