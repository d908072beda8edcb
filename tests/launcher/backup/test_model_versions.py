"""Backups of models from, and restores into, a folder of this machine's own, a shared folder, and a bucket of S3."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from backend.detector.preparation import PREPARED
from backend.errors import StorageUnavailableError
from backend.registry.files import MANIFEST, ModelFiles
from backend.registry.index import INDEX, INDEX_JSON, Indexes
from backend.registry.registry import MODELS, Registry, Version, check_weights
from backend.settings import Settings
from backend.storage.store import Folder, Storage, StoredObject, open_storage
from launcher.backup.archive import create_archive
from launcher.backup.model_versions import are_shared, finish, upload, write_versions
from launcher.cli import app
from launcher.stack.supervisor import free_port

HALF = "yolo11n-seg-v9-0a1b2c"
Found = dict[int, tuple[str | None, dict[str, dict[str, str]]]]


def add(registry: Registry, project_id: int, word: str, tmp_path: Path) -> Version:
    """A version with weights, a report, an export and a preparation."""
    weights = tmp_path / "trained.pt"
    weights.write_text(f"weights {word}")
    version = registry.add(
        project_id,
        weights=weights,
        classes=("saree",),
        parent=None,
        metrics={},
        annotations={},
        image_size_px=256,
        origin="training",
        beside={"dataset.json": word},
    )
    version.files.put({"report.html": f"report {word}".encode()})
    for name in ("exports/onnx", PREPARED):
        made = tmp_path / "a-folder"
        made.mkdir(exist_ok=True)
        (made / "model.onnx").write_text(f"made {word}")
        version.files.put_folder(name, made)
    return version


def fill(registry: Registry, tmp_path: Path, word: str, *, projects: tuple[int, ...] = (1, 2)) -> None:
    """Two versions in each project; the first has a champion, which is not the newest."""
    for project_id in projects:
        first = add(registry, project_id, f"{word} {project_id} first", tmp_path)
        add(registry, project_id, f"{word} {project_id} second", tmp_path)
        if project_id == projects[0]:
            registry.promote(project_id, first.name)


def found(settings: Settings) -> Found:
    """Champion and files of each version, as a process sees them that begins now."""
    registry = Registry.of(settings)
    return {project_id: _project(registry, project_id) for project_id in registry.project_ids()}


def _project(registry: Registry, project_id: int) -> tuple[str | None, dict[str, dict[str, str]]]:
    champion = registry.champion(project_id)
    versions = {}
    for version in registry.versions(project_id):
        check_weights(version)
        plain = [version.files.fetch(name) for name in ("weights.pt", MANIFEST, "dataset.json", "report.html")]
        export = version.files.fetch_folder("exports/onnx") / "model.onnx"
        versions[version.name] = {path.name: path.read_text() for path in [*plain, export]}
    return champion.name if champion is not None else None, versions


def drape(settings: Settings, *arguments: str | Path) -> Result:
    given = ["--no-label-studio", "--data-dir", settings.data_dir]
    # Sentences name files, however long their folder is called.
    environment = {"STORAGE_URL": settings.storage_url, "COLUMNS": "500"}
    return CliRunner().invoke(app, [str(one) for one in [*arguments, *given]], env=environment)


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """`STORAGE_URL` of each kind, empty."""
    (tmp_path / "shared").mkdir()
    return {"own": "", "folder": str(tmp_path / "shared"), "s3": request.getfixturevalue("bucket")}


@pytest.mark.services
@pytest.mark.parametrize(("kept", "put"), [("own", "folder"), ("folder", "own"), ("own", "s3"), ("s3", "own")])
def test_what_was_kept_comes_back_wherever_models_lie(
    kept: str, put: str, places: dict[str, str], tmp_path: Path
) -> None:
    one = Settings(data_dir=tmp_path / "one", storage_url=places[kept])
    fill(Registry.of(one), tmp_path, "kept")
    before, storage = found(one), open_storage(one)
    if storage is not None:
        # Somebody uploads it, or was killed.
        storage.write(f"{MODELS}/1/{HALF}/weights.pt", b"half")
    file = tmp_path / "kept.tar.gz"
    done = drape(one, "backup", file)
    assert done.exit_code == 0 and "in 22 files" in done.output, done.output
    # Copies of all versions would fill this machine's disk.
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]

    other = Settings(data_dir=tmp_path / "other", storage_url=places[put])
    fill(Registry.of(other), tmp_path, "other", projects=(2, 3))
    mixed = found(other)
    done = drape(other, "restore", file)
    assert done.exit_code == 1 and "models of" in str(done.exception) and "--force" in str(done.exception)
    assert found(other) == mixed != before
    done = drape(other, "restore", file, "--force")
    assert done.exit_code == 0 and "4 model versions are complete" in done.output, done.output
    assert found(other) == before and before[1][0] is not None and before[2][0] is None
    storage = open_storage(other)
    if storage is not None:
        names = storage.list_under(MODELS)
        assert not [name for name in names if HALF in name or "/3/" in name]
        assert len([name for name in names if name.endswith("/model.onnx")]) == 4
    for version in Registry.of(other).versions(1):
        assert not [path for path in version.files.digests() if path.startswith(PREPARED)]
    # The line goes on.
    assert add(Registry.of(other), 1, "later", tmp_path).number == 3


@pytest.mark.services
@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_storage_that_is_away_is_said_and_nothing_changes(
    kind: str, places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Settings(data_dir=tmp_path / "one", storage_url=places[kind])
    fill(Registry.of(one), tmp_path, "kept")
    assert drape(one, "backup", tmp_path / "kept.tar.gz").exit_code == 0
    there = sorted(path for path in one.data_dir.rglob("*"))
    if kind == "folder":
        Path(places[kind]).rename(tmp_path / "unmounted")
    else:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    for done in (
        drape(one, "backup", tmp_path / "second.tar.gz"),
        drape(one, "restore", tmp_path / "kept.tar.gz", "--force"),
    ):
        assert done.exit_code == 1 and f"{places[kind]} (STORAGE_URL)" in str(done.exception), done.output
    assert not (tmp_path / "second.tar.gz").exists() and not Path(places["folder"], MODELS).exists()
    assert set(there) <= set(one.data_dir.rglob("*")) and not list(one.data_dir.glob(".restoring-*"))


class Watched(Folder):
    """Looks after every change whether anybody could see a version that is not whole; is away from the n-th on."""

    def __init__(self, folder: Path, *, away_from: int) -> None:
        super().__init__(folder)
        self.changes, self._away_from = 0, away_from

    def write(self, name: str, content: bytes | Path) -> StoredObject:
        self._count()
        kept = super().write(name, content)
        self._look()
        return kept

    def remove(self, name: str) -> None:
        self._count()
        super().remove(name)
        self._look()

    def _count(self) -> None:
        if self.changes == self._away_from:
            raise StorageUnavailableError("It is away.")
        self.changes += 1

    def create(self, name: str, content: bytes) -> bool:
        self._count()
        created = super().create(name, content)
        self._look()
        return created

    def _look(self) -> None:
        plain = Folder(Path(self.url))
        indexes = Indexes(plain, f"{MODELS}/")
        for project_id in indexes.project_ids():
            index = indexes.read(project_id)
            assert not index.champion or index.champion in index.versions
            for name, files in index.versions.items():
                assert {"weights.pt", MANIFEST, "dataset.json", "report.html", "exports/onnx/model.onnx"} <= set(files)
                for path, digest in files.items():
                    location = shared_files(plain).location(project_id, name, path, digest)
                    assert hashlib.sha256(self.read(f"{MODELS}/{location}")).hexdigest() == digest


def shared_files(storage: Storage, copies: Path = Path()) -> ModelFiles:
    return ModelFiles(storage, Indexes(storage, f"{MODELS}/"), copies, f"{MODELS}/")


def put_back(storage: Storage, made: Registry) -> None:
    upload(shared_files(storage), made.files)
    finish(shared_files(storage), made.files)


def test_no_version_is_seen_by_half_wherever_a_restore_breaks_off(tmp_path: Path) -> None:
    made = Registry(tmp_path / "made")
    fill(made, tmp_path, "kept")
    fill(Registry.shared(Folder(tmp_path / "before"), tmp_path / "cache"), tmp_path, "other", projects=(1, 3))
    broken_off, number = True, 0
    while broken_off:
        root = tmp_path / f"shared-{number}"
        shutil.copytree(tmp_path / "before", root)
        storage = Watched(root, away_from=number)
        try:
            put_back(storage, made)
            broken_off = False
        except StorageUnavailableError:
            # Whatever was done, it can be done again.
            put_back(Watched(root, away_from=-1), made)
        names = {version: sorted(files) for version, files in found_in(root, tmp_path / f"new-{number}").items()}
        assert names == {version: sorted(files) for version, files in found_in(made.root, tmp_path, own=True).items()}
        # All changes are looked after each time; some are enough to break off at.
        number += 7
    assert number > 4 * 7


def found_in(root: Path, cache: Path, *, own: bool = False) -> dict[str, dict[str, str]]:
    registry = Registry(root) if own else Registry.shared(Folder(root), cache)
    return {
        f"{project_id} {name} {champion}": files
        for project_id in registry.project_ids()
        for champion, versions in [_project(registry, project_id)]
        for name, files in versions.items()
    }


class PromotesMeanwhile(Folder):
    """Another machine promotes the second version and removes the first while the first is copied."""

    def fetch(self, name: str, to: Path) -> None:
        registry = Registry.shared(Folder(Path(self.url)), to.parents[5] / "another-machine")
        first, *others = registry.versions(1)
        if others:
            registry.promote(1, others[0].name)
            registry.remove(1, first.name)
        super().fetch(name, to)


def test_a_champion_that_is_followed_while_it_is_copied_is_not_named(tmp_path: Path) -> None:
    root = tmp_path / "shared"
    fill(Registry.shared(Folder(root), tmp_path / "cache"), tmp_path, "kept", projects=(1,))
    with create_archive(tmp_path / "kept.tar.gz", lambda size: None) as archive:
        write_versions(shared_files(PromotesMeanwhile(root), tmp_path / "copies"), archive)
    (second,) = Registry.shared(Folder(root), tmp_path / "new").versions(1)
    with tarfile.open(tmp_path / "kept.tar.gz") as kept:
        *files, last = kept.getnames()
        content = kept.extractfile(last)
        assert content is not None
        index = INDEX_JSON.validate_json(content.read())
    assert last == f"models/1/{INDEX}/1.json" and {name.split("/")[2] for name in files} == {second.name}
    assert index.champion == second.name and set(index.versions) == {second.name}


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"damaged")])
def test_a_version_with_a_lost_or_damaged_file_is_left_out_and_named(
    harm: Callable[[Path], object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry(tmp_path / "models")
    fill(registry, tmp_path, "kept", projects=(1,))
    first, second = registry.versions(1)
    harm(second.weights)
    with create_archive(tmp_path / "kept.tar.gz", lambda size: None) as archive:
        write_versions(registry.files, archive)
    assert second.name in caplog.text
    with tarfile.open(tmp_path / "kept.tar.gz") as kept:
        kept.extractall(tmp_path / "out", filter="data")
    (version,) = Registry(tmp_path / "out" / "models").versions(1)
    assert version == first
    check_weights(version)


def test_of_versions_that_lie_here_the_whole_folder_is_replaced(tmp_path: Path) -> None:
    here = Registry(tmp_path / "here")
    assert not are_shared(here.files) and here.files.copies == here.root
    assert are_shared(shared_files(Folder(tmp_path)))


def test_what_cannot_be_listed_is_not_taken_for_nothing(shared: Storage, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageUnavailableError, match="cannot be read"):
        Folder(tmp_path / "file").list_under("")
    shared.write("a/b", b"1")
    shared.remove("a/b")
    # It is not gone with the last thing in it.
    assert shared.folders("a") == [] and (not isinstance(shared, Folder) or Path(shared.url).is_dir())
