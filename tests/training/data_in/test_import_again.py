"""`drape import` into a real Label Studio brings no image twice, wherever it lies and whatever happened meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from backend.label_studio.uploads import image_name, upload, upload_name, uploads
from label_studio_config.provision import ensure_local_files
from launcher.cli import app
from tests.conftest import ROOT, Studio
from tests.training.data_in.conftest import Place
from tests.training.data_in.drawn import alike, body, drawn, save
from tests.training.data_in.sets import (
    ccp,
    fashionpedia,
    photographs,
    roboflow,
    write_coco,
)

pytestmark = pytest.mark.services


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
