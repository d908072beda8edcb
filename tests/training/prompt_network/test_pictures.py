from __future__ import annotations

import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.errors import DatasetError
from tests.training.prompt_network.conftest import HEIGHT, HELD_OUT, PICTURES, WIDTH
from training.prompt_network.pictures import Pictures, Source, decode_pictures


def test_pictures_are_as_the_set_has_them(pictures: Pictures, masks_set: Path) -> None:
    assert pictures.classes == ("0/shirt", "0/trousers", "0/skin")
    assert len(pictures.entries) == PICTURES
    for number, entry in enumerate(pictures.entries):
        assert entry.size_wh == (WIDTH, HEIGHT)
        pixels = cv2.imread(str(masks_set / "images" / f"{number}.png"))
        assert pixels is not None
        assert np.array_equal(pictures.pixels(number), pixels[..., ::-1])
        index = cv2.imread(str(masks_set / "masks" / f"{number}.png"), cv2.IMREAD_UNCHANGED)
        assert index is not None
        assert np.array_equal(pictures.class_numbers(number)[pictures.instances(number)], index)


def test_the_last_pictures_only_judge_and_only_labels_of_the_config_are_asked_for(pictures: Pictures) -> None:
    assert [entry.held_out for entry in pictures.entries] == [False] * (PICTURES - HELD_OUT) + [True] * HELD_OUT
    targets = pictures.targets(held_out=True, least_px=10)
    assert {target.picture for target in targets} == {3, 4}
    assert len(targets) == 2 * HELD_OUT
    assert len(pictures.targets(held_out=True, least_px=1270)) == 1  # one shirt of 1,295 pixels; the other has 1,260


def test_classes_of_other_sets_are_unknown_to_a_set(masks_set: Path, label_config: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(masks_set, other)
    (other / "labels.txt").write_text("background\nsaree\nblouse\nhair\n")
    source = Source((str(masks_set), str(other)), 1, str(label_config))
    both = decode_pictures(source, tmp_path / "pictures")
    assert both.known_classes().tolist() == [[True] + [True] * 3 + [False] * 3, [True] + [False] * 3 + [True] * 3]
    # The label config is of the first set.
    assert all(all(entry.asked) == (entry.set_number == 1) for entry in both.entries)
    assert np.array_equal(both.pixels(PICTURES), both.pixels(0))


def test_pictures_are_decoded_once_and_anew_when_asked_otherwise(masks_set: Path, tmp_path: Path) -> None:
    source = Source((str(masks_set),), 1, None)
    decode_pictures(source, tmp_path)
    written = (tmp_path / "index.json").stat().st_mtime_ns
    decode_pictures(source, tmp_path)
    assert (tmp_path / "index.json").stat().st_mtime_ns == written
    again = decode_pictures(Source((str(masks_set),), 3, None), tmp_path)
    assert sum(entry.held_out for entry in again.entries) == 3


def test_a_damaged_picture_is_left_out_and_named(
    masks_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = tmp_path / "set"
    shutil.copytree(masks_set, damaged)
    (damaged / "images" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with caplog.at_level(logging.WARNING):
        decoded = decode_pictures(Source((str(damaged),), 1, None), tmp_path / "pictures")
    assert len(decoded.entries) == PICTURES - 1
    (message,) = caplog.messages
    assert message.startswith("The picture 'images/1.png' is left out: ")


def test_a_set_that_leaves_nothing_to_train_on_is_refused(masks_set: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="none is left to train on"):
        decode_pictures(Source((str(masks_set),), PICTURES, None), tmp_path)
