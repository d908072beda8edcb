"""`drape export` on a real Label Studio: what is chosen is what is written."""

from __future__ import annotations

import json
import logging
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner
from ultralytics import YOLO
from ultralytics.utils import LOGGER

from backend.auto_accept.marks import accepted_regions
from backend.connections import Connections
from backend.domain import LabelledMask, Outlining
from backend.errors import DatasetError
from backend.regions.encode import encode
from backend.settings import Settings
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS
from launcher.cli import app
from tests.full_disk import full_disk
from tests.training.conftest import Workplace, regions_of
from tests.training.dataset.test_build import CONFIG
from training.data_out.export_data import ExportFormat, Selection, export_data

pytestmark = pytest.mark.services


def written(workplace: Workplace, into: Path, form: ExportFormat = "coco", chosen: Selection | None = None) -> int:
    exported = export_data(
        Connections.of(Settings()),
        workplace.project_id,
        folder=into,
        export_format=form,
        selection=chosen or Selection(),
        soft_edges=True,
        track=lambda approved: approved,
    )
    assert exported.left_out == ()
    return exported.count


def labels_in(folder: Path) -> list[str]:
    data = json.loads((folder / "annotations.json").read_text())
    names = {one["id"]: one["name"] for one in data["categories"]}
    return sorted(names[one["category_id"]] for one in data["annotations"])


def test_what_is_chosen_is_written(workplace: Workplace, starter: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no annotation to export"):
        written(workplace, tmp_path / "none")
    for seed in (1, 3):
        workplace.approve(seed)
    # The third the service has accepted by itself: one garment surely, the others less so.
    drawn = draw_figure(7).instances
    regions = [
        region
        for number, one in enumerate(drawn)
        for region in encode(
            LabelledMask(one.mask, one.label, 0.95 if number == 0 else 0.6),
            CONFIG,
            outlining=Outlining(),
            model_version="v1",
        )
    ]
    workplace.label_studio.accept(workplace.tasks[7], accepted_regions(regions, "v1"), unique_id=str(uuid.uuid4()))
    by_people = sorted(one.label for seed in (1, 3) for one in draw_figure(seed).instances)
    assert written(workplace, tmp_path / "people") == 2
    assert labels_in(tmp_path / "people") == by_people
    assert written(workplace, tmp_path / "model", chosen=Selection(by="model", min_score=0.9)) == 1
    assert labels_in(tmp_path / "model") == [drawn[0].label]
    assert written(workplace, tmp_path / "both", chosen=Selection(by="both")) == 3
    label = by_people[0]
    assert written(workplace, tmp_path / "one", chosen=Selection(labels=(label,))) == 2
    assert set(labels_in(tmp_path / "one")) == {label}
    with pytest.raises(DatasetError, match=r"no label turban\. It has: saree"):
        written(workplace, tmp_path / "gone", chosen=Selection(labels=("turban",)))
    with pytest.raises(DatasetError, match="is not empty"):
        written(workplace, tmp_path / "people")
    # As a YOLO data set, which Ultralytics finds whole.
    assert written(workplace, tmp_path / "yolo", form="yolo") == 2
    layout = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
    assert tuple(layout["names"].values()) == GARMENTS
    assert {path.name for path in tmp_path.iterdir()} >= {"yolo"} and not (tmp_path / "yolo.examples").exists()
    assert _trains(starter, tmp_path / "yolo" / "data.yaml", tmp_path / "run") == []
    told = CliRunner().invoke(
        app,
        ["export", "--project", str(workplace.project_id), "--format", "cutouts", "--into", str(tmp_path / "cut")],
    )
    assert told.exit_code == 0, told.output
    assert f"{len(by_people)} cut-outs are in" in " ".join(told.output.split())
    for form in ("coco", "masks", "cutouts"):
        command = ["export", "--project", str(workplace.project_id), "--format", form]
        with full_disk():
            told = CliRunner().invoke(app, [*command, "--into", str(tmp_path / f"full-{form}")])
        assert told.exit_code == 1 and "could not be written into" in str(told.exception), form


LINE = {"vertices": [{"x": 1, "y": 2}, {"x": 30, "y": 40}], "closed": True}
SQUARE = {"points": [[10, 10], [40, 10], [40, 40]]}
# Regions of one image that no format can write, and a part of the reason.
UNUSABLE: list[tuple[str, dict[str, Any], list[str], str]] = [
    ("polygon", SQUARE, ["turban"], "'turban' is no longer in the label config"),
    ("rectangle", {"x": 1, "y": 1, "width": 5, "height": 5, "rotation": 0}, ["saree"], "a rectangle is not an outline"),
    ("polygon", SQUARE, [], "it has no label"),
    ("polygon", {"points": [[10, 10], [20, 10], [30, 10]]}, ["saree"], "it covers no pixel"),
    ("polygon", SQUARE, ["saree", "blouse"], "so it is 'saree' and not 'blouse'"),
    ("vector", LINE, ["saree"], "a vector is no outline"),
]


def region(number: int, kind: str, value: dict[str, Any], labels: list[str]) -> list[dict[str, Any]]:
    common = {
        "id": f"r{number}",
        "to_name": "image",
        "original_width": 200,
        "original_height": 300,
        "image_rotation": 0,
    }
    shape = {**common, "type": kind, "from_name": kind, "value": value}
    palette = {**common, "type": "labels", "from_name": "garment", "value": {**value, "labels": labels}}
    return [shape, palette] if labels else [shape]


@pytest.mark.parametrize("form", ["coco", "coco-polygons", "yolo", "masks", "cutouts"])
def test_what_is_left_out_is_named(workplace: Workplace, form: ExportFormat, tmp_path: Path) -> None:
    tasks = workplace.tasks
    # A data set to train on has no image with a garment of unknown shape: it would count as background.
    rows = [row for row in UNUSABLE if form != "yolo" or row[0] != "rectangle"]
    unusable = [one for number, row in enumerate(rows) for one in region(number, *row[:3])]
    workplace.label_studio.sdk.annotations.create(tasks[1], result=unusable + regions_of(1))
    workplace.label_studio.sdk.annotations.create(tasks[3], result=region(0, *UNUSABLE[0][:3]))
    workplace.label_studio.sdk.annotations.create(tasks[7], result=[])
    into = tmp_path / "into"
    told = CliRunner().invoke(
        app, ["export", "--project", str(workplace.project_id), "--format", form, "--into", str(into)]
    )
    said = " ".join(told.output.split())
    assert told.exit_code == 1, said
    for number, (*_, reason) in enumerate(rows):
        lines = [line for line in (into / "left_out.txt").read_text().splitlines() if f"of task {tasks[1]}:" in line]
        assert sum(f"Region r{number}: " in line and reason in line for line in lines) == 1, reason
        assert reason in said
    # The square that keeps one of its two labels is a garment, as are those of the figure.
    count = len(draw_figure(1).instances) + 1 if form == "cutouts" else 2
    assert f"{count} {'cut-outs' if form == 'cutouts' else 'images'} are in" in said
    # An image without garments stays; one that would look as if it had none does not.
    names = " ".join(path.name for path in into.rglob("*.[jp][pn]g"))
    assert "figure_000003" not in names and f"task_{tasks[3]}" not in names


def _trains(weights: Path, data: Path, folder: Path) -> list[str]:
    """Trains as anybody would, with Ultralytics alone; what it warns of."""
    warned: list[str] = []

    class Warned(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warned.append(record.getMessage())

    handler = Warned(logging.WARNING)
    LOGGER.addHandler(handler)
    try:
        YOLO(weights).train(
            data=str(data),
            epochs=1,
            imgsz=64,
            batch=2,
            device="cpu",
            workers=0,
            plots=False,
            amp=False,
            project=str(folder),
            name="run",
        )
    finally:
        LOGGER.removeHandler(handler)
    assert (folder / "run" / "weights" / "best.pt").is_file()
    return warned
