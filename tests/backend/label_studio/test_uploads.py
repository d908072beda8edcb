"""Names that stay: of uploads, of local files, of addresses."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pytest

from backend.label_studio.uploads import (
    MAX_NAME_LENGTH,
    file_part,
    image_name,
    local_address,
    served_path,
    upload_name,
)

ADDRESSES = [
    ("/data/upload/7/0123abcd-a_b.jpg", "a_b.jpg"),
    ("https://studio.example/data/upload/7/0123abcd-%E0%A4%B8.jpg", "स.jpg"),
    ("/data/local-files/?d=folder/a%20b.jpg", "folder/a b.jpg"),
    ("https://images.example/a.jpg?size=2", "https://images.example/a.jpg?size=2"),
    ("s3://bucket/a.jpg", "s3://bucket/a.jpg"),
    # Not a valid address: a task may hold any text.
    ("http://[a/b.jpg", "http://[a/b.jpg"),
]


@pytest.mark.parametrize(("address", "name"), ADDRESSES)
def test_an_address_is_known_by_what_stays(address: str, name: str) -> None:
    assert image_name(address) == name


@pytest.mark.parametrize("path", ["a.jpg", "folder/a b & c.jpg", "folder/साड़ी?.jpg"])
def test_a_local_address_is_read_back(path: str) -> None:
    assert image_name(local_address(PurePosixPath(path))) == path


# Label Studio gives each of them the name of another one, or of another folder's file.
ONE_NAME = (
    "saree_1.jpg",
    "saree (1).jpg",
    "saree 1.jpg",
    "saree_(1).jpg",
    "सूट.jpg",
    "सेट.jpg",
    "a/b.jpg",
    "a__b.jpg",
    "a_/b.jpg",
)


def test_different_paths_have_different_names_that_label_studio_keeps() -> None:
    names = [upload_name(PurePosixPath(path)) for path in ONE_NAME]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[-\w.]+", name) for name in names)
    assert names[0] == "saree_1.jpg" and upload_name(PurePosixPath("below/a.jpg")) == "below__a.jpg"


@pytest.mark.parametrize(
    "file", ["saree (1).jpg", "a__b.jpg", "IMG_1_jpg.rf.0123456789abcdef0123456789abcdef.jpg", "x" * 90]
)
def test_a_file_keeps_its_part_of_the_name_in_any_folder(file: str) -> None:
    parts = {file_part(upload_name(PurePosixPath(folder, file))) for folder in ("", "train", "a b/" + "deep/" * 9)}
    assert len(parts) == 1


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
