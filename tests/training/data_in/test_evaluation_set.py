from __future__ import annotations

import logging
from pathlib import Path

import pytest

from backend.label_studio.label_config import parse_label_config
from backend.settings import Settings
from label_studio_config.palette_xml import palette
from tests.training.data_in.drawn import body, pairs, save
from tests.training.data_in.sets import write_coco, write_labelme
from training.data_in.class_mapping import ClassMapping
from training.data_in.evaluation_set import evaluation_images
from training.data_in.formats.detect import ReadOptions, open_set


def test_garments_that_cannot_be_read_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = parse_label_config(palette(["dress"]))
    for name in ("a", "b"):
        save(tmp_path / f"{name}.jpg", 1)
        box = {"label": "dress", "points": [[1, 1], [5, 5]], "shape_type": "rectangle"}
        write_labelme(tmp_path / f"{name}.json", [{"label": "dress", "points": pairs(body(0.0))}, box])
    _, source = open_set([str(tmp_path)], None, ReadOptions())
    with caplog.at_level(logging.WARNING):
        images = list(
            evaluation_images(
                source, config, ClassMapping(config), Settings(), side_px=640, folder=tmp_path / "held_out"
            )
        )
    assert [len(image.truth) for image in images] == [1, 1]
    assert caplog.messages == ["Left out 2 x: shape that is no outline (rectangle) (a.jpg, b.jpg)"]


def test_an_image_that_is_listed_twice_counts_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = parse_label_config(palette(["dress"]))
    save(tmp_path / "x.jpg", 1)
    write_coco(tmp_path / "set.json", ["x.jpg", "x.jpg"], ["dress"], [(1, 0, [body(0.0)], 0)])
    _, source = open_set([str(tmp_path)], None, ReadOptions())
    with caplog.at_level(logging.WARNING):
        images = list(
            evaluation_images(
                source, config, ClassMapping(config), Settings(), side_px=640, folder=tmp_path / "held_out"
            )
        )
    assert [len(image.truth) for image in images] == [1]
    assert "Left out 1 x: image that the set lists twice (x.jpg)" in caplog.messages
