"""Every format in its own layout: found by itself, and read as it was drawn."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars
import pytest
from PIL import Image

from backend.domain import LabelledMask, Outlining
from backend.errors import DatasetError, ImageError
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.uploads import upload_name
from tests.support import shapes
from tests.training.data_in.drawn import (
    CONFIG,
    LABELS,
    SIZE,
    alike,
    blob,
    body,
    compressed,
    drawn,
    photograph,
    ring,
    save,
    uncompressed,
)
from tests.training.data_in.sets import SETS, Set, parquet, write_coco
from training.data_in.annotated_image import Garment, outline_of
from training.data_in.class_mapping import ClassMapping, read_mapping
from training.data_in.formats.coco import run_lengths_to_mask
from training.data_in.formats.detect import ReadOptions, open_set
from training.data_in.formats.index_masks import garments_in
from training.data_in.mask_cleaning import MaskCleaning, cleaned
from training.data_in.picture_folder import PictureFolder, SetPicture
from training.data_out.coco import write_coco as write_own_coco
from training.data_out.garment_images import GarmentImage
from training.data_out.index_masks import write_index_masks

MAPPING = ClassMapping(parse_label_config(CONFIG))


@pytest.mark.parametrize("make", SETS, ids=lambda make: make.__name__)
def test_a_set_is_found_by_itself_and_read_as_it_was_drawn(make: Callable[[Path], Set], tmp_path: Path) -> None:
    made = make(tmp_path / "set")
    form, source = open_set([str(made.path)], None, ReadOptions(**made.options))
    assert form == made.form
    images = list(source.images)
    assert len(images) == source.count
    notes = [note for image in images for note in image.notes]
    notes += ["missing image" for image in images if not image.picture.is_found]
    assert all(any(words in note for note in notes) for words in made.left_out), notes
    found = {}
    unmapped = set()
    for image in images:
        if not image.picture.is_found:
            continue
        garments = [one for one in cleaned(image.garments, SIZE, MaskCleaning()) if one is not None]
        unmapped |= {one.name for one in garments if MAPPING.label_for(one.name) is None}
        found[upload_name(Path(image.picture.name))] = [
            (label, one.to_mask(SIZE)) for one in garments if (label := MAPPING.label_for(one.name)) is not None
        ]
    assert unmapped == made.unmapped
    assert found.keys() == made.garments.keys()
    for name, expected in made.garments.items():
        assert alike(found[name], expected), name


RUNS = {**shapes(), "ring": ring(), "nothing": np.zeros((7, 4), bool)}


@pytest.mark.parametrize("name", RUNS)
def test_run_lengths_are_read_exactly(name: str) -> None:
    mask = RUNS[name]
    size_wh = (mask.shape[1], mask.shape[0])
    for runs in (compressed(mask), uncompressed(mask)):
        read = run_lengths_to_mask(runs, size_wh)
        assert read is not None and (read == mask).all()
        assert run_lengths_to_mask(runs, (size_wh[0] + 1, size_wh[1])) is None
    damaged = uncompressed(mask)
    damaged["counts"] = [*damaged["counts"], 5]
    assert run_lengths_to_mask(damaged, size_wh) is None


OUTLINES = [
    ("three points", [0, 0, 5, 0, 5, 5], True),
    ("text of numbers", ["0.1", "0.2", "0.3", "0.2", "0.3", "0.9"], True),
    ("two points", [0, 0, 5, 0], False),
    ("an odd number", [0, 0, 5, 0, 5, 5, 6], False),
    ("no numbers", ["a", "b", "c", "d", "e", "f"], False),
    ("not a number", [0, 0, 5, 0, 5, float("nan")], False),
    ("nothing", [], False),
    ("pairs and a stray", [[0, 0], [1]], False),
]


@pytest.mark.parametrize(("numbers", "is_one"), [case[1:] for case in OUTLINES], ids=[case[0] for case in OUTLINES])
def test_outlines(numbers: list[object], is_one: bool) -> None:
    assert (outline_of(numbers) is not None) == is_one


def test_tables_of_one_name_in_several_folders_are_told_apart(tmp_path: Path) -> None:
    """As Hugging Face converts every set: `default/train/0000.parquet`, `default/test/0000.parquet`."""
    for part in ("train", "test"):
        made = parquet(tmp_path / part)
        (made.path / "data" / "train-00000-of-00001.parquet").rename(made.path / "0000.parquet")
    images = list(open_set([str(tmp_path)], None, ReadOptions(classes="atr"))[1].images)
    assert [image.picture.name for image in images[::3]] == ["test/0000_000000.jpg", "train/0000_000000.jpg"]
    assert len({image.picture.name for image in images}) == len(images) == 6


NAMES = [
    # Values, other names, lists of names, the spelling of identifiers.
    ("shirt", "shirt"),
    ("SHIRT, Blouse", "shirt"),
    ("long_sleeve_top", "long sleeve top"),
    ("Upper-clothes", "upper clothes"),
    ("neckline", None),
    # Two labels are none.
    ("shirt, dress", None),
    # The user's file goes first.
    ("Trousers", "pants"),
    ("hat", None),
]


@pytest.mark.parametrize(("name", "label"), NAMES)
def test_classes_become_labels(name: str, label: str | None) -> None:
    assert ClassMapping(MAPPING.config, {"trousers": "pants", "hat": None}).label_for(name) == label


def test_a_mapping_file(tmp_path: Path) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text("Trousers: PANTS\n4: dress\nhat:\n")
    mapping = read_mapping(file, MAPPING.config)
    assert [mapping.label_for(name) for name in ("trousers", "4", "hat", "bag")] == ["pants", "dress", None, "bag"]
    file.write_text('{"trousers": "kilt"}')
    with pytest.raises(DatasetError, match=r"labels that the project lacks: kilt\. It has: shirt"):
        read_mapping(file, MAPPING.config)
    file.write_text("- trousers\n")
    with pytest.raises(DatasetError, match="not a list of"):
        read_mapping(file, MAPPING.config)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_mapping(tmp_path / "none.yaml", MAPPING.config)


def in_index(index: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], cleaning: MaskCleaning) -> list[tuple[str, int]]:
    """Names and areas of what is left of an index mask; 0 for what is too small."""
    names = {1: "dress", 2: "bag"}
    left = cleaned(garments_in(index.astype(np.int64), names, source="x"), (index.shape[1], index.shape[0]), cleaning)
    return [("", 0) if one is None else (one.name, int(one.to_mask((1, 1)).sum())) for one in left]


def test_regions_are_taken_apart_and_cleaned() -> None:
    index = np.zeros((200, 300), np.uint8)
    index[20:120, 20:120] = 1  # 10,000 pixels
    index[30:40, 30:40] = 0  # a hole of 100
    index[60:80, 60:80] = 2  # a bag in front of 400
    index[150:160, 200:210] = 1  # another dress, of 100
    index[0, 299] = 1  # a speck
    whole = 10_000 - 100 - 400
    assert in_index(index, MaskCleaning()) == [("dress", 1), ("dress", whole), ("dress", 100), ("bag", 400)]
    assert in_index(index, MaskCleaning(min_area_px=200)) == [("", 0), ("dress", whole), ("", 0), ("bag", 400)]
    # The bag is no hole.
    filled = [("dress", 1), ("dress", whole + 100), ("dress", 100), ("bag", 400)]
    assert in_index(index, MaskCleaning(fill_holes=True)) == filled
    # A speck is small in the image, and beside what the class has else.
    assert in_index(index, MaskCleaning(remove_specks=True)) == [("dress", whole), ("dress", 100), ("bag", 400)]


def test_what_is_damaged_is_said(tmp_path: Path) -> None:
    save(tmp_path / "a" / "x.jpg", 1)
    save(tmp_path / "b" / "x.jpg", 2)
    file = tmp_path / "set.json"
    write_coco(file, ["x.jpg"], ["dress"], [(1, 0, [body(0.0)], 0)])
    source = open_set([str(file)], None, ReadOptions())[1]
    with pytest.raises(DatasetError, match=r"Several images .* called 'x\.jpg': name the right folder with --images"):
        list(source.images)
    assert next(open_set([str(file)], None, ReadOptions(images=tmp_path / "b"))[1].images).picture.is_found
    text = file.read_text()
    file.write_text(text[: len(text) // 2])
    with pytest.raises(DatasetError, match=r"set\.json is not complete JSON: parse error: premature EOF"):
        open_set([str(file)], "coco", ReadOptions())
    file.write_text('{"some": "thing"}')
    with pytest.raises(DatasetError, match="neither COCO"):
        open_set([str(file)], None, ReadOptions())
    with pytest.raises(DatasetError, match="There is no file or folder"):
        open_set([str(tmp_path / "none")], None, ReadOptions())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="contains neither images"):
        open_set([str(tmp_path / "empty")], None, ReadOptions())
    polars.DataFrame({"picture": [b""]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(DatasetError, match="no column 'image'"):
        open_set([str(tmp_path / "other.parquet")], None, ReadOptions())
    (tmp_path / "no.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DatasetError, match="cannot be read as Parquet"):
        open_set([str(tmp_path / "no.parquet")], None, ReadOptions())
    with pytest.raises(DatasetError, match=r"class names shoes\.txt does not exist"):
        open_set([str(tmp_path / "a")], "masks", ReadOptions(classes="shoes.txt"))
    with pytest.raises(DatasetError, match="Give one path"):
        open_set([str(tmp_path / "a"), str(tmp_path / "b")], "coco", ReadOptions())


@pytest.mark.parametrize("row", ["x,1 5,20,2", "x,1 5,tall,20,1", "x,1 5,20,,1", "x,1 5,1000000000,1000000000,1"])
def test_a_table_that_is_cut_short_is_refused_by_its_line(row: str, tmp_path: Path) -> None:
    (tmp_path / "label_descriptions.json").write_text('{"categories": [{"id": 1, "name": "dress"}]}')
    table = tmp_path / "train.csv"
    table.write_text(f"ImageId,EncodedPixels,Height,Width,ClassId\nx,1 5,20,20,1\n{row}")
    with pytest.raises(DatasetError, match=r"train\.csv, line 3, is cut short, or has no width and height"):
        list(open_set([str(table)], "imaterialist", ReadOptions())[1].images)


def test_no_name_leaves_the_folder(tmp_path: Path) -> None:
    save(tmp_path / "secret.jpg", 1)
    save(tmp_path / "set" / "x.jpg", 1)
    pictures = PictureFolder(tmp_path / "set")
    for name in ("../secret.jpg", str(tmp_path / "secret.jpg"), "..\\secret.jpg"):
        assert not pictures.find_by_name(name).is_found


def test_an_export_may_have_signed_addresses_longer_than_a_file_name(tmp_path: Path) -> None:
    save(tmp_path / "x.jpg", 1)
    address = f"https://bucket.example/x.jpg?signature={'0' * 300}.jpg"
    (tmp_path / "export.json").write_text(json.dumps([{"id": 1, "data": {"image": address}}]))
    (image,) = open_set([str(tmp_path / "export.json")], None, ReadOptions())[1].images
    assert image.picture.url == address


def test_photographs_by_pattern_and_one_by_one(tmp_path: Path) -> None:
    for number, name in enumerate(("a.jpg", "b.jpg", "c/d.png")):
        save(tmp_path / name, number)
    form, source = open_set([str(tmp_path / "*.jpg")], None, ReadOptions())
    assert form == "photographs"
    assert [image.picture.name for image in source.images] == ["a.jpg", "b.jpg"]
    several = open_set([str(tmp_path / "a.jpg"), str(tmp_path / "c" / "d.png")], None, ReadOptions())[1]
    assert [image.picture.name for image in several.images] == ["a.jpg", "c/d.png"]
    (tmp_path / "e.txt").write_text("no image")
    with pytest.raises(DatasetError, match="not an image that Label Studio accepts"):
        open_set([str(tmp_path / "a.jpg"), str(tmp_path / "e.txt")], None, ReadOptions())


def test_sizes_are_those_of_upright_images(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photograph(1)).save(tmp_path / "turned.jpg", exif=exif)
    assert SetPicture("turned.jpg", tmp_path / "turned.jpg").size_wh() == SIZE[::-1]
    (tmp_path / "no.jpg").write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"'no\.jpg' cannot be read"):
        SetPicture("no.jpg", tmp_path / "no.jpg").size_wh()


def test_masks_in_colour_are_no_numbers(tmp_path: Path) -> None:
    save(tmp_path / "images" / "x.jpg", 1)
    (tmp_path / "masks").mkdir()
    Image.fromarray(photograph(1)).save(tmp_path / "masks" / "x.png")
    (image,) = open_set([str(tmp_path)], "masks", ReadOptions())[1].images
    assert not image.garments and "has colours" in image.notes[0]


def test_crowds_come_in_where_asked_for(tmp_path: Path) -> None:
    save(tmp_path / "x.jpg", 1)
    write_coco(tmp_path / "set.json", ["x.jpg"], ["dress"], [(1, 0, uncompressed(ring()), 1)])
    (image,) = open_set([str(tmp_path)], None, ReadOptions(crowds=True))[1].images
    assert [one.name for one in image.garments] == ["dress"] and (image.garments[0].to_mask(SIZE) == ring()).all()


def peak_bytes(file: Path) -> int:
    tracemalloc.start()
    for _ in open_set([str(file)], "coco", ReadOptions())[1].images:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.slow
def test_a_large_file_is_never_in_memory(tmp_path: Path) -> None:
    save(tmp_path / "x.jpg", 1)
    peaks = []
    for count in (200, 2000):
        file = tmp_path / f"{count}.json"
        rows = [(number, 0, [blob(30, 30), body(1.0)], 0) for number in range(1, count + 1) for _ in range(3)]
        write_coco(file, ["x.jpg"] * count, ["dress"], rows)
        peaks.append(peak_bytes(file))
    # Held whole, the larger file takes four megabytes more.
    assert peaks[1] - peaks[0] < 300_000, peaks
    assert len(json.loads((tmp_path / "2000.json").read_text())["annotations"]) == 6000


def test_a_union_of_parts_is_one_mask() -> None:
    both = Garment("top", tuple(np.array(one).reshape(-1, 2) for one in (blob(30, 30), blob(36, 30))))
    assert (both.to_mask(SIZE) == (drawn(blob(30, 30)) | drawn(blob(36, 30)))).all()


@pytest.mark.parametrize("form", ["coco", "masks"])
def test_what_drape_exports_comes_in_again(form: str, tmp_path: Path) -> None:
    worn = [LabelledMask(drawn(body(0.0)), "dress"), LabelledMask(drawn(blob(100, 20)), "bag")]
    image = GarmentImage(7, "7_x", photograph(1), tuple(worn), True)
    if form == "coco":
        write_own_coco([image], LABELS, tmp_path, outlines="rle", outlining=Outlining())
    else:
        write_index_masks([image], LABELS, tmp_path, [])
    found, source = open_set([str(tmp_path)], None, ReadOptions())
    assert found == form
    (again,) = source.images
    assert again.picture.is_found
    garments = [
        (one.name, one.to_mask(SIZE)) for one in cleaned(again.garments, SIZE, MaskCleaning()) if one is not None
    ]
    assert alike(garments, [(one.label, one.mask) for one in worn])
