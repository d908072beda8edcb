"""`drape import` into a real Label Studio: what comes in goes out again, once, whatever happens meanwhile."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.uploads import image_name
from tests.training.data_in.conftest import Place
from tests.training.data_in.drawn import CONFIG, SIZE, alike, blob, body, save
from tests.training.data_in.sets import (
    SETS,
    Set,
    atr,
    fashionpedia,
    write_coco,
)
from tests.training.data_in.sets import label_studio as label_studio_set
from training.annotations.truth import truth_of
from training.data_in.formats.detect import ReadOptions
from training.data_in.importer import BATCH_IMAGES

pytestmark = pytest.mark.services


BRUSHES = CONFIG.replace("<Polygon name", "<Brush name").replace('"polygon"', '"brush"')


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
