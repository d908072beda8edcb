from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from backend.domain import LabelledMask, Outlining
from backend.errors import LabelStudioError
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_colours import COLOURS
from backend.label_studio.label_config import parse_label_config
from backend.regions.encode import encode
from backend.settings import Settings
from label_studio_config import palette_xml as module
from label_studio_config.palette_xml import GARMENTS, Style, palette
from label_studio_config.palettes import FASHIONPEDIA
from label_studio_config.provision import set_label_config
from tests.conftest import Studio
from tests.projects import project_of_figures


@pytest.mark.parametrize("style", get_args(Style))
@pytest.mark.parametrize(
    "labels",
    [
        GARMENTS,
        ("one",),
        ('a "quoted" <label> & more', "साड़ी"),  # what XML and people write
        tuple(f"label {number}" for number in range(20)),  # more than there are keys and colours
    ],
)
def test_a_palette_can_be_served(labels: tuple[str, ...], style: Style) -> None:
    config = parse_label_config(palette(labels, style))
    assert tuple(label.value for label in config.labels) == labels
    assert config.output_for(labels[0]).kind == "polygon"
    assert config.has_message_tag


def test_both_styles_mean_the_same_labels() -> None:
    one, two = (parse_label_config(palette(FASHIONPEDIA, style)) for style in get_args(Style))
    assert one.labels == two.labels


@pytest.mark.parametrize("style", get_args(Style))
def test_the_message_stands_above_the_image(style: Style) -> None:
    xml = palette(GARMENTS, style)
    assert xml.index('name="message"') < xml.index("<Image")


def test_the_colours_differ() -> None:
    assert len(set(COLOURS)) == len(COLOURS)


def test_the_shipped_file_is_the_garment_palette() -> None:
    assert (Path(module.__file__).parent / "garments.xml").read_text() == palette(GARMENTS)


@pytest.mark.services
@pytest.mark.parametrize(("style", "exported"), [("palette", []), ("lists", ["blouse", "saree"])])
def test_what_label_studio_exports_itself(
    label_studio: Studio, tmp_path: Path, style: Style, exported: list[str]
) -> None:
    client = LabelStudio(Settings(label_studio_url=label_studio.url, label_studio_api_key=label_studio.api_key))
    xml = palette(GARMENTS, style)
    project_id = project_of_figures(client, label_studio.files / tmp_path.name, (2,), title=style, label_config=xml)
    (task_id,) = client.task_ids(project_id)
    mask = np.zeros((80, 60), bool)
    mask[10:50, 20:40] = True
    regions = [
        region
        for label in ("saree", "blouse")
        for region in encode(
            LabelledMask(mask, label, None), parse_label_config(xml), outlining=Outlining(), model_version="v1"
        )
    ]
    client.sdk.annotations.create(task_id, result=regions)

    coco = json.loads(exported_file(client, project_id, "COCO", "result.json"))
    names = {category["id"]: category["name"] for category in coco["categories"]}
    assert set(GARMENTS) == set(names.values())
    assert sorted(names[annotation["category_id"]] for annotation in coco["annotations"]) == exported
    assert all(annotation["segmentation"][0] for annotation in coco["annotations"])
    classes = exported_file(client, project_id, "YOLO", "classes.txt").split("\n")
    rows = [row.split() for row in exported_file(client, project_id, "YOLO", "labels/").splitlines()]
    assert sorted(classes[int(row[0])] for row in rows) == exported
    assert all(len(row) > 5 for row in rows)

    (other,) = set(get_args(Style)) - {style}
    with pytest.raises(LabelStudioError, match="incompatible"):
        set_label_config(client, project_id=project_id, label_config=palette(GARMENTS, other))
    client.sdk.projects.delete(project_id)


def exported_file(client: LabelStudio, project_id: int, export_format: str, name: str) -> str:
    """The only file of this name, or in this folder, that Label Studio's own export holds."""
    parts = client.sdk.projects.exports.download_sync(project_id, export_type=export_format)
    with zipfile.ZipFile(io.BytesIO(b"".join(parts))) as archive:
        (found,) = [each for each in archive.namelist() if each.startswith(name) and not each.endswith("/")]
        return archive.read(found).decode()
