from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.errors import DatasetError
from backend.images.decode import decode_image
from backend.label_studio.label_config import parse_label_config
from benchmarks.flywheel.photographs import JUDGED_FROM, LABELLED_FROM, draw_figures, open_photographs
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette
from tests.support import iou

CONFIG = parse_label_config(palette(GARMENTS))


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_figures(tmp_path_factory.mktemp("figures"), images=3, judged=2)


def test_the_first_are_labelled_and_the_last_judge(figures: Path, tmp_path: Path) -> None:
    for _ in range(2):
        found = open_photographs(figures, CONFIG, tmp_path, images=2, judged=2)
        assert (
            sorted(file.name for file in found.folder.iterdir()) == sorted(found.truth) == ["000001.jpg", "000002.jpg"]
        )
    for number, (name, truth) in enumerate(sorted(found.truth.items())):
        figure = draw_figure(LABELLED_FROM + number)
        image = decode_image((found.folder / name).read_bytes(), source=name, max_pixels=10**8)
        assert image.pixels.shape == figure.pixels.shape
        assert np.abs(image.pixels.astype(int) - figure.pixels).mean() < 10
        assert [one.label for one in truth] == [one.label for one in figure.instances]
        assert all(iou(one.mask, drawn.mask) > 0.9 for one, drawn in zip(truth, figure.instances, strict=True))
    assert [len(one.truth) for one in found.judged] == [len(draw_figure(JUDGED_FROM + n).instances) for n in range(2)]


def test_those_that_judge_are_labelled_where_nothing_is_trained(figures: Path, tmp_path: Path) -> None:
    found = open_photographs(figures, CONFIG, tmp_path, images=2, judged=2, unseen=True)
    of_judged = [[one.label for one in judged.truth] for judged in found.judged]
    assert [[one.label for one in truth] for _, truth in sorted(found.truth.items())] == of_judged
    with pytest.raises(DatasetError, match="holds 5 images"):
        open_photographs(figures, CONFIG, tmp_path, images=2, judged=6, unseen=True)


def test_a_set_with_too_few_images_is_refused(figures: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds 5 images, of which 4 would be labelled and 2 judge"):
        open_photographs(figures, CONFIG, tmp_path, images=4, judged=2)
