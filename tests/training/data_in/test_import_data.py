"""`drape import` into a real Label Studio: what comes in goes out again, once, whatever happens meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from backend.domain import Mask
from backend.errors import DatasetError, LabelStudioError
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.label_studio.uploads import image_name, upload, upload_name, uploads
from backend.settings import Settings
from label_studio_config.provision import ensure_local_files, ensure_project
from launcher.cli import app
from tests.conftest import ROOT, Studio
from tests.training.data_in.sets import (
    CONFIG,
    SETS,
    SIZE,
    Set,
    alike,
    atr,
    blob,
    body,
    ccp,
    drawn,
    fashionpedia,
    flat_yolo,
    parquet,
    photographs,
    roboflow,
    save,
    write_coco,
)
from tests.training.data_in.sets import label_studio as label_studio_set
from training.annotations.approvals import approved_annotations
from training.annotations.truth import truth_of
from training.data_in import importer
from training.data_in.annotated_image import AnnotatedImage
from training.data_in.formats.detect import ReadOptions
from training.data_in.import_data import ImportResult, import_data
from training.data_in.importer import BATCH_IMAGES, ImportOptions

pytestmark = pytest.mark.services

BRUSHES = CONFIG.replace("<Polygon name", "<Brush name").replace('"polygon"', '"brush"')


@dataclass(frozen=True)
class Place:
    """An empty project, and what an import needs."""

    settings: Settings
    label_studio: LabelStudio
    project_id: int
    config: LabelConfig

    def bring(self, path: Path | str, *, at: Settings | None = None, **wanted: Any) -> ImportResult:
        """Imports a path."""

        def track(images: Iterable[AnnotatedImage], count: int) -> Iterable[AnnotatedImage]:
            assert count >= 0
            return images

        return import_data(
            self.label_studio,
            at or self.settings,
            self.project_id,
            [str(path)],
            options=ImportOptions(**wanted),
            track=track,
        )

    def tasks(self) -> list[dict[str, Any]]:
        return self.label_studio.tasks(self.project_id, self.label_studio.task_ids(self.project_id))

    def contents(self) -> list[bytes]:
        """The image of each task, as Label Studio serves it."""
        addresses = [str(task["data"]["image"]) for task in self.tasks()]
        return [self.label_studio.send("GET", address).content for address in addresses]

    def approved(self) -> dict[str, list[tuple[str, Mask]]]:
        """By image, the label and the mask of each garment that is approved, as a training sees them."""
        found: dict[str, list[tuple[str, Mask]]] = {}
        for one in approved_annotations(self.label_studio.annotated_tasks(self.project_id)):
            truth = truth_of(one.result, self.config)
            assert not truth.problems
            found[image_name(one.data["image"])] = [(garment.label, garment.mask) for garment in truth.garments]
        return found


@pytest.fixture
def place(label_studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name, value in {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.api_key,
        "DATA_DIR": str(tmp_path / "data"),
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    client = LabelStudio(settings)
    project_id = ensure_project(client, title=tmp_path.name, label_config=CONFIG)
    yield Place(settings, client, project_id, parse_label_config(CONFIG))
    client.sdk.projects.delete(project_id)


ROUNDS = [("polygons", make) for make in SETS] + [("brushes", make) for make in (fashionpedia, atr, label_studio_set)]


@pytest.mark.parametrize(("tags", "make"), ROUNDS, ids=[f"{make.__name__}-{tags}" for tags, make in ROUNDS])
def test_what_comes_in_goes_out_again(make: Callable[[Path], Set], tags: str, place: Place, tmp_path: Path) -> None:
    if tags == "brushes":
        place.label_studio.sdk.projects.update(place.project_id, label_config=BRUSHES)
        place = replace(place, config=parse_label_config(BRUSHES))
    made = make(tmp_path / "set")
    read_options = ReadOptions(**made.options)
    imported = place.bring(made.path, read_options=read_options, ground_truth=True)
    assert (imported.set_format, imported.tally.new) == (made.form, len(made.garments))
    assert set(imported.tally.unmapped) == made.unmapped
    assert not imported.problem
    tasks = place.tasks()
    assert {image_name(task["data"]["image"]) for task in tasks} == made.garments.keys()
    found = place.approved()
    # An image whose garments are none of ours is not approved as empty.
    assert found.keys() == {name for name, garments in made.garments.items() if garments}
    for name, garments in found.items():
        assert alike(garments, made.garments[name]), name
    stars = [one["ground_truth"] for task in tasks for one in task["annotations"]]
    assert all(stars) and len(stars) == len(found)
    # The same again brings nothing.
    again = place.bring(made.path, read_options=read_options)
    assert (again.tally.new, again.tally.updated, again.tally.skipped) == (0, 0, len(made.garments))
    after = place.tasks()
    assert [(task["id"], task["updated_at"], len(task["annotations"])) for task in after] == [
        (task["id"], task["updated_at"], len(task["annotations"])) for task in tasks
    ]


def test_polygons_come_in_as_they_are(place: Place, tmp_path: Path) -> None:
    save(tmp_path / "set" / "x.jpg", 1)
    parts = [body(0.0), blob(100, 75)]
    write_coco(tmp_path / "set" / "set.json", ["x.jpg"], ["dress"], [(1, 0, parts, 0)])
    place.bring(tmp_path / "set")
    (task,) = place.label_studio.annotated_tasks(place.project_id)
    regions = [one for one in task["annotations"][0]["result"] if one["type"] == "polygon"]
    assert [one.get("parentID") for one in regions] == [None, regions[0]["id"]]
    for region, part in zip(regions, parts, strict=True):
        points = [x * side / 100 for pair in region["value"]["points"] for x, side in zip(pair, SIZE, strict=True)]
        assert points == pytest.approx(part, abs=0.05)


def test_predictions_wait_for_review(place: Place, tmp_path: Path) -> None:
    made = fashionpedia(tmp_path / "set")
    imported = place.bring(made.path, kind="predictions")
    assert imported.version == imported.shown_version == "imported from instances_attributes_val2020"
    assert not place.label_studio.annotated_tasks(place.project_id)
    held = {image_name(task["data"]["image"]): task["predictions"] for task in place.tasks()}
    assert {name: len(found) for name, found in held.items()} == {"aa.jpg": 1, "bb.jpg": 1, "cc.jpg": 0}
    for name, (prediction,) in ((name, found) for name, found in held.items() if found):
        garments = [(one.label, one.mask) for one in truth_of(prediction["result"], place.config).garments]
        assert alike(garments, made.garments[name])
    again = place.bring(made.path, kind="predictions")
    assert (again.tally.new, again.tally.updated, again.tally.skipped) == (0, 0, 3)
    # What a person approves, and what is imported as approved, go beside them.
    assert place.bring(made.path).tally.updated == 2
    assert {len(task["predictions"]) for task in place.tasks()} == {0, 1}
    assert place.approved().keys() == {"aa.jpg", "bb.jpg"}


def test_images_that_are_there_get_their_garments_and_people_keep_theirs(place: Place, tmp_path: Path) -> None:
    made = fashionpedia(tmp_path / "set")
    assert place.bring(tmp_path / "set" / "test").tally.new == 3
    assert not place.approved()
    by_name = {image_name(task["data"]["image"]): int(task["id"]) for task in place.tasks()}
    made_by_person = place.label_studio.sdk.annotations.create(by_name["aa.jpg"], result=[])
    tried = place.bring(made.path, dry_run=True)
    assert (tried.tally.new, tried.tally.updated, tried.tally.skipped) == (0, 1, 2)
    assert not place.approved()["aa.jpg"] and "bb.jpg" not in place.approved()
    done = place.bring(made.path)
    assert done.tally == tried.tally
    assert [one["id"] for task in place.tasks() for one in task["annotations"] if task["id"] == by_name["aa.jpg"]] == [
        made_by_person.id
    ]
    assert alike(place.approved()["bb.jpg"], made.garments["bb.jpg"])
    # Another image of the same name is another image.
    save(tmp_path / "others" / "aa.jpg", 9)
    save(tmp_path / "others" / "aa.jpg", 9, (64, 48))
    assert place.bring(tmp_path / "others").tally.new == 1
    assert place.bring(tmp_path / "others").tally.skipped == 1


def test_local_files_are_served_where_they_lie(place: Place, label_studio: Studio, tmp_path: Path) -> None:
    settings = place.settings.model_copy(update={"local_files_root": label_studio.files})
    folder = label_studio.files / tmp_path.name
    made = fashionpedia(folder / "set")
    place.bring(made.path, at=settings)
    addresses = {task["data"]["image"] for task in place.tasks()}
    assert addresses == {f"/data/local-files/?d={tmp_path.name}/set/test/{name}" for name in made.garments}
    for address in addresses:
        answer = httpx.get(
            place.settings.label_studio_url + address, headers={"Authorization": place.label_studio.bearer()}
        )
        assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
    assert place.bring(made.path, at=settings).tally.skipped == 3
    # To synchronise its storage brings nothing either; one that was there is synchronised first.
    sdk = place.label_studio.sdk
    (storage,) = sdk.import_storage.local.list(project=place.project_id)
    sdk.import_storage.local.sync(int(storage.id or 0))
    assert len(place.tasks()) == 3
    more = folder / "more"
    save(more / "y.jpg", 1)
    ensure_local_files(place.label_studio, project_id=place.project_id, folder=more)
    save(more / "z.jpg", 2)
    place.bring(more, at=settings)
    ensure_local_files(place.label_studio, project_id=place.project_id, folder=more)
    assert sorted(image_name(task["data"]["image"]) for task in place.tasks() if "more" in task["data"]["image"]) == [
        f"{tmp_path.name}/more/y.jpg",
        f"{tmp_path.name}/more/z.jpg",
    ]
    # A link in the root, as `drape up` makes it.
    photographs(tmp_path / "outside")
    (label_studio.files / f"{tmp_path.name}-link").symlink_to(tmp_path / "outside")
    place.bring(tmp_path / "outside", at=settings)
    assert any(f"{tmp_path.name}-link/below/c.png" in task["data"]["image"] for task in place.tasks())


def test_photographs_that_make_up_showed_get_the_annotations_of_their_set(
    place: Place, label_studio: Studio, tmp_path: Path
) -> None:
    """`make up IMAGES=set/photos` links one folder of a set; the import is given the whole set."""
    settings = place.settings.model_copy(update={"local_files_root": label_studio.files})
    made = ccp(tmp_path / "set")
    link = label_studio.files / f"{tmp_path.name}-photos"
    link.symlink_to(made.path / "photos")
    ensure_local_files(place.label_studio, project_id=place.project_id, folder=link)
    # Another project's photographs, which this set does not have.
    (made.path / "others").mkdir()
    (label_studio.files / f"{tmp_path.name}-others").symlink_to(made.path / "others")
    shown = {task["id"] for task in place.tasks()}
    assert len(shown) == 3
    tally = place.bring(made.path, at=settings).tally
    assert (tally.new, tally.updated) == (0, 2)
    assert {task["id"] for task in place.tasks()} == shown and len(place.approved()) == 2
    storages = place.label_studio.sdk.import_storage.local.list(project=place.project_id)
    assert [storage.path for storage in storages] == [str(link)]


# As it is about to send its second hundred.
KILLED = """
import os, signal
from launcher.cli import main
from training.data_in import project_tasks

original, sent = project_tasks.import_tasks, []
def import_tasks(*given, **named):
    if sent:
        os.kill(os.getpid(), signal.SIGKILL)
    sent.append(1)
    return original(*given, **named)
project_tasks.import_tasks = import_tasks
main()
"""


def test_an_import_that_was_killed_goes_on(place: Place, tmp_path: Path) -> None:
    count = 250
    names = [f"{number:03d}.jpg" for number in range(count)]
    for number, name in enumerate(names):
        save(tmp_path / "set" / name, number)
    rows = [(number, 0, [body(number / 20)], 0) for number in range(1, count + 1)]
    write_coco(tmp_path / "set" / "set.json", names, ["dress"], rows)
    command = [sys.executable, "-c", KILLED, "import", "--project", str(place.project_id), str(tmp_path / "set")]
    died = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=300, check=False)
    assert died.returncode == -signal.SIGKILL
    found = place.label_studio.task_ids(place.project_id)
    assert 0 < len(found) < count
    told = CliRunner().invoke(app, ["import", "--project", str(place.project_id), str(tmp_path / "set")])
    assert told.exit_code == 0, told.output
    assert f"{count - len(found)} images were imported. {len(found)} images stay unchanged" in " ".join(
        told.output.split()
    )
    tasks = place.label_studio.annotated_tasks(place.project_id)
    assert sorted(image_name(task["data"]["image"]) for task in tasks) == names
    assert all(len(task["annotations"]) == 1 for task in tasks)
    garments = place.approved()
    for number, name in enumerate(names, start=1):
        assert alike(garments[name], [("dress", drawn(body(number / 20)))])


def test_what_would_come_in_is_printed(place: Place, tmp_path: Path) -> None:
    made = fashionpedia(tmp_path / "set")
    mapping = tmp_path / "mapping.json"
    mapping.write_text(json.dumps({"dress": "skirt", "neckline": None, "Gown": "dress"}))
    arguments = ["import", "--project", str(place.project_id), str(made.path), "--mapping", str(mapping)]
    told = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert told.exit_code == 0, told.output
    said = " ".join(told.output.split())
    for words in (
        "dress │ skirt │ 1",
        "neckline │ left out: not a label of the project │ 1",
        "3 images would be imported.",
        "Left out once: crowd (iscrowd)",
        "Left out once: missing image (gone.jpg).",
        "Left out 7 times: garment attributes",
        "The mapping names classes that the set does not have: gown.",
    ):
        assert words in said, said
    assert not place.tasks()
    mapping.write_text(
        json.dumps({"dress": None, "neckline": None, "shirt, blouse": "", "top, t-shirt, sweatshirt": ""})
    )
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 1
    assert "None of the set's classes is a label of the project" in " ".join(told.output.split())
    assert len(place.tasks()) == 3 and not place.approved()


def test_files_that_were_sent_come_no_second_time(place: Place, tmp_path: Path) -> None:
    """An import that was killed between the files and their tasks."""
    made = photographs(tmp_path / "set")
    source = tmp_path / "set" / "a b.jpg"
    project_id = place.project_id
    name = upload_name(Path(source.name))
    upload(place.label_studio, project_id=project_id, named=[(name, source)], as_tasks=False)
    assert place.bring(made.path).tally.new == 2
    assert len(uploads(place.label_studio, project_id=project_id)) == 2
    assert {image_name(task["data"]["image"]) for task in place.tasks()} == made.garments.keys()


def test_uploads_whose_names_label_studio_makes_one_stay_apart(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    files = [folder / name for name in ("saree (1).bmp", "saree_1.bmp", "सूट.bmp", "सेट.bmp")]
    for number, file in enumerate(files):
        save(file, number)
    # All are of one size, so that only the name or the content tells them apart.
    assert len({file.stat().st_size for file in files}) == 1
    assert place.bring(folder).tally.new == 4
    assert sorted(place.contents()) == sorted(file.read_bytes() for file in files)
    assert place.bring(folder).tally.skipped == 4
    # A part of the same folder holds no other images, and another folder's of the same name and size are others.
    save(tmp_path / "set" / "below" / "saree_2.bmp", 5)
    save(tmp_path / "other" / "saree_2.bmp", 6)
    assert place.bring(folder).tally.new == 1
    assert place.bring(folder / "below").tally.skipped == 1
    assert place.bring(tmp_path / "other").tally.new == 1


def test_an_image_that_a_person_uploaded_is_the_same(place: Place, tmp_path: Path) -> None:
    """Label Studio's page sends the file's own name, which Label Studio changes."""
    file = save(tmp_path / "set" / "saree (1).jpg", 1)
    upload(place.label_studio, project_id=place.project_id, named=[(file.name, file)], as_tasks=True)
    assert place.bring(tmp_path).tally.skipped == 1


@pytest.mark.parametrize("are_served", [False, True], ids=["uploaded", "served"])
def test_a_part_of_a_set_brings_nothing_twice(
    are_served: bool, place: Place, label_studio: Studio, tmp_path: Path
) -> None:
    files = label_studio.files if are_served else None
    settings = place.settings.model_copy(update={"local_files_root": files})
    made = roboflow((files or tmp_path) / tmp_path.name / "set")
    assert place.bring(made.path, at=settings).tally.new == 3
    again = place.bring(made.path / "train", at=settings).tally
    assert (again.new, again.updated, again.skipped) == (0, 0, 1)
    assert len(place.tasks()) == len(place.approved()) == 3


def said_by(*arguments: str) -> tuple[int, str]:
    told = CliRunner().invoke(app, ["import", *arguments])
    return told.exit_code, " ".join(told.output.split())


def test_an_import_that_brings_nothing_says_why(place: Place, tmp_path: Path) -> None:
    project = str(place.project_id)
    write_coco(tmp_path / "set" / "set.json", ["x.jpg"], ["dress"], [(1, 0, [body(0.0)], 0), (9, 0, [body(0.0)], 0)])
    status, said = said_by("--project", project, str(tmp_path / "set"), "--dry-run")
    assert status == 1
    assert "No image comes in. Name the folder of the images with --images." in said
    assert "Left out once: garment of an image that the file does not list (image_id 9)." in said
    save(tmp_path / "photos" / "x.tif", 1)
    status, said = said_by("--project", project, str(tmp_path / "photos"))
    assert (
        status == 1 and "image of a type that Label Studio does not accept: convert it to JPEG or PNG (x.tif)" in said
    )
    # Beside others, it is listed among what is left out.
    save(tmp_path / "photos" / "y.jpg", 1)
    status, said = said_by("--project", project, str(tmp_path / "photos"))
    assert status == 0 and "1 images were imported." in said and "(x.tif)" in said


def test_a_set_that_is_damaged_in_its_middle_says_how_much_came_in(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "BATCH_IMAGES", 1)
    made = flat_yolo(tmp_path)
    (tmp_path / "z2.txt").write_bytes("0 襯衫\n".encode("cp950"))
    with pytest.raises(DatasetError, match=r"z2\.txt, line 1, is not UTF-8 .* 1 images were imported before; the same"):
        place.bring(made.path)
    (tmp_path / "z2.txt").unlink()
    done = place.bring(made.path).tally
    assert (done.new, done.skipped) == (1, 1)


def test_numbers_without_names_are_asked_for(place: Place, tmp_path: Path) -> None:
    made = parquet(tmp_path / "set")
    tried = place.bring(made.path, dry_run=True)
    assert tried.problem == "The set has class numbers without names (2, 4, 16). Name them with --classes or --mapping."
    told = CliRunner().invoke(
        app, ["import", "--project", "1", str(made.path), "--as", "predictions", "--ground-truth"]
    )
    assert told.exit_code == 1 and "cannot be ground truth" in str(told.exception)


def test_sentences_for_people(place: Place, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="There is no file or folder"):
        place.bring(tmp_path / "none")
    made = photographs(tmp_path / "set")
    # Turned by EXIF, or another image altogether: its outlines would lie elsewhere.
    save(tmp_path / "turned" / "x.jpg", 1, SIZE[::-1])
    write_coco(tmp_path / "turned" / "set.json", ["x.jpg"], ["dress"], [(1, 0, [body(0.0)], 0)])
    turned = place.bring(tmp_path / "turned").tally
    assert [reason for reason in turned.reasons if "proportions differ" in reason]
    assert not turned.garments and not place.approved()
    # Half its size is the same image.
    save(tmp_path / "small" / "y.jpg", 1, (SIZE[0] // 2, SIZE[1] // 2))
    write_coco(tmp_path / "small" / "set.json", ["y.jpg"], ["dress"], [(1, 0, [body(0.0)], 0)])
    place.bring(tmp_path / "small")
    ((_, mask),) = place.approved()["y.jpg"]
    assert mask.shape == (SIZE[1] // 2, SIZE[0] // 2)
    (tmp_path / "set" / "broken.jpg").write_bytes(b"no image")
    assert list(place.bring(made.path).tally.reasons.values()) == [1]
    away = place.settings.model_copy(update={"label_studio_url": "http://127.0.0.1:9"})
    with pytest.raises(LabelStudioError, match="does not answer"):
        import_data(
            LabelStudio(away),
            away,
            place.project_id,
            [str(made.path)],
            options=ImportOptions(),
            track=lambda some, _: some,
        )


def test_memory_is_flat(place: Place, tmp_path: Path) -> None:
    """Regions of 200 images more would be several megabytes."""
    peaks = []
    # The first is for what is loaded once.
    for count in (2, 40, 240):
        folder = tmp_path / f"set{count}"
        names = [f"{number:04d}.jpg" for number in range(count)]
        first = save(folder / names[0], 1)
        for name in names[1:]:
            (folder / name).hardlink_to(first)
        parts = [blob(30 + step, 30 + step) for step in range(8)]
        write_coco(folder / "set.json", names, ["dress"], [(number + 1, 0, parts, 0) for number in range(count)])
        tracemalloc.start()
        place.bring(folder, dry_run=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # As many as are written together are in memory.
    assert peaks[2] - peaks[1] * BATCH_IMAGES / 40 < 500_000, peaks
