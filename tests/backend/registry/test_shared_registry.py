"""Two machines, each with copies of its own, over one folder or one bucket on a real server of S3."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from backend.auto_accept.gate import switch_off, switch_off_reason
from backend.detector.preparation import PREPARED, RECORD_FILE, preparation_folder, read_preparation
from backend.errors import ModelError, StorageError
from backend.registry.index import FRESH_S
from backend.registry.records import has_report, read_facts, report_path, write_facts, write_text
from backend.registry.registry import Registry, check_weights
from backend.storage.store import Bucket, Folder, Storage, StoredObject
from benchmarks.faults.proxy import Proxy
from launcher.stack.supervisor import free_port
from tests.backend.registry.conftest import PROJECT, add, machine

# Adds a version, as another process or machine does.
ADD = """
import sys
from pathlib import Path
from backend.registry.registry import Registry
from backend.settings import Settings
cache, url, weights = sys.argv[1:]
registry = Registry.of(Settings(_env_file=None, data_dir=Path(cache), storage_url=url))
for _ in range(3):
    print(registry.add(
        7, weights=Path(weights), classes=("saree",), parent=None, metrics={}, annotations={}, image_size_px=256,
        origin="training",
    ).name)
"""
# Ends the process that does so when it would write the manifest.
KILLED = """
import os, signal
from backend.storage.store import Bucket, Folder
for kind in (Bucket, Folder):
    def write(self, name, content, write=kind.write):
        return os.kill(os.getpid(), signal.SIGKILL) if name.endswith("manifest.json") else write(self, name, content)
    kind.write = write
"""


def within(seconds: float, so: Callable[[], bool]) -> bool:
    """Whether something comes true in time."""
    deadline = time.monotonic() + seconds
    while not so():
        if time.monotonic() > deadline:
            return so()
        time.sleep(0.05)
    return True


class Counted(Folder):
    """A folder that counts how often it is asked."""

    asked = 0

    def list_under(self, under: str) -> dict[str, StoredObject]:
        self.asked += 1
        return super().list_under(under)


@pytest.mark.slow
def test_what_one_machine_does_the_other_sees_within_seconds(shared: Storage, tmp_path: Path) -> None:
    one, other = machine(shared, tmp_path, "one"), machine(shared, tmp_path, "other")
    assert other.champion(PROJECT) is None and other.versions(PROJECT) == []
    first = add(one, b"first", tmp_path)
    one.promote(PROJECT, first.name)
    assert within(FRESH_S + 2, lambda: other.champion(PROJECT) == first)
    seen = other.champion(PROJECT)
    assert seen is not None and seen.weights != first.weights and not seen.weights.exists()
    check_weights(seen)
    assert seen.weights.read_bytes() == b"first"
    # What is found out later, too, and what was changed.
    write_facts(first, "facts.json", {"a": 1})
    assert within(FRESH_S + 2, lambda: read_facts(seen, "facts.json") == {"a": 1})
    write_facts(seen, "facts.json", {"a": 2})
    write_text(seen, "report.html", "<p>")
    switch_off(seen, "3 of 9 were wrong")
    assert within(FRESH_S + 2, lambda: read_facts(first, "facts.json") == {"a": 2})
    assert (
        has_report(first)
        and report_path(first).read_text() == "<p>"
        and switch_off_reason(first) == "3 of 9 were wrong"
    )
    second = add(other, b"second", tmp_path)
    one.look_anew(PROJECT)
    assert one.versions(PROJECT) == [first, second] and second.number == 2
    other.promote(PROJECT, second.name)
    other.promote(PROJECT, first.name)
    other.remove(PROJECT, second.name)
    one.look_anew(PROJECT)
    assert one.champion(PROJECT) == first and one.versions(PROJECT) == [first]
    assert not [name for name in shared.list_under(f"models/{PROJECT}") if second.name in name]


def test_a_preparation_is_there_whole_and_the_first_one_stays(shared: Storage, tmp_path: Path) -> None:
    one, other = machine(shared, tmp_path, "one"), machine(shared, tmp_path, "other")
    versions = [add(one, b"weights", tmp_path)]
    versions += other.versions(PROJECT)
    for number, version in enumerate(versions):
        made = tmp_path / f"made-{number}"
        (made / "deeper").mkdir(parents=True)
        (made / RECORD_FILE).write_text(f'{{"runtime": "torch", "note": "{number}"}}')
        (made / "deeper" / "file").write_text(str(number))
        version.files.put_folder(PREPARED, made, first=True)
    for version in versions:
        preparation = read_preparation(version)
        assert preparation is not None and preparation.note == "0"
        folder = preparation_folder(version)
        assert (folder / "deeper" / "file").read_text() == "0" and folder.name == PREPARED
    assert not list(tmp_path.rglob(".half*"))


def test_a_folder_that_is_stored_again_replaces_the_one_before(shared: Storage, tmp_path: Path) -> None:
    version = add(machine(shared, tmp_path, "one"), b"weights", tmp_path)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
        version.files.put_folder("exports/onnx", tmp_path / name)
        assert [path.name for path in version.files.fetch_folder("exports/onnx").iterdir()] == [name]


def test_machines_that_add_at_once_get_different_numbers(shared: Storage, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"weights")
    adding = [
        subprocess.Popen(
            [sys.executable, "-c", ADD, str(tmp_path / f"m{number % 2}"), shared.url, str(tmp_path / "weights.pt")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    names = [name for one in adding for name in one.communicate(timeout=300)[0].split()]
    assert [one.returncode for one in adding] == [0, 0, 0] and len(set(names)) == 9
    versions = machine(shared, tmp_path, "other").versions(PROJECT)
    assert {version.name for version in versions} == set(names) and len({one.number for one in versions}) == 9


@pytest.mark.parametrize("writings", [0, 1, 2])
def test_an_add_that_breaks_off_is_not_seen(
    shared: Storage, writings: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = machine(shared, tmp_path, "one"), machine(shared, tmp_path, "other")
    first = add(one, b"first", tmp_path)
    written = shared.write
    left = iter(range(writings))

    def write(name: str, content: bytes | Path) -> StoredObject:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return written(name, content)

    monkeypatch.setattr(shared, "write", write)
    with pytest.raises(KeyboardInterrupt):
        add(one, b"second", tmp_path)
    monkeypatch.undo()
    for registry in (one, other):
        registry.look_anew(PROJECT)
        assert registry.versions(PROJECT) == [first]
    third = add(other, b"third", tmp_path)
    assert third.number == 2 and other.versions(PROJECT) == [first, third]
    # What was uploaded is deleted.
    versions = {name.split("/")[2] for name in shared.list_under(f"models/{PROJECT}")}
    assert versions == {"index", first.name, third.name}


def test_a_process_that_is_killed_while_it_adds_leaves_nothing(shared: Storage, tmp_path: Path) -> None:
    first = add(machine(shared, tmp_path, "one"), b"first", tmp_path)
    adding = subprocess.run(
        [sys.executable, "-c", KILLED + ADD, str(tmp_path / "two"), shared.url, str(tmp_path / "trained.pt")],
        timeout=300,
        check=False,
    )
    assert adding.returncode == -signal.SIGKILL
    assert [name for name in shared.list_under(f"models/{PROJECT}") if "-v2-" in name and name.endswith("weights.pt")]
    other = machine(shared, tmp_path, "other")
    assert other.versions(PROJECT) == [first]
    third = add(other, b"third", tmp_path)
    assert third.number == 2
    versions = {name.split("/")[2] for name in shared.list_under(f"models/{PROJECT}")}
    assert versions == {"index", first.name, third.name}


def test_leftovers_of_one_machine_are_deleted_and_a_version_that_is_being_added_is_not(tmp_path: Path) -> None:
    registry, folder = Registry(tmp_path / "models"), tmp_path / "models" / str(PROJECT)
    for name in ("yolo11n-seg-v1-abcdef", "yolo11n-seg-v2-abcdef"):
        (folder / name / "0a").mkdir(parents=True)
        (folder / name / "0a" / "weights.pt").write_bytes(b"half")
        (folder / name / "0a" / ".half-1").mkdir()
    first = add(registry, b"first", tmp_path)
    assert {path.name for path in folder.iterdir()} == {"index", first.name, "yolo11n-seg-v2-abcdef"}


def test_a_file_that_was_half_written_to_a_shared_folder_is_deleted_with_its_version(tmp_path: Path) -> None:
    half = tmp_path / "shared" / "models" / str(PROJECT) / "yolo11n-seg-v1-abcdef" / "0a" / ".weights.pt.1-0a1b2c3d"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    first = add(machine(Folder(tmp_path / "shared"), tmp_path, "one"), b"first", tmp_path)
    assert {path.name for path in half.parents[2].iterdir()} == {"index", first.name}


def test_a_copy_of_a_removed_version_is_deleted(shared: Storage, tmp_path: Path) -> None:
    one, other = machine(shared, tmp_path, "one"), machine(shared, tmp_path, "other")
    first, second = add(one, b"first", tmp_path), add(one, b"second", tmp_path)
    for version in other.versions(PROJECT):
        check_weights(version)
    one.remove(PROJECT, first.name)
    other.look_anew(PROJECT)
    assert [path.name for path in (tmp_path / "other" / "models" / str(PROJECT)).glob("yolo*")] == [second.name]


def test_a_damaged_copy_is_fetched_again_and_damaged_weights_are_refused(shared: Storage, tmp_path: Path) -> None:
    one = machine(shared, tmp_path, "one")
    version = add(one, b"weights", tmp_path)
    check_weights(version)
    version.weights.write_bytes(b"damaged")
    check_weights(version)
    assert version.weights.read_bytes() == b"weights"
    shared.write(f"models/{version.weights.relative_to(one.root)}", b"others")
    with pytest.raises(ModelError, match="was changed"):
        check_weights(machine(shared, tmp_path, "other").version(PROJECT, version.name))


def test_a_damaged_copy_of_a_manifest_is_fetched_again(shared: Storage, tmp_path: Path) -> None:
    version = add(machine(shared, tmp_path, "one"), b"weights", tmp_path)
    assert machine(shared, tmp_path, "other").versions(PROJECT) == [version]
    (copy,) = (tmp_path / "other").rglob("manifest.json")
    copy.write_bytes(b"")
    assert machine(shared, tmp_path, "other").versions(PROJECT) == [version]


def test_a_champion_that_is_asked_for_often_costs_no_look_each_time(tmp_path: Path) -> None:
    shared = Counted(tmp_path / "shared")
    one = machine(shared, tmp_path, "one")
    one.promote(PROJECT, add(one, b"weights", tmp_path).name)
    before = shared.asked
    for _ in range(1000):
        assert one.champion(PROJECT) is not None
    assert shared.asked - before <= 3


@pytest.mark.services
def test_while_the_storage_is_away_everything_goes_on_with_what_is_here(
    bucket: str, s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(free_port(), to=int(urlsplit(s3_server).port or 0)) as proxy:
        one = machine(Bucket(bucket), tmp_path, "one")
        first = add(one, b"first", tmp_path)
        one.promote(PROJECT, first.name)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        said: list[str] = []
        other = machine(Bucket(bucket), tmp_path, "other", said)
        assert other.champion(PROJECT) == first and other.project_ids() == [PROJECT]
        check_weights(first_there := other.version(PROJECT, first.name))
        assert read_facts(first_there, "dataset.json") == {}
        proxy.refuses = True
        proxy.drop()
        answered_s = []
        until = time.monotonic() + FRESH_S + 4
        while time.monotonic() < until:
            started = time.monotonic()
            assert other.champion(PROJECT) == first and read_facts(first_there, "dataset.json") == {}
            answered_s.append(time.monotonic() - started)
            time.sleep(0.05)
        assert len(said) == 1 and "STORAGE_URL" in said[0]
        assert sum(one > 0.5 for one in answered_s) <= 2
        # A process that begins now knows what this machine knew.
        begun = machine(Bucket(bucket), tmp_path, "other")
        assert begun.champion(PROJECT) == first and begun.project_ids() == [PROJECT]
        with pytest.raises(StorageError, match="this machine has no copy"):
            machine(Bucket(bucket), tmp_path, "new").champion(PROJECT)
        with pytest.raises(StorageError, match=r"\(STORAGE_URL\) cannot be"):
            write_facts(first_there, "facts.json", {})
        second = add(one, b"second", tmp_path)
        one.promote(PROJECT, second.name)
        assert other.champion(PROJECT) == first
        proxy.refuses = False
        assert within(30, lambda: other.champion(PROJECT) == second)
