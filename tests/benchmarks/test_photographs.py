"""`make photographs`, on a few drawn figures in the layout of Clothing Co-Parsing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat
from typer.testing import CliRunner

from backend.domain import Detection, Photo, Scene
from backend.segmenters.builtin.network import load_builtin
from backend.settings import Settings
from benchmarks.photographs.__main__ import app
from benchmarks.photographs.fixes import CLICKS, measure_fixes
from benchmarks.photographs.image_scores import measure_image_scores
from benchmarks.photographs.mask_parts import SHARES, measure_parts
from benchmarks.photographs.palette_config import palette_config
from label_studio_config.demo.figures import LABELS, draw_figure
from training.evaluation.held_out import HeldOut
from training.garment_base.photograph_set import load_weights, read_photographs

pytestmark = pytest.mark.slow


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    """Six figures with their own labels, most of which the palette `indo_western` has."""
    folder = tmp_path / "figures"
    (folder / "photos").mkdir(parents=True)
    (folder / "annotations").mkdir()
    savemat(folder / "label_list.mat", {"label_list": np.array([["null", *LABELS]], dtype=object)})
    for seed in range(6):
        figure = draw_figure(seed)
        numbers = np.zeros(figure.pixels.shape[:2], np.uint8)
        for instance in figure.instances:
            numbers[instance.mask] = 1 + LABELS.index(instance.label)
        cv2.imwrite(str(folder / "photos" / f"{seed:04}.jpg"), figure.pixels[..., ::-1])
        savemat(folder / "annotations" / f"{seed:04}.mat", {"groundtruth": numbers})
    return folder


def test_a_detector_is_trained_on_some_and_judged_on_others(
    figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAIN_EPOCHS", "2")
    into = tmp_path / "results"
    size = ["--train-on", "4", "--images", "2", "--seeds", "5", "--side", "64"]
    arguments = [str(figures), "--palette", "indo_western", *size, "--into", str(into)]
    done = CliRunner().invoke(app, ["schedule", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (result,) = json.loads((into / "schedule.json").read_text())
    assert (result["images"], result["seed"], result["updates"]) == (2, 5, 2)
    assert 0 <= result["mask_map"] <= result["mask_map50"] <= 1
    assert (into / "2-5-64.pt").is_file()


def test_recipes_are_compared_on_the_same_photographs(
    figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAIN_EPOCHS", "1")
    into = tmp_path / "results"
    names = ("ten frozen layers", "no mosaic")
    arguments = [str(figures), "--palette", "indo_western", "--train-on", "4", "--side", "64", "--into", str(into)]
    for name in names:
        arguments += ["--only", name]
    done = CliRunner().invoke(app, ["recipes", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "Without training: mask mAP50" in done.output
    results = json.loads((into / "recipes.json").read_text())
    assert tuple(results) == names
    assert [(one["images"], one["updates"]) for same in results.values() for one in same] == [(4, 1)] * 2
    assert (into / "no-mosaic-0.pt").is_file()
    unknown = CliRunner().invoke(app, ["recipes", *arguments, "--only", "magic"])
    assert unknown.exit_code == 2
    assert "There is no recipe 'magic'" in " ".join(unknown.output.split())


def test_orders_are_compared_round_by_round_and_go_on_where_they_were(
    figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAIN_EPOCHS", "1")
    into = tmp_path / "results"
    size = ["--train-on", "5", "--side", "64", "--batch", "1", "--seeds", "3", "--into", str(into)]
    arguments = ["order", str(figures), "--palette", "indo_western", *size]
    done = CliRunner().invoke(app, [*arguments, "--rounds", "2"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    first = json.loads((into / "order.json").read_text())["steps"]
    assert [(step["order"], len(step["labelled"])) for step in first] == [
        ("by chance", 1),
        ("as served", 1),
        ("by chance", 2),
        ("as served", 2),
    ]
    # The first model is the same for both.
    assert {**first[0], "order": "as served"} == first[1] and len(list(into.glob("*.pt"))) == 3
    more = [*arguments, "--rounds", "2", "--orders", "by cluster and mean", "--orders", "by score"]
    done = CliRunner().invoke(app, more, catch_exceptions=False)
    assert done.exit_code == 0 and "and mean" in done.output and "2 labels" in done.output, done.output
    steps = json.loads((into / "order.json").read_text())["steps"]
    assert steps[:4] == first and len(steps) == 4 + 4
    for step in steps:
        assert step["labelled"][:1] == first[0]["labelled"]
        assert len(set(step["labelled"])) == len(step["labelled"]) and max(step["labelled"]) < 5
    other = CliRunner().invoke(app, [*arguments, "--updates", "7"])
    assert other.exit_code == 1 and "order.json holds results of" in " ".join(other.output.split())
    unknown = CliRunner().invoke(app, [*arguments, "--orders", "magic"])
    assert unknown.exit_code == 2 and "There is no order 'magic'" in " ".join(unknown.output.split())


def test_the_parts_of_masks_are_counted(figures: Path, starter: Path, tmp_path: Path) -> None:
    config = palette_config("indo_western")
    found = read_photographs(figures, config, side_px=256, folder=tmp_path / "pixels", first=2)
    rows = list(measure_parts(starter, found, image_size_px=256, min_score=0.25))
    assert [row.crumb_share for row in rows] == list(SHARES)
    assert len({row.detections for row in rows}) == 1 and rows[0].detections > 3
    polygons = [row.polygons[0] for row in rows]
    assert polygons == sorted(polygons, reverse=True) and polygons[-1] >= 1
    assert (rows[0].lower, rows[0].higher) == (0, 0) and all(0.5 < row.iou <= 1 for row in rows)


def test_a_detector_that_finds_nothing_is_told_of(figures: Path, starter: Path) -> None:
    arguments = [str(figures), "--train-on", "3", "--weights", str(starter), "--palette", "deepfashion2"]
    done = CliRunner().invoke(app, ["mask-parts", *arguments])
    assert done.exit_code == 1 and "finds none of the garments" in " ".join(done.output.split())


def test_answers_are_drawn_a_row_a_photograph(figures: Path, starter: Path, tmp_path: Path) -> None:
    into = tmp_path / "results"
    arguments = [str(figures), "--weights", str(starter), "--palette", "indo_western", "--side", "256"]
    more = ["--train-on", "3", "--photographs", "2", "--into", str(into)]
    done = CliRunner().invoke(app, ["answers", *arguments, *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    picture = cv2.imread(str(into / "answers.png"))
    # Five panels beside each other, two rows.
    assert picture is not None and picture.shape[1] > picture.shape[0] > 300


def test_fixes_are_compared_with_clicks_from_nothing(figures: Path, starter: Path, tmp_path: Path) -> None:
    found = read_photographs(figures, palette_config("indo_western"), side_px=256, folder=tmp_path / "pixels", first=4)
    detector = load_weights(starter, image_size_px=256)
    rows = measure_fixes(detector, load_builtin(), found, min_score=0.25)
    assert [row.name for row in rows[:3]] == ["detected", "refined", "fixed by clicks: 1"]
    assert len(rows) == 2 + 2 * CLICKS and len({row.garments for row in rows}) == 1 and rows[0].garments > 1
    by_name = {row.name: row for row in rows}
    assert by_name[f"fixed by clicks: {CLICKS}"].iou > by_name["detected"].iou
    for row in rows:
        assert 0 <= row.good[-1] <= row.good[0] <= 1


def test_image_scores_are_compared_with_what_the_detector_gets_wrong(figures: Path, starter: Path) -> None:
    arguments = [str(figures), "--palette", "indo_western", "--weights", str(starter)]
    done = CliRunner().invoke(app, ["image-scores", *arguments, "--train-on", "1"], catch_exceptions=False)
    assert done.exit_code == 0 and "lowest of garments" in done.output, done.output
    alone = CliRunner().invoke(app, ["image-scores", *arguments, "--train-on", "5"])
    assert alone.exit_code == 1 and "Name other weights" in " ".join(alone.output.split())


class HalfRight:
    """Finds the garments of every other photograph, surely; in these also one that is not there, hardly."""

    def __init__(self, photographs: Sequence[HeldOut]) -> None:
        self._photographs = photographs

    def detect(self, images: Iterable[Photo], *, min_score: float) -> Iterator[Scene]:
        for number, _ in enumerate(images):
            garments = list(self._photographs[number].truth)
            nothing = np.zeros_like(garments[0].mask)
            nothing[0, 0] = True
            if number % 2:
                yield Scene((Detection(nothing, garments[0].label, 0.4),))
            else:
                right = [Detection(garment.mask, garment.label, 0.9) for garment in garments]
                yield Scene((*right, Detection(nothing, garments[0].label, 0.3)))


def test_a_least_sure_garment_tells_little_of_an_image_whose_other_garments_are_sure(
    figures: Path, tmp_path: Path
) -> None:
    config = palette_config("indo_western")
    found = read_photographs(figures, config, side_px=64, folder=tmp_path / "pixels")
    lowest, mean, highest, total = measure_image_scores(HalfRight(found), found, config, Settings())
    assert lowest.correlation < 0 < mean.correlation
    # A fifth of six: one, which the lowest score takes from those that are right.
    assert lowest.first_f1 > 0.5 and mean.first_f1 == highest.first_f1 == total.first_f1 == 0
    assert 0.25 < mean.f1 < 0.5


def test_students_are_compared_on_the_same_photographs(figures: Path, tmp_path: Path) -> None:
    into = tmp_path / "results"
    size = ["--train-on", "4", "--side", "64", "--epochs", "1", "--no-download", "--palette", "indo_western"]
    arguments = [str(figures), *size, "--students", "unet-mobilenetv2", "--into", str(into)]
    done = CliRunner().invoke(app, ["students", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    facts = json.loads((into / "comparison.json").read_text())
    assert (facts["train_images"], facts["judge_images"]) == (4, 2)
    assert "clothing IoU" in done.output and (into / "comparison.html").is_file()
    unknown = CliRunner().invoke(app, ["students", *arguments, "--students", "yolo5"])
    assert unknown.exit_code == 1 and "There is no student 'yolo5'" in " ".join(unknown.output.split())
