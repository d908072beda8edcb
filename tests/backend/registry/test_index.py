"""The index of a project: changes at the same moment, lost answers, and storages that are damaged or not mounted."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend.errors import ModelError, NotFoundError, StorageError
from backend.registry.index import KEPT, Indexes
from backend.registry.records import read_facts, write_facts
from backend.storage.store import Folder, Storage
from tests.backend.registry.conftest import PROJECT, add, machine


class Raced(Folder):
    """A folder in which somebody else is faster: does something just before an index is written."""

    def __init__(self, folder: Path, *, before: Callable[[], object] = lambda: None) -> None:
        super().__init__(folder)
        self.before = before

    def create(self, name: str, content: bytes) -> bool:
        before, self.before = self.before, lambda: None
        before()
        return super().create(name, content)


class Overtaken(Folder):
    """A folder in which another thread changes an index just after one was written."""

    after: Callable[[], object] = staticmethod(lambda: None)

    def create(self, name: str, content: bytes) -> bool:
        created = super().create(name, content)
        after, self.after = self.after, lambda: None
        after()
        return created


def test_of_two_changes_by_one_machine_the_later_is_remembered(tmp_path: Path) -> None:
    overtaken = Overtaken(tmp_path / "shared")
    one = machine(overtaken, tmp_path, "one")
    version = add(one, b"first", tmp_path)
    overtaken.after = lambda: write_facts(version, "later.json", {"a": 2})
    version.files.put({"earlier.json": b"{}"})
    assert {"earlier.json", "later.json"} <= set(version.files.digests())


@pytest.mark.parametrize("is_mount_point", [False, True])
def test_a_folder_that_is_not_mounted_is_not_taken_for_empty(is_mount_point: bool, tmp_path: Path) -> None:
    mounted, said = tmp_path / "shared", list[str]()
    one = machine(Folder(mounted), tmp_path, "one", said)
    assert one.champion(PROJECT + 1) is None
    one.promote(PROJECT, add(one, b"first", tmp_path).name)
    champion = one.champion(PROJECT)
    mounted.rename(tmp_path / "away")
    if is_mount_point:
        mounted.mkdir()
    for registry in (one, machine(Folder(mounted), tmp_path, "one", said)):
        registry.look_anew(PROJECT)
        assert registry.champion(PROJECT) == champion and PROJECT in registry.project_ids()
    assert len(said) == 2 and "Mount it" in said[0]
    with pytest.raises(StorageError, match="Mount it"):
        one.promote(PROJECT + 1, "yolo11n-seg-v1-abcdef")
    assert not list(mounted.rglob("*"))


def test_a_version_that_is_removed_as_it_is_promoted_and_promoted_as_it_is_removed(tmp_path: Path) -> None:
    raced = Raced(tmp_path / "shared")
    one, other = machine(raced, tmp_path, "one"), machine(Folder(tmp_path / "shared"), tmp_path, "other")
    first, second = add(one, b"first", tmp_path), add(one, b"second", tmp_path)
    one.promote(PROJECT, first.name)
    raced.before = lambda: other.remove(PROJECT, second.name)
    with pytest.raises(NotFoundError):
        one.promote(PROJECT, second.name)
    assert one.champion(PROJECT) == first
    third = add(one, b"third", tmp_path)
    raced.before = lambda: other.promote(PROJECT, third.name)
    with pytest.raises(ModelError, match="is the current model"):
        one.remove(PROJECT, third.name)
    for registry in (one, other):
        registry.look_anew(PROJECT)
        assert registry.champion(PROJECT) == third and registry.versions(PROJECT) == [first, third]


def test_machines_that_change_a_project_at_once_lose_nothing(shared: Storage, tmp_path: Path) -> None:
    machines = [machine(shared, tmp_path, str(number)) for number in range(4)]
    first = add(machines[0], b"first", tmp_path)
    second = add(machines[0], b"second", tmp_path)

    def change(number: int) -> None:
        registry = machines[number]
        for fact in range(3):
            write_facts(registry.version(PROJECT, first.name), f"{number}-{fact}.json", {"a": fact})
            registry.promote(PROJECT, second.name if number % 2 else first.name)

    with ThreadPoolExecutor(len(machines)) as pool:
        list(pool.map(change, range(len(machines))))
    new = machine(shared, tmp_path, "new")
    version = new.version(PROJECT, first.name)
    facts = [read_facts(version, f"{number}-{fact}.json") for number in range(4) for fact in range(3)]
    assert facts == [{"a": fact} for _ in range(4) for fact in range(3)]
    assert new.champion(PROJECT) in (first, second) and new.versions(PROJECT) == [first, second]
    assert len(shared.list_under(f"models/{PROJECT}/index")) <= KEPT


def test_a_machine_that_was_held_up_for_many_changes_loses_none(tmp_path: Path) -> None:
    raced = Raced(tmp_path / "shared")
    one, other = machine(raced, tmp_path, "one"), machine(Folder(tmp_path / "shared"), tmp_path, "other")
    first = add(one, b"first", tmp_path)

    def many_changes() -> None:
        for number in range(3 * KEPT):
            write_facts(other.version(PROJECT, first.name), "number.json", {"number": number})

    raced.before = many_changes
    write_facts(first, "late.json", {"a": 1})
    seen = machine(raced, tmp_path, "new").version(PROJECT, first.name)
    assert read_facts(seen, "late.json") == {"a": 1}
    assert read_facts(seen, "number.json") == {"number": 3 * KEPT - 1}


class Deaf(Folder):
    """A folder whose answer to a successful write is lost, so that the next try finds the name taken."""

    def create(self, name: str, content: bytes) -> bool:
        return super().create(name, content) and super().create(name, content)


def test_a_version_is_added_once_although_an_answer_was_lost(tmp_path: Path) -> None:
    deaf = Deaf(tmp_path / "shared")
    one = machine(deaf, tmp_path, "one")
    first = add(one, b"first", tmp_path)
    assert one.versions(PROJECT) == [first] and Indexes(deaf, "models/").read(PROJECT).last_number == 1


def test_the_index_is_kept_although_it_is_damaged_in_the_storage(tmp_path: Path) -> None:
    shared, said = Folder(tmp_path / "shared"), list[str]()
    one = machine(shared, tmp_path, "one", said)
    one.promote(PROJECT, add(one, b"first", tmp_path).name)
    shared.write(f"models/{PROJECT}/index/99.json", b"{")
    one.look_anew(PROJECT)
    assert one.champion(PROJECT) is not None and len(said) == 1 and "is damaged" in said[0]
