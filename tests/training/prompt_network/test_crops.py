from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.errors import DatasetError
from backend.segmenters.builtin.frames import LEAST_SHARE, SIZE_WH
from training.prompt_network.crops import LEAST_CROP_PX, MOST_WIDER, Crops
from training.prompt_network.pictures import Pictures, Source, decode_pictures


def test_crops_have_one_size_and_ask_for_what_they_show(pictures: Pictures) -> None:
    crops = Crops(pictures)
    assert crops.targets == 6
    drawn = [crops.draw(np.random.default_rng(seed)) for seed in range(40)]
    for crop in drawn:
        assert crop.pixels.shape == (SIZE_WH[1], SIZE_WH[0], 3) and crop.pixels.dtype == np.uint8
        assert crop.class_map.max() < len(pictures.classes) + 1
        for instance in crop.asked:
            assert np.count_nonzero(crop.mask(instance)) >= LEAST_CROP_PX
            # Skin is not asked for.
            assert crop.classes[instance] in (1, 2)
    # A picture has three instances: a fourth is pasted.
    assert 3 < sum(len(crop.classes) == 5 for crop in drawn) < 25


def test_a_small_garment_is_shown_no_nearer_than_a_click_would_show_it(tmp_path: Path) -> None:
    side, height = 22, 480
    masks, images = tmp_path / "masks", tmp_path / "images"
    for number in range(2):
        index = np.zeros((height, 360), np.uint8)
        index[200 : 200 + side, 100 : 100 + side] = 1
        for folder, array in ((masks, index), (images, index * 90)):
            folder.mkdir(exist_ok=True)
            cv2.imwrite(str(folder / f"{number}.png"), array)
    (tmp_path / "labels.txt").write_text("background\nbadge\n")
    crops = Crops(decode_pictures(Source((str(tmp_path),), 1, None), tmp_path / "pictures"))
    drawn = [crops.draw(np.random.default_rng(seed)) for seed in range(40)]
    largest = max(np.count_nonzero(crop.mask(1)) for crop in drawn)
    nearest = (side * SIZE_WH[1] / (LEAST_SHARE * height)) ** 2
    assert 0.9 * nearest < largest < 1.1 * MOST_WIDER * nearest


def test_the_same_chance_draws_the_same_crop(pictures: Pictures) -> None:
    one, other = (Crops(pictures).draw(np.random.default_rng(8)) for _ in range(2))
    assert np.array_equal(one.pixels, other.pixels) and np.array_equal(one.instances, other.instances)
    assert one.asked == other.asked


def test_pictures_without_anything_to_ask_for_are_refused(pictures: Pictures) -> None:
    nothing = tuple(replace(entry, asked=(False,) * len(entry.asked)) for entry in pictures.entries)
    with pytest.raises(DatasetError, match="--labels"):
        Crops(replace(pictures, entries=nothing))
