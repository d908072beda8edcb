"""Data sets of others, in their own layouts, drawn small: what their files say, and what must come in."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars
import yaml
from PIL import Image
from scipy.io import savemat

from backend.domain import LabelledMask, Mask, Outlining
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.uploads import upload_name
from backend.regions.encode import encode
from label_studio_config.palette_xml import palette
from tests.training.data_in.drawn import (
    HEIGHT,
    LABELS,
    SIZE,
    WIDTH,
    blob,
    body,
    compressed,
    drawn,
    encoded,
    index_of,
    pairs,
    photograph,
    ring,
    save,
    uncompressed,
)
from training.data_in.formats.index_masks import ATR, LIP


@dataclass(frozen=True)
class Set:
    """A set on disk.

    Attributes:
        path: what is given to the command.
        garments: by image, as it is called in the project, each garment's label and mask.
        options: of `ReadOptions`, that it needs.
        left_out: words that the reasons for what is left out hold.
        unmapped: names that no label has.
    """

    path: Path
    form: str
    garments: Mapping[str, Sequence[tuple[str, Mask]]]
    options: Mapping[str, Any]
    left_out: Sequence[str] = ()
    unmapped: frozenset[str] = frozenset()


def fashionpedia(folder: Path) -> Set:
    """`instances_attributes_val2020.json` beside the folder `test` of images."""
    for number, name in enumerate(("aa.jpg", "bb.jpg", "cc.jpg")):
        save(folder / "test" / name, number)
    categories = ["shirt, blouse", "top, t-shirt, sweatshirt", "dress", "neckline"]
    corner = np.zeros((HEIGHT, WIDTH), bool)
    corner[:30, :41] = True
    rows = [
        (1, 0, [body(0.0)], 0),
        (1, 1, [blob(20, 20), blob(80.5, 61.2)], 0),
        (1, 3, [blob(50, 20, 5)], 0),
        (2, 2, compressed(ring()), 0),
        (2, 1, uncompressed(corner), 0),
        (2, 2, uncompressed(ring()), 1),
        (2, 0, [], 0),
    ]
    write_coco(
        folder / "instances_attributes_val2020.json", ["aa.jpg", "bb.jpg", "cc.jpg", "gone.jpg"], categories, rows
    )
    garments = {
        "aa.jpg": [("shirt", drawn(body(0.0))), ("top", drawn(blob(20, 20), blob(80.5, 61.2)))],
        "bb.jpg": [("dress", ring()), ("top", corner)],
        "cc.jpg": [],
    }
    left_out = ("crowd", "attributes", "no outline", "missing image")
    return Set(folder, "coco", garments, {}, left_out, frozenset({"neckline"}))


def write_coco(
    file: Path, images: Sequence[str], categories: Sequence[str], rows: Sequence[tuple[int, int, Any, int]]
) -> None:
    """Fashionpedia's keys; `rows` hold the image's number, the category's, the segmentation, and `iscrowd`."""
    data = {
        "info": {"year": 2020},
        "licenses": [],
        "categories": [{"id": number, "name": name, "level": 2} for number, name in enumerate(categories)],
        "attributes": [{"id": 3, "name": "silk"}],
        "images": [
            {"id": number, "width": WIDTH, "height": HEIGHT, "file_name": name, "license": 2}
            for number, name in enumerate(images, start=1)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": category,
                "attribute_ids": [3],
                "segmentation": shape,
                "bbox": [1.0, 2.0, 3.0, 4.0],
                "area": 12,
                "iscrowd": crowd,
            }
            for number, (image, category, shape, crowd) in enumerate(rows, start=1)
        ],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data))


def deepfashion2(folder: Path) -> Set:
    """`annos/000001.json` beside `image/000001.jpg`, of training and of validation."""
    garments = {}
    for number, part in enumerate(("train", "validation")):
        save(folder / part / "image" / "000001.jpg", number)
        shapes = [[body(float(number))], [blob(20, 20), blob(90, 70 - number)]]
        item = {"scale": 2, "viewpoint": 2, "zoom_in": 1, "occlusion": 1, "style": 1, "landmarks": [1, 2, 0]}
        facts = {
            "item2": {
                **item,
                "segmentation": shapes[1],
                "bounding_box": [0, 0, 9, 9],
                "category_id": 9,
                "category_name": "skirt",
            },
            "source": "user",
            "pair_id": 7,
            "item1": {
                **item,
                "segmentation": shapes[0],
                "bounding_box": [0, 0, 9, 9],
                "category_id": 2,
                "category_name": "long sleeve top",
            },
        }
        annos = folder / part / "annos" / "000001.json"
        annos.parent.mkdir(parents=True)
        annos.write_text(json.dumps(facts))
        garments[f"{part}__image__000001.jpg"] = [
            ("long sleeve top", drawn(*shapes[0])),
            ("skirt", drawn(*shapes[1])),
        ]
    return Set(folder, "deepfashion2", garments, {}, ("landmarks",))


def shapes_of_atr() -> tuple[npt.NDArray[np.uint8], list[tuple[str, Mask]]]:
    """An index mask by ATR's numbers, and what is in it: two bags are two."""
    left, right, top = drawn(blob(20, 70)), drawn(blob(95, 70)), drawn(body(5.0)) & ~drawn(blob(20, 70))
    number = {name: ATR.index(name) for name in ("Upper-clothes", "Bag", "Hair")}
    index = index_of(
        {
            number["Hair"]: [drawn(blob(100, 15))],
            number["Upper-clothes"]: [top & ~right],
            number["Bag"]: [left, right],
        }
    )
    return index, [("upper clothes", top & ~right), ("bag", left), ("bag", right)]


def atr(folder: Path) -> Set:
    """`JPEGImages` and `SegmentationClassAug`, with the mirrored masks beside."""
    save(folder / "JPEGImages" / "2500_1.jpg", 1)
    index, garments = shapes_of_atr()
    for name, values in (("SegmentationClassAug", index), ("SegmentationClassAug_rev", index[:, ::-1])):
        (folder / name).mkdir()
        picture = Image.fromarray(values).convert("P")
        picture.putpalette([0, 0, 0, 200, 10, 10] * 20)
        picture.save(folder / name / "2500_1.png")
    return Set(folder, "masks", {"JPEGImages__2500_1.jpg": garments}, {"classes": "atr"}, (), frozenset({"Hair"}))


def lip(folder: Path) -> Set:
    """`TrainVal_images/train_images` and `TrainVal_parsing_annotations/train_segmentations`, grey."""
    save(folder / "TrainVal_images" / "train_images" / "77_1034.jpg", 2)
    dress = drawn(body(0.0))
    masks = folder / "TrainVal_parsing_annotations" / "train_segmentations"
    masks.mkdir(parents=True)
    Image.fromarray(index_of({LIP.index("Dress"): [dress]})).save(masks / "77_1034.png")
    garments = {"TrainVal_images__train_images__77_1034.jpg": [("dress", dress)]}
    return Set(folder, "masks", garments, {"classes": "lip"})


def parquet(folder: Path) -> Set:
    """Hugging Face's table: `image` and `mask`, each with its bytes and its path."""
    index, garments = shapes_of_atr()
    rows = [
        {
            "image": {"bytes": encoded(photograph(number), "JPEG"), "path": None},
            "mask": {"bytes": encoded(index, "PNG"), "path": None},
        }
        for number in range(3)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir()
    name = "train-00000-of-00001"
    polars.DataFrame(rows).write_parquet(folder / "data" / f"{name}.parquet", row_group_size=2)
    expected = {f"{name}_{number:06d}.jpg": garments for number in range(3)}
    return Set(folder, "parquet", expected, {"classes": "atr"}, (), frozenset({"Hair"}))


def yolo(folder: Path) -> Set:
    """`data.yaml`, `images/train`, `labels/train`; one image without garments."""
    for number, name in enumerate(("one", "two")):
        save(folder / "images" / "train" / f"{name}.jpg", number)
    names = {0: "pants", 1: "hat"}
    (folder / "data.yaml").write_text(yaml.safe_dump({"path": ".", "train": "images/train", "names": names}))
    (folder / "labels" / "train").mkdir(parents=True)
    lines = [[0, *(np.array(body(3.0)).reshape(-1, 2) / SIZE).ravel()], [1, 0.5, 0.5, 0.1, 0.1]]
    text = "\n".join(" ".join(str(part) for part in line) for line in lines)
    (folder / "labels" / "train" / "one.txt").write_text(text)
    garments = {"images__train__one.jpg": [("pants", drawn(body(3.0)))], "images__train__two.jpg": []}
    return Set(folder, "yolo", garments, {}, ("box",))


def label_studio(folder: Path) -> Set:
    """An export: polygons in two parts, a brush, a task that was skipped; uploads that lie in a folder."""
    config = parse_label_config(palette(LABELS))
    brushes = parse_label_config(
        '<View><Image name="photo" value="$picture"/><BrushLabels name="b" toName="photo"><Label value="dress"/>'
        "</BrushLabels></View>"
    )
    two = drawn(blob(20, 20), blob(80, 60))
    outlining = Outlining(tolerance_px=0.0)
    results = [
        encode(LabelledMask(two, "top"), config, outlining=outlining, model_version="x"),
        encode(LabelledMask(ring(), "dress"), brushes, outlining=outlining, model_version="x"),
    ]
    tasks = [
        {
            "id": 700 + number,
            "data": {"picture": f"/data/upload/9/0a1b2c3d-{name}.jpg"},
            "annotations": [{"id": number, "result": result, "was_cancelled": False}],
            "predictions": [],
        }
        for number, (name, result) in enumerate(zip(("p", "q"), results, strict=True))
    ]
    skipped = {
        "id": 703,
        "data": {"picture": "/data/upload/9/0a1b2c3d-r.jpg"},
        "predictions": [{"result": results[0]}],
        "annotations": [{"id": 9, "result": results[0], "was_cancelled": True}],
    }
    for number, name in enumerate(("p", "q", "r")):
        save(folder / "pictures" / f"{name}.jpg", number)
    (folder / "project-9.json").write_text(json.dumps([*tasks, skipped]))
    garments = {"p.jpg": [("top", two)], "q.jpg": [("dress", ring())], "r.jpg": []}
    return Set(folder / "project-9.json", "label-studio", garments, {}, ("predictions",))


def imaterialist(folder: Path) -> Set:
    """Kaggle's `train.csv` and `label_descriptions.json` beside the folder of images."""
    for number, name in enumerate(("a1", "b2")):
        save(folder / "train" / f"{name}.jpg", number)
    facts = {"categories": [{"id": 4, "name": "dress"}, {"id": 7, "name": "pants"}], "attributes": []}
    (folder / "label_descriptions.json").write_text(json.dumps(facts))
    rows = [("a1", ring(), "4"), ("b2", drawn(body(0.0)), "7"), ("a1", drawn(blob(15, 15)), "7")]
    with (folder / "train.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["ImageId", "EncodedPixels", "Height", "Width", "ClassId", "AttributesIds"])
        for name, mask, category in rows:
            edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.T.ravel().astype(int), [0]])))
            runs = " ".join(f"{first + 1} {last - first}" for first, last in edges.reshape(-1, 2))
            writer.writerow([name, runs, HEIGHT, WIDTH, category, "115,136"])
    garments = {"a1.jpg": [("dress", ring()), ("pants", drawn(blob(15, 15)))], "b2.jpg": [("pants", rows[1][1])]}
    return Set(folder / "train.csv", "imaterialist", garments, {}, ("attributes",))


def roboflow(folder: Path) -> Set:
    """`train`, `valid` and `test`, each with its images and its COCO file; all have an image of one name."""
    garments = {}
    for number, part in enumerate(("test", "train", "valid")):
        save(folder / part / "x.jpg", number)
        write_coco(folder / part / "_annotations.coco.json", ["x.jpg"], ["dress"], [(1, 0, [body(float(number))], 0)])
        garments[f"{part}__x.jpg"] = [("dress", drawn(body(float(number))))]
    return Set(folder, "coco", garments, {}, ("attributes",))


def labelme(folder: Path) -> Set:
    """`l1.json` beside `l1.jpg`, and an image that nobody annotated."""
    for number, name in enumerate(("l1", "l2")):
        save(folder / f"{name}.jpg", number)
    shapes: list[dict[str, Any]] = [
        {"label": "dress", "points": pairs(body(0.0)), "shape_type": "polygon", "group_id": None},
        {"label": "top", "points": pairs(blob(20, 20)), "shape_type": "polygon", "group_id": 1},
        {"label": "top", "points": pairs(blob(100, 60)), "shape_type": "polygon", "group_id": 1},
        {"label": "hat", "points": [[1, 1], [5, 5]], "shape_type": "rectangle", "group_id": None},
    ]
    write_labelme(folder / "l1.json", shapes)
    garments = [("dress", drawn(body(0.0))), ("top", drawn(blob(20, 20), blob(100, 60)))]
    return Set(folder, "labelme", {"l1.jpg": garments, "l2.jpg": []}, {}, ("rectangle",))


def write_labelme(file: Path, shapes: Sequence[Mapping[str, Any]], **facts: Any) -> None:
    """labelme's keys, in its order."""
    file.parent.mkdir(parents=True, exist_ok=True)
    whole: dict[str, Any] = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": f"{file.stem}.jpg"}
    size = {"imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH}
    file.write_text(json.dumps({**whole, **size, **facts}))


def flat_yolo(folder: Path) -> Set:
    """`z1.txt` beside `z1.jpg`, and `classes.txt`."""
    for number, name in enumerate(("z1", "z2")):
        save(folder / f"{name}.jpg", number)
    line = [1, *(np.array(body(3.0)).reshape(-1, 2) / SIZE).ravel()]
    (folder / "z1.txt").write_text(" ".join(map(str, line)))
    (folder / "classes.txt").write_text("hat\npants\n")
    return Set(folder, "yolo", {"z1.jpg": [("pants", drawn(body(3.0)))], "z2.jpg": []}, {})


def photographs(folder: Path) -> Set:
    """Images in folders."""
    save(folder / "a b.jpg", 0)
    save(folder / "below" / "c.png", 1)
    return Set(folder, "photographs", {upload_name(Path("a b.jpg")): [], "below__c.png": []}, {})


def ccp(folder: Path) -> Set:
    """`photos`, `annotations/pixel-level`, and photographs without labels for their pixels beside."""
    for number, name in enumerate(("0001.jpg", "0002.jpg", "1005.jpg")):
        save(folder / "photos" / name, number)
    names = ["null", "skin", "dress", "bag"]
    savemat(folder / "label_list.mat", {"label_list": np.array([names], dtype=object)})
    for part in ("pixel-level", "image-level"):
        (folder / "annotations" / part).mkdir(parents=True)
    pair = [drawn(blob(20, 70)), drawn(blob(95, 70))]
    dress = drawn(body(5.0)) & ~np.logical_or(*pair)
    labels = {"0001": {1: [drawn(blob(100, 15))], 2: [dress], 3: pair}, "0002": {2: [ring()]}}
    for name, shapes in labels.items():
        savemat(folder / "annotations" / "pixel-level" / f"{name}.mat", {"groundtruth": index_of(shapes)})
    savemat(folder / "annotations" / "image-level" / "1005.mat", {"tags": np.array([[2]])})
    garments = {
        "photos__0001.jpg": [("dress", dress), ("bag", np.logical_or(*pair))],
        "photos__0002.jpg": [("dress", ring())],
    }
    return Set(folder, "ccp", garments, {}, (), frozenset({"skin"}))


SETS: tuple[Callable[[Path], Set], ...] = (
    fashionpedia,
    deepfashion2,
    atr,
    lip,
    parquet,
    yolo,
    label_studio,
    imaterialist,
    roboflow,
    labelme,
    flat_yolo,
    ccp,
    photographs,
)
