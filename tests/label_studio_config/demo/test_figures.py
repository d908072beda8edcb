from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.regions.polygons import outline_to_mask
from label_studio_config.demo.figures import LABELS, PARTS, draw_figure
from label_studio_config.demo.write import write_images, write_photographs, write_yolo_dataset, yolo_line
from tests.support import iou

SEEDS = range(200, 216)


@pytest.mark.parametrize("seed", SEEDS)
def test_masks_are_disjoint_not_empty_and_of_known_labels(seed: int) -> None:
    figure = draw_figure(seed)
    height, width = figure.pixels.shape[:2]
    assert figure.pixels.dtype == np.uint8
    assert figure.instances
    total = np.zeros((height, width), int)
    for instance in figure.instances:
        assert instance.label in LABELS
        assert instance.mask.shape == (height, width)
        assert instance.mask.any()
        total += instance.mask
    assert total.max() == 1


def test_layers_are_whole_garments_that_overlap() -> None:
    figures = [draw_figure(seed) for seed in SEEDS]
    for figure in figures:
        layers = [layer for layer in figure.layers if layer.label not in PARTS]
        assert [layer.label for layer in layers if layer.label in LABELS] == [layer.label for layer in layers]
        # What is visible of a garment is part of it.
        for instance in figure.instances:
            assert any(layer.label == instance.label and not (instance.mask & ~layer.mask).any() for layer in layers), (
                instance.label
            )
    hidden = {
        (below.label, above.label)
        for figure in figures
        for number, below in enumerate(figure.layers)
        for above in figure.layers[number + 1 :]
        if np.count_nonzero(below.mask & above.mask) > 0.05 * np.count_nonzero(below.mask)
    }
    assert {("saree", "pallu"), ("pallu", "border"), ("kurta", "dupatta")} <= hidden


def test_a_seed_draws_the_same_again_and_another_one_does_not() -> None:
    first, again, other = draw_figure(5), draw_figure(5), draw_figure(6)
    assert np.array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels.shape, other.pixels.shape) or not np.array_equal(first.pixels, other.pixels)


@pytest.mark.slow
def test_the_figures_vary_as_promised() -> None:
    figures = [draw_figure(seed) for seed in SEEDS]
    assert {instance.label for figure in figures for instance in figure.instances} == set(LABELS)
    assert all(figure.pixels.shape[0] != figure.pixels.shape[1] for figure in figures)
    assert len({figure.pixels.shape for figure in figures}) >= 4
    # Two people at once: two of a garment that a person wears one of.
    assert any(
        sum(instance.label in ("saree", "kurta", "top") for instance in figure.instances) == 2 for figure in figures
    )


@pytest.mark.parametrize("seed", [200, 203])
def test_yolo_lines_hold_the_masks(seed: int) -> None:
    for instance in draw_figure(seed).instances:
        height, width = instance.mask.shape
        number, *shares = yolo_line(LABELS.index(instance.label), instance.mask).split()
        outline = np.array(shares, float).reshape(-1, 2) * (width, height)
        assert LABELS[int(number)] == instance.label
        assert iou(outline_to_mask(outline, size_wh=(width, height)), instance.mask) >= 0.9


def test_files_for_a_project_and_for_yolo(tmp_path: Path) -> None:
    paths = write_images(tmp_path / "demo", [1, 2])
    assert [path.name for path in paths] == ["figure_000001.jpg", "figure_000002.jpg"]
    assert np.asarray(cv2.imread(str(paths[0]))).shape == draw_figure(1).pixels.shape
    assert len(write_photographs(tmp_path / "demo")) == 2
    data = write_yolo_dataset(tmp_path / "yolo", train_seeds=[1, 2], val_seeds=[3])
    assert "names:" in data.read_text()
    assert len(list((tmp_path / "yolo" / "labels" / "train").glob("*.txt"))) == 2
