"""A backup's file: what was put in comes out, and nothing comes out of one that is damaged."""

from __future__ import annotations

import gzip
import io
import json
import stat
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.backup.archive import FORMAT, MANIFEST, BackupManifest, PartName, create_archive, read_archive
from launcher.errors import LauncherError

CONTENTS: dict[tuple[PartName, str], bytes] = {
    ("redis", "state.jsonl"): b"",
    ("database", "label_studio.sqlite3"): b"rows " * 40_000,
    ("uploads", "upload/1/नीली साड़ी.jpg"): bytes(range(256)) * 9,
    ("models", "1/" + "deep/" * 40 + "weights.pt"): b"\0" * 513,
}


def written(path: Path, folder: Path) -> BackupManifest:
    """An archive of CONTENTS, and an empty part."""
    with create_archive(path, lambda size: None) as archive:
        for (part, name), content in CONTENTS.items():
            source = folder / "source"
            source.write_bytes(content)
            with source.open("rb") as file:
                archive.add(part, name, file)
        archive.add_text("models", "1/champion", "v1\n")
        return archive.end(drape="1.2.3", label_studio="1.23.2", made_at="2026-11-21T21:00:00+00:00", database="sqlite")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "kept.tar.gz"
    written(path, tmp_path)
    return path


def test_what_was_put_in_comes_out(tmp_path: Path) -> None:
    path = tmp_path / "kept.tar.gz"
    manifest = written(path, tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {one.name for one in tmp_path.iterdir()} == {"kept.tar.gz", "source"}
    taken: dict[tuple[str, str], io.BytesIO] = {}

    class Kept(io.BytesIO):
        def close(self) -> None:
            """Its content is looked at later."""

    def take(part: PartName, name: str, info: tarfile.TarInfo) -> io.BytesIO:
        return taken.setdefault((part, name), Kept())

    with path.open("rb") as file:
        assert read_archive(file, name="it", open_target=take) == manifest
    found = {key: value.getvalue() for key, value in taken.items()}
    assert found == CONTENTS | {("models", "1/champion"): b"v1\n"}
    assert [(part.name, part.files, part.size_bytes) for part in manifest.parts] == [
        ("redis", 1, 0),
        ("database", 1, 200_000),
        ("uploads", 1, 2304),
        ("models", 2, 516),
    ]
    # Others read it too.
    with tarfile.open(path) as tar:
        assert tar.getnames()[-1] == MANIFEST


def test_a_python_without_filters_of_tar_reads_it(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian 12's own, 3.11.2, has none."""
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with archive.open("rb") as file:
        assert read_archive(file, name="kept.tar.gz").drape == "1.2.3"


def test_cut_anywhere_it_is_refused(archive: Path) -> None:
    whole = archive.read_bytes()
    for length in [0, 1, 9, 10, 11, *range(50, len(whole), len(whole) // 40), len(whole) - 9, len(whole) - 1]:
        with pytest.raises(LauncherError, match=r"cut short|not a backup"):
            read_archive(io.BytesIO(whole[:length]), name="kept.tar.gz")


def test_with_any_byte_changed_it_is_refused(archive: Path) -> None:
    whole = archive.read_bytes()
    plain, refused = gzip.decompress(whole), 0
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 0x40
        try:
            # Of zeros in a row there are many ways to write the same.
            if gzip.decompress(changed) == plain:
                continue
        except (OSError, EOFError, zlib.error):
            refused += 1
        with pytest.raises(LauncherError):
            read_archive(io.BytesIO(changed), name="kept.tar.gz")
    assert refused > 200


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    """A sound archive of these, as somebody else would make it."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return io.BytesIO(gzip.compress(plain.getvalue()))


def member(name: str, *, kind: bytes = tarfile.REGTYPE, to: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info, b"" if kind != tarfile.REGTYPE else b"content"


HOSTILE: list[tuple[str, tuple[tarfile.TarInfo, bytes]]] = [
    ("out of its part", member("uploads/../../outside")),
    ("inside, by the way out", member("uploads/../models/1/champion")),
    ("absolute", member("/etc/cron.d/ours")),
    ("absolute below a part", member("uploads//etc/cron.d/ours")),
    ("a part that is none", member("secrets/redis-password")),
    ("no path", member("uploads")),
    ("a link", member("uploads/link", kind=tarfile.SYMTYPE, to="/etc/passwd")),
    ("a hard link", member("uploads/link", kind=tarfile.LNKTYPE, to="database/label_studio.sqlite3")),
    ("a device", member("uploads/device", kind=tarfile.CHRTYPE)),
]


@pytest.mark.parametrize("hostile", [one for _, one in HOSTILE], ids=[name for name, _ in HOSTILE])
def test_no_name_leads_out_of_it(hostile: tuple[tarfile.TarInfo, bytes]) -> None:
    taken: list[str] = []

    def take(part: PartName, name: str, info: tarfile.TarInfo) -> None:
        taken.append(name)

    with pytest.raises(LauncherError, match="no backup of Drape"):
        read_archive(packed(hostile), name="kept.tar.gz", open_target=take)
    assert not taken


def manifest_of(change: Callable[[dict[str, object]], object]) -> tuple[tarfile.TarInfo, bytes]:
    facts: dict[str, object] = {
        "format": FORMAT,
        "drape": "9.9",
        "label_studio": "",
        "made_at": "",
        "database": "none",
        "parts": [],
    }
    change(facts)
    return tarfile.TarInfo(MANIFEST), json.dumps(facts).encode()


def test_other_manifests_are_refused() -> None:
    for other in (FORMAT + 1, FORMAT - 1):
        manifest = manifest_of(lambda facts, other=other: facts.update(format=other))  # type: ignore[misc]
        with pytest.raises(LauncherError, match=r"made by Drape 9\.9, whose backups this version cannot read"):
            read_archive(packed(manifest), name="it")
    with pytest.raises(LauncherError, match="is damaged"):
        read_archive(packed(manifest_of(lambda facts: facts.pop("drape"))), name="it")
    with pytest.raises(LauncherError, match="do not match its manifest"):
        read_archive(packed(member("uploads/more"), manifest_of(lambda facts: None)), name="it")
    with pytest.raises(LauncherError, match="no backup of Drape"):
        read_archive(packed(manifest_of(lambda facts: None), member("uploads/after")), name="it")


def test_a_manifest_without_end_is_not_read_to_its_end() -> None:
    longest = packed((tarfile.TarInfo(MANIFEST), b" " * (1 << 24) + manifest_of(lambda facts: None)[1]))
    with pytest.raises(LauncherError, match="damaged"):
        read_archive(longest, name="kept.tar.gz")
    sound = packed(manifest_of(lambda facts: None))
    assert read_archive(sound, name="kept.tar.gz").drape == "9.9"


def test_nothing_is_left_of_one_that_failed(tmp_path: Path) -> None:
    path = tmp_path / "kept.tar.gz"
    with pytest.raises(ZeroDivisionError), create_archive(path, lambda size: None) as archive:
        archive.add_text("models", "1/champion", "v1")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    path.write_text("mine")
    with pytest.raises(LauncherError, match="exists already"), create_archive(path, lambda size: None):
        pytest.fail("It is not begun.")
    assert path.read_text() == "mine"
