from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend.errors import ModelError, StorageError
from backend.registry.files import MANIFEST, NETWORK
from backend.registry.records import read_facts, read_text, write_facts, write_text
from backend.registry.registry import NetworkKind, Registry, Version, check_weights
from backend.settings import Settings
from backend.storage.store import Folder


def add(
    registry: Registry,
    weights: Path,
    *,
    parent: str | None = None,
    network: NetworkKind = "yolo",
    beside: Mapping[str, str] | None = None,
) -> Version:
    return registry.add(
        7,
        weights=weights,
        classes=("saree", "blouse"),
        parent=parent,
        metrics={"mask_map50": 0.5},
        annotations={"3": "abc"},
        image_size_px=256,
        origin="training",
        network=network,
        beside=beside,
    )


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "trained.pt"
    path.write_bytes(b"weights")
    return path


@pytest.fixture(params=["own", "folder", pytest.param("s3", marks=pytest.mark.services)])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    """One machine's, of versions that are its own, or that lie in a storage."""
    if request.param == "own":
        return Registry(tmp_path / "models")
    url = str(tmp_path / "shared") if request.param == "folder" else request.getfixturevalue("bucket")
    return Registry.of(Settings(data_dir=tmp_path / "machine", storage_url=url))


def test_versions_are_numbered_kept_and_read_again(registry: Registry, weights: Path) -> None:
    assert registry.champion(7) is None
    assert registry.versions(7) == []
    first = add(registry, weights)
    weights.write_bytes(b"other weights")
    second = add(registry, weights, parent=first.name)
    assert [version.name.rsplit("-", 1)[0] for version in (first, second)] == ["yolo11n-seg-v1", "yolo11n-seg-v2"]
    assert registry.versions(7) == [first, second]
    assert registry.project_ids() == [7]
    write_facts(first, "facts.json", {"a": 1})
    assert read_facts(first, "facts.json") == {"a": 1} and read_facts(second, "facts.json") is None
    registry.promote(7, first.name)
    registry.remove(7, second.name)
    with pytest.raises(ModelError, match="is the current model"):
        registry.remove(7, first.name)
    with pytest.raises(FileNotFoundError, match="is gone"):
        write_facts(second, "facts.json", {"a": 1})
    assert registry.versions(7) == [first]


def test_the_champion_moves_and_moves_back(registry: Registry, weights: Path) -> None:
    first, second = add(registry, weights), add(registry, weights)
    for version in (first, second, first):
        registry.promote(7, version.name)
        assert registry.champion(7) == version
    with pytest.raises(ModelError, match="no model version"):
        registry.promote(7, "yolo11n-seg-v9-abcdef")
    assert registry.champion(7) == first


def test_a_line_leads_back_to_the_newest_yolo(registry: Registry, weights: Path) -> None:
    first = add(registry, weights)
    second = add(registry, weights, parent=first.name)
    other = add(registry, weights, parent=second.name, network="instances", beside={NETWORK: "<net/>"})
    another = add(registry, weights, parent=other.name, network="label map", beside={NETWORK: "<net/>"})
    assert registry.line_of(another) == [another, other, second, first]
    assert registry.newest_yolo(another) == registry.newest_yolo(other) == registry.newest_yolo(second) == second
    assert [one.network for one in registry.versions(7)] == ["yolo", "yolo", "instances", "label map"]
    registry.remove(7, second.name)
    # What came before one that was deleted is not known any more.
    assert registry.line_of(another) == [another, other]
    assert registry.newest_yolo(another) is registry.newest_yolo(None) is None


def test_a_network_and_its_weights_are_read_again_on_another_machine(registry: Registry, weights: Path) -> None:
    made = add(registry, weights, network="instances", beside={NETWORK: "<net/>"})
    check_weights(made)
    assert made.weights.read_bytes() == weights.read_bytes() and made.weights.suffix == ".bin"
    assert made.files.fetch(NETWORK).read_text() == "<net/>"


def test_a_manifest_of_before_there_were_other_networks_is_of_a_yolo(tmp_path: Path, weights: Path) -> None:
    version = add(Registry(tmp_path / "models"), weights)
    facts = json.loads(version.files.fetch(MANIFEST).read_text())
    del facts["network"]
    version.files.put({MANIFEST: json.dumps(facts).encode()})
    (read,) = Registry(tmp_path / "models").versions(7)
    assert read == version and read.network == "yolo"


def test_a_process_that_starts_later_reads_the_same(tmp_path: Path, weights: Path) -> None:
    first = add(Registry(tmp_path / "models"), weights)
    assert Registry(tmp_path / "models").versions(7) == [first]
    # Nothing unfinished remains, and nothing but the files themselves.
    names = {path.name for path in (tmp_path / "models").rglob("*") if path.is_file()}
    assert names == {"weights.pt", "manifest.json", "1.json"}


def test_additions_at_once_all_succeed_although_each_deletes_what_others_began(tmp_path: Path) -> None:
    def add_some(number: int) -> list[Version]:
        weights = tmp_path / f"{number}.pt"
        weights.write_bytes(bytes([number]) * 2_000_000)
        return [add(Registry(tmp_path / "models"), weights) for _ in range(8)]

    with ThreadPoolExecutor(4) as pool:
        added = [version for some in pool.map(add_some, range(4)) for version in some]
    added.sort(key=lambda version: version.number)
    assert Registry(tmp_path / "models").versions(7) == added
    assert [version.number for version in added] == list(range(1, 33))


def test_a_file_whose_name_no_index_may_have_does_not_spoil_the_index(registry: Registry, weights: Path) -> None:
    version = add(registry, weights)
    with pytest.raises(ModelError, match=r"'exports/\.hidden' is no name"):
        version.files.put({"exports/.hidden": b"a"})
    registry.look_anew(7)
    assert registry.versions(7) == [version]


def test_weights_that_were_changed_are_not_loaded(tmp_path: Path, weights: Path) -> None:
    version = add(Registry(tmp_path / "models"), weights)
    check_weights(version)
    version.weights.write_bytes(b"something else")
    with pytest.raises(ModelError, match="was changed"):
        check_weights(version)
    version.weights.unlink()
    with pytest.raises(ModelError, match="are missing"):
        check_weights(version)


# What an index says after somebody else has written it.
FOREIGN_INDEXES: list[dict[str, object]] = [
    {"versions": {"../../etc": {}}},
    {"versions": {"yolo11n-seg-v1": {}}},
    {"versions": {"yolo11n-seg-v1-abcdef": {"../../../etc/passwd": "0" * 64}}},
    {"versions": {"yolo11n-seg-v1-abcdef": {"/etc/passwd": "0" * 64}}},
    {"versions": {"yolo11n-seg-v1-abcdef": {"a/.ssh/id": "0" * 64}}},
    {"versions": {"yolo11n-seg-v1-abcdef": {"weights.pt": "../../../../etc"}}},
    {"last_number": None},
]


@pytest.mark.parametrize("facts", FOREIGN_INDEXES)
def test_an_index_that_leads_elsewhere_is_refused(tmp_path: Path, facts: dict[str, object]) -> None:
    index = tmp_path / "7" / "index" / "1.json"
    index.parent.mkdir(parents=True)
    index.write_text(json.dumps(facts))
    with pytest.raises(StorageError, match="is damaged"):
        Registry(tmp_path).versions(7)


def test_a_champion_that_does_not_exist_is_none(tmp_path: Path) -> None:
    index = tmp_path / "7" / "index" / "1.json"
    index.parent.mkdir(parents=True)
    index.write_text(json.dumps({"champion": "../../etc"}))
    assert Registry(tmp_path).champion(7) is None


# What a bucket's or a folder's manifest says after somebody else has written it.
FOREIGN = [
    {"name": "../../../etc/x"},
    {"name": "yolo11n-seg-v9-abcdef"},
    {"project_id": 8},
    {"project_id": "7"},
    {"weights": "/tmp/x.pt"},
    {"files": None},
    {"classes": None},
    {"unheard": 1},
]


@pytest.mark.parametrize("facts", FOREIGN)
def test_a_manifest_that_names_another_version_or_file_is_passed_over(
    tmp_path: Path, weights: Path, facts: dict[str, object]
) -> None:
    version = add(Registry(tmp_path), weights)
    write_text(version, MANIFEST, json.dumps({**json.loads(read_text(version, MANIFEST)), **facts}))
    assert Registry(tmp_path).versions(version.project_id) == []


def test_folders_that_are_no_projects_number_are_none(tmp_path: Path) -> None:
    for name in ("²", "٣", "7a", "..7", "7" * 20):
        (tmp_path / name).mkdir()
    assert Registry(tmp_path).project_ids() == []


def test_tampered_with_in_the_storage_weights_are_not_loaded(tmp_path: Path, weights: Path) -> None:
    kept = tmp_path / "kept"
    version = add(Registry.shared(Folder(kept), tmp_path / "here"), weights)
    there = Registry.shared(Folder(kept), tmp_path / "there").version(version.project_id, version.name)
    check_weights(there)
    name = version.weights.relative_to(tmp_path / "here")
    (kept / name).write_bytes(b"other weights")
    elsewhere = Registry.shared(Folder(kept), tmp_path / "elsewhere").version(version.project_id, version.name)
    with pytest.raises(ModelError, match="was changed"):
        check_weights(elsewhere)


def test_a_promotion_may_be_tied_to_the_champion_that_it_replaces(registry: Registry, weights: Path) -> None:
    first, second, third = (add(registry, weights) for _ in range(3))
    assert registry.promote(7, first.name, instead_of="")
    assert registry.promote(7, second.name, instead_of=first.name)
    # Somebody was faster: what they chose stays.
    assert not registry.promote(7, third.name, instead_of=first.name)
    assert not registry.promote(7, third.name, instead_of="")
    assert registry.champion(7) == second
    # Said again after an answer was lost.
    assert registry.promote(7, second.name, instead_of=first.name)
    assert registry.promote(7, third.name)
    assert registry.champion(7) == third
