"""What is written is read again by those that others use, and is what was approved."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import polars
import pytest
from PIL import Image
from pycocotools.coco import COCO

from backend.domain import LabelledMask, Outlining
from backend.errors import DatasetError
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS
from tests.support import iou
from training.data_out.coco import Outlines, write_coco
from training.data_out.colour_names import NAMES, dominant_colours
from training.data_out.cutouts import write_cutouts
from training.data_out.file_names import file_name, folder_names
from training.data_out.garment_images import GarmentImage
from training.data_out.index_masks import write_index_masks


def figure(seed: int, *, by_person: bool = True) -> GarmentImage:
    drawn = draw_figure(seed)
    garments = tuple(LabelledMask(one.mask, one.label, None if by_person else 0.9) for one in drawn.instances)
    return GarmentImage(seed, f"{seed}_figure", drawn.pixels, garments, by_person)


IMAGES = [figure(1), figure(3, by_person=False), GarmentImage(9, "9_empty", np.zeros((30, 50, 3), np.uint8), (), True)]


@pytest.mark.parametrize(("outlines", "least"), [("rle", 1.0), ("polygons", 0.97)])
def test_coco_is_read_by_pycocotools(tmp_path: Path, outlines: Outlines, least: float) -> None:
    assert write_coco(IMAGES, GARMENTS, tmp_path, outlines=outlines, outlining=Outlining()) == 3
    coco = COCO(str(tmp_path / "annotations.json"))
    assert [one["name"] for one in coco.loadCats(coco.getCatIds())] == list(GARMENTS)
    for image in IMAGES:
        facts = coco.loadImgs(image.task_id)[0]
        assert (facts["width"], facts["height"]) == image.size_wh
        with Image.open(tmp_path / "images" / facts["file_name"]) as opened:
            assert opened.size == image.size_wh
        found = coco.loadAnns(coco.getAnnIds(imgIds=image.task_id))
        assert [GARMENTS[one["category_id"] - 1] for one in found] == [one.label for one in image.garments]
        for one, garment in zip(found, image.garments, strict=True):
            assert iou(coco.annToMask(one).astype(bool), garment.mask) >= least
            rows, columns = np.nonzero(garment.mask)
            x, y, width, height = one["bbox"]
            assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert one["area"] == len(rows)
            assert (one["by"], one["score"]) == (("person", None) if image.by_person else ("model", 0.9))


def test_every_part_of_a_garment_is_exported(tmp_path: Path) -> None:
    """The setting for what a prediction in parts becomes is not about what a person has approved."""
    mask = np.zeros((40, 60), bool)
    mask[2:30, 2:20], mask[10:20, 40:50] = True, True
    image = GarmentImage(1, "1_x", np.zeros((40, 60, 3), np.uint8), (LabelledMask(mask, "saree"),), True)
    write_coco([image], GARMENTS, tmp_path, outlines="polygons", outlining=Outlining(parts="largest"))
    (found,) = json.loads((tmp_path / "annotations.json").read_text())["annotations"]
    assert len(found["segmentation"]) == 2


def test_index_masks_number_the_labels_from_one(tmp_path: Path) -> None:
    assert write_index_masks(IMAGES, GARMENTS, tmp_path, []) == 3
    names = (tmp_path / "labels.txt").read_text().split()
    assert names == ["background", *GARMENTS]
    for image in IMAGES:
        with Image.open(tmp_path / "masks" / f"{image.name}.png") as opened:
            assert opened.mode == "P"
            drawn = np.asarray(opened)
        expected = np.zeros(drawn.shape, int)
        for garment in image.garments:
            expected[garment.mask] = names.index(garment.label)
        assert (drawn == expected).all()
    # What later garments cover does not get into the file, and is said.
    shirt, coat = (LabelledMask(np.ones((4, 6), bool), label, region_id=label) for label in GARMENTS[:2])
    covered = GarmentImage(5, "5_x", np.zeros((4, 6, 3), np.uint8), (shirt, coat), True)
    left_out: list[str] = []
    assert write_index_masks([covered], GARMENTS, tmp_path, left_out) == 1
    (said,) = left_out
    assert said.startswith(f"task 5: Region {GARMENTS[0]}: ") and "later garments cover it" in said
    with pytest.raises(DatasetError, match="255 labels"):
        write_index_masks(IMAGES, [str(number) for number in range(256)], tmp_path, [])


@pytest.mark.parametrize("soft", [False, True])
def test_cut_outs_show_the_garment_and_nothing_else(tmp_path: Path, soft: bool) -> None:
    garments = [(image, garment) for image in IMAGES for garment in image.garments]
    assert len(write_cutouts(IMAGES, GARMENTS, tmp_path, soft_edges=soft)) == len(garments)
    rows = polars.read_parquet(tmp_path / "wardrobe.parquet").to_dicts()
    assert rows == json.loads((tmp_path / "wardrobe.json").read_text())
    assert len(polars.read_csv(tmp_path / "wardrobe.csv")) == len(rows) == len(garments)
    for row, (image, garment) in zip(rows, garments, strict=True):
        part = np.s_[row["y"] : row["y"] + row["height"], row["x"] : row["x"] + row["width"]]
        with Image.open(tmp_path / row["file"]) as opened:
            shown = np.asarray(opened)
        mask = garment.mask[part]
        assert shown.shape == (*mask.shape, 4)
        assert mask.sum() == garment.mask.sum() == row["area_px"]
        assert (shown[..., 3][~mask] == 0).all() and (shown[..., :3][~mask] == 0).all()
        assert (shown[..., :3][mask] == image.pixels[part][mask]).all()
        faded = (shown[..., 3] > 0) & (shown[..., 3] < 255)
        assert faded.any() == soft
        assert (row["label"], row["task"]) == (garment.label, image.task_id)
        assert row["colours"] and set(row["colours"].split(",")) <= set(NAMES)


def test_a_hostile_label_names_no_other_folder(tmp_path: Path) -> None:
    mask = np.ones((4, 6), bool)
    image = GarmentImage(1, "1_x", np.zeros((4, 6, 3), np.uint8), (LabelledMask(mask, "../../साड़ी"),), True)
    write_cutouts([image], ["../../साड़ी"], tmp_path / "out", soft_edges=False)
    (file,) = (tmp_path / "out").rglob("*.png")
    assert file.is_relative_to(tmp_path / "out" / "cutouts") and file.parent.parent == tmp_path / "out" / "cutouts"
    assert not [path for path in tmp_path.rglob("*.png") if path != file]


COLOURS = [
    ("red", [(200, 20, 20)], ["red"]),
    ("navy with gold", [(16, 24, 80)] * 3 + [(200, 160, 48)], ["navy", "gold"]),
    ("a few threads of white", [(0, 0, 0)] * 30 + [(255, 255, 255)], ["black"]),
    ("nothing", [], []),
]


@pytest.mark.parametrize(("colours", "names"), [case[1:] for case in COLOURS], ids=[case[0] for case in COLOURS])
def test_colours_have_names(colours: list[tuple[int, int, int]], names: list[str]) -> None:
    pixels = np.array(colours, np.uint8).reshape(-1, 3).repeat(50, axis=0)
    assert [colour.name for colour in dominant_colours(pixels)] == names


HOSTILE = [
    "../../x",
    "/etc/x",
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    "a\0b",
    "a\nb",
    "\x1b[2J",
    "con",
    "NUL",
    "साड़ी" * 99,
    "\ud800",
    "=1+1",
    "-x",
    "@x",
    "+1",
    " ",
]


@pytest.mark.parametrize("label", HOSTILE)
def test_no_label_leads_out_of_the_folder(tmp_path: Path, label: str) -> None:
    name = file_name(label)
    assert name.isprintable() and not set(name) & set("/\\.:*?") and 0 < len(name.encode()) <= 150
    made = tmp_path / "made"
    (made / name).mkdir(parents=True)
    assert [one.name for one in made.iterdir()] == [name]


# Labels that differ only by what a careless name drops: vowel signs, case, signs, a composed letter, a long end.
LABELS_APART = [
    "सूट",
    "सेट",
    "saree",
    "Saree",
    "SAREE",
    "saree_2",
    "a/b",
    "a:b",
    "Café",
    "Cafe\u0301",
    "x" * 160,
    "x" * 161,
]


def test_every_label_has_a_folder_of_its_own() -> None:
    names = folder_names([*LABELS_APART, "saree"])
    assert list(names) == LABELS_APART
    on_macos = {unicodedata.normalize("NFD", name.casefold()) for name in names.values()}
    assert len(on_macos) == len(LABELS_APART)
    assert [names[label] for label in ("सूट", "सेट", "saree", "Café")] == ["सूट", "सेट", "saree", "Café"]
    assert file_name("ผ้าไหม") == "ผ้าไหม"


def test_cut_outs_of_two_labels_never_share_a_folder(tmp_path: Path) -> None:
    garments = tuple(LabelledMask(np.ones((3, 5), bool), label) for label in LABELS_APART)
    image = GarmentImage(9, "9_image", np.zeros((3, 5, 3), np.uint8), garments, True)
    write_cutouts([image], LABELS_APART, tmp_path, soft_edges=False)
    rows = polars.read_parquet(tmp_path / "wardrobe.parquet")
    assert len({Path(file).parent for file in rows["file"]}) == len(LABELS_APART)
    assert all((tmp_path / file).is_file() for file in rows["file"])


def test_hostile_labels_stay_text_in_every_table(tmp_path: Path) -> None:
    mask = np.ones((3, 5), bool)
    labels = ["../../x", '=HYPERLINK("https://elsewhere.example")', "@x", "+1", "-1", "\tx", "a\nb"]
    garments = tuple(LabelledMask(mask, label, None) for label in labels)
    image = GarmentImage(9, "9_image", np.zeros((3, 5, 3), np.uint8), garments, True)
    into = tmp_path / "into"
    write_cutouts([image], labels, into, soft_edges=False)
    rows = polars.read_csv(into / "wardrobe.csv", infer_schema=False)
    assert rows["label"].to_list() == [label if label[0] in ".a" else f"'{label}" for label in labels]
    assert all((into / file).resolve().is_relative_to(into.resolve()) for file in rows["file"])
    assert polars.read_parquet(into / "wardrobe.parquet")["label"].to_list() == labels
    assert list(tmp_path.iterdir()) == [into]
    # A line a label, also of one that has two.
    write_index_masks([image], labels, into, [])
    assert len((into / "labels.txt").read_text().splitlines()) == 1 + len(labels)
