from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from backend.domain import Image, LabelledMask, Outlining
from backend.errors import DatasetError, ImageError
from backend.label_config import parse_label_config
from backend.polygons import outline_to_mask
from backend.regions import content_hash, encode
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette import GARMENTS, palette
from tests.support import iou
from training.approvals import Approved
from training.dataset import build_dataset

CONFIG = parse_label_config(palette(GARMENTS))


def approved(seed: int, *extra: dict[str, Any]) -> Approved:
    """What a person would have submitted for the figure of `seed`."""
    result: list[dict[str, Any]] = list(extra)
    for instance in draw_figure(seed).instances:
        labelled = LabelledMask(instance.mask, instance.label)
        result += encode(labelled, CONFIG, outlining=Outlining(), model_version="person")
    return Approved(seed + 1000, seed, {"image": f"/{seed}.jpg"}, result, content_hash(result))


def load(one: Approved) -> Image:
    return Image(draw_figure(one.task_id).pixels, f"{one.task_id * 40503 % 65536:04x}" * 16, "s")


def test_the_labels_on_disk_are_what_was_approved(tmp_path: Path) -> None:
    prompt = {"id": "k", "type": "keypoint", "from_name": "click", "value": {"x": 1, "y": 1, "labels": ["saree"]}}
    said = {"id": "m", "type": "textarea", "from_name": "message", "value": {"text": ["a message"]}}
    built = build_dataset([approved(1, prompt, said), approved(3)], CONFIG, folder=tmp_path / "set", load=load)
    assert (built.train_images, built.val_images) == (1, 1)
    assert built.left_out == ()
    layout = yaml.safe_load(built.data_yaml.read_text())
    assert tuple(layout["names"].values()) == GARMENTS
    for seed in (1, 3):
        (path,) = (tmp_path / "set" / "labels").glob(f"*/task_{seed}.txt")
        figure = draw_figure(seed)
        height, width = figure.pixels.shape[:2]
        found = [line.split() for line in path.read_text().splitlines()]
        outlines = [np.array(row[1:], float).reshape(-1, 2) * (width, height) for row in found]
        masks = [outline_to_mask(outline, size_wh=(width, height)) for outline in outlines]
        # Parts of a garment are regions of their own: together they are what was worn of the label.
        for label in {instance.label for instance in figure.instances}:
            truth = np.logical_or.reduce([one.mask for one in figure.instances if one.label == label])
            drawn = [mask for row, mask in zip(found, masks, strict=True) if GARMENTS[int(row[0])] == label]
            assert iou(np.logical_or.reduce(drawn), truth) > 0.95


def test_an_image_keeps_its_side_as_the_set_grows(tmp_path: Path) -> None:
    few = build_dataset([approved(s) for s in range(4, 10)], CONFIG, folder=tmp_path / "few", load=load)
    many = build_dataset([approved(s) for s in range(4, 14)], CONFIG, folder=tmp_path / "many", load=load)
    assert few.val_images >= 1
    assert many.val_images >= few.val_images
    for path in (tmp_path / "few" / "images").glob("*/*.jpg"):
        assert (tmp_path / "many" / "images" / path.parent.name / path.name).exists()


def test_what_cannot_be_used_is_left_out_and_said(tmp_path: Path) -> None:
    empty = Approved(1, 501, {}, [], content_hash([]))
    unreadable = Approved(2, 502, {}, approved(1).result, "x")
    gone = {"id": "g", "type": "polygonlabels", "original_width": 9, "original_height": 9,
            "value": {"points": [[0, 0], [90, 0], [90, 90]], "polygonlabels": ["turban"]}}  # fmt: skip

    def partly(one: Approved) -> Image:
        if one.task_id == 502:
            raise ImageError("The image is gone.")
        return load(one)

    built = build_dataset([approved(1, gone), empty, unreadable], CONFIG, folder=tmp_path / "set", load=partly)
    said = "\n".join(built.left_out)
    for part in ("annotation 1 of task 501: no usable regions", "The image is gone.", "'turban' is no longer"):
        assert part in said
    # Reviewed all the same: none of them counts as new again.
    assert set(built.learnt) == {"1001", "1", "2"}


def test_nothing_to_train_on_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="None of the 1 approved"):
        build_dataset([Approved(1, 1, {}, [], "x")], CONFIG, folder=tmp_path / "set", load=load)
    assert not (tmp_path / "set").exists()
