"""What `drape import` says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend.errors import DatasetError, LabelStudioError
from backend.label_studio.client import LabelStudio
from launcher.cli import app
from tests.training.data_in.conftest import Place
from tests.training.data_in.drawn import SIZE, body, save
from tests.training.data_in.sets import (
    fashionpedia,
    flat_yolo,
    parquet,
    photographs,
    write_coco,
)
from training.data_in import importer
from training.data_in.import_data import import_data
from training.data_in.importer import ImportOptions

pytestmark = pytest.mark.services


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
