"""Exports are verified against PyTorch before they are used."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from backend.detector.clusters import find_clusters, load_clusters
from backend.detector.detector_pool import DetectorPool, load_detector
from backend.detector.preparation import (
    CLUSTERS_FILE,
    OPENVINO_FILE,
    PREPARED,
    RECORD_FILE,
    preparation_folder,
    read_preparation,
)
from backend.detector.prepare import prepare
from backend.domain import Image, LabelledMask
from backend.registry.registry import Registry, Version
from backend.settings import Settings
from label_studio_config.demo.figures import draw_figure
from tests.support import add_starter

pytestmark = pytest.mark.slow

SEEDS = range(300, 312)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory, starter: Path) -> Version:
    registry = Registry(tmp_path_factory.mktemp("models"))
    made = add_starter(registry, 1, starter)
    registry.promote(1, made.name)
    return made


@pytest.fixture(scope="module")
def figures() -> tuple[list[Image], list[list[LabelledMask]]]:
    drawn = [draw_figure(seed) for seed in SEEDS]
    images = [Image(one.pixels, str(number), "s") for number, one in enumerate(drawn)]
    return images, [[LabelledMask(one.mask, one.label) for one in figure.instances] for figure in drawn]


def test_a_version_is_prepared_once_verified_on_labels_and_faster_from_then_on(
    version: Version, figures: tuple[list[Image], list[list[LabelledMask]]]
) -> None:
    images, truth = figures
    detectors = DetectorPool(Registry(version.files.all.copies), Settings(device="cpu"))
    before = detectors.for_project(1)
    assert before is not None
    assert (before.runtime, before.clusters) == ("torch-float32", None)
    made = prepare(version, images, truth=truth, device="cpu")
    assert made.runtime.startswith("openvino-")
    assert made.map_torch is not None and made.map_runtime is not None
    assert 0.3 < made.map_torch and made.map_runtime >= made.map_torch - 0.005
    assert (made.images, read_preparation(version)) == (len(SEEDS), made)
    record = (preparation_folder(version) / RECORD_FILE).stat().st_mtime_ns
    assert prepare(version, images[:1], device="cpu") == made
    assert (preparation_folder(version) / RECORD_FILE).stat().st_mtime_ns == record
    after = detectors.for_project(1)
    assert after is not None and after.clusters is not None
    assert after.runtime == made.runtime
    one, other = [list(loaded.detector.detect(images, min_score=0.25)) for loaded in (before, after)]
    for was, now in zip(one, other, strict=True):
        assert was.features is not None and now.features is not None
        assert np.allclose(was.features, now.features, atol=0.05)
        assert abs(len(was.detections) - len(now.detections)) <= 1
    # Whoever asks for one image gets the answer of that image, whatever was asked before.
    (alone,) = after.detector.detect(images[5:6], min_score=0.25)
    assert [d.score for d in alone.detections] == pytest.approx([d.score for d in other[5].detections], abs=0.02)
    assert alone.features is not None
    assert 100 <= after.clusters.number(alone.features, version=1) < 200


def test_an_export_that_loses_too_much_is_not_used(
    version: Version,
    figures: tuple[list[Image], list[list[LabelledMask]]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    starter: Path,
) -> None:
    images, truth = figures
    other = add_starter(Registry(tmp_path), 1, starter)
    # Against another model's export everything is as it would be for one that went wrong.
    monkeypatch.setattr("backend.detector.prepare.MAX_MAP_LOSS", -1.0)
    with caplog.at_level(logging.WARNING):
        made = prepare(other, images[:3], truth=truth[:3], device="cpu")
    assert made.runtime == "torch"
    assert "cannot use the runtime openvino" in caplog.text
    assert load_detector(other, device="cpu").runtime == "torch-float32"


def test_without_garments_nothing_can_be_verified(tmp_path: Path, starter: Path) -> None:
    version = add_starter(Registry(tmp_path), 1, starter)
    blank = Image(np.full((80, 120, 3), 127, np.uint8), "k", "s")
    made = prepare(version, [blank], device="cpu")
    assert (made.runtime, made.map_torch) == ("torch", None)
    assert load_detector(version, device="cpu").clusters is not None


def test_a_preparation_that_cannot_be_read_is_replaced(tmp_path: Path, starter: Path) -> None:
    version = add_starter(Registry(tmp_path), 1, starter)
    # As a release of Drape that knows other runtimes would store it.
    version.files.put({f"{PREPARED}/{RECORD_FILE}": b'{"runtime": "other", "note": ""}'})
    made = prepare(version, [Image(np.full((80, 120, 3), 127, np.uint8), "k", "s")], device="cpu")
    assert read_preparation(version) == made


def test_what_is_damaged_is_not_used(
    tmp_path: Path, starter: Path, figures: tuple[list[Image], list[list[LabelledMask]]]
) -> None:
    version = add_starter(Registry(tmp_path), 1, starter)
    prepare(version, figures[0][:3], device="cpu")
    (preparation_folder(version) / OPENVINO_FILE).write_text("<net")
    assert load_detector(version, device="cpu").runtime == "torch-float32"
    (preparation_folder(version) / RECORD_FILE).write_text("{")
    assert read_preparation(version) is None
    assert prepare(version, figures[0][:3], device="cpu").runtime.startswith("openvino-")
    assert json.loads((preparation_folder(version) / RECORD_FILE).read_text())["images"] == 3


def test_images_alike_are_in_one_group(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 16))
    features = np.concatenate([one + 0.05 * rng.normal(size=(6, 16)) for one in centres]).astype(np.float32)
    clusters = find_clusters(features)
    numbers = [clusters.nearest(one) for one in features]
    assert len(set(numbers)) == 3
    assert all(len(set(numbers[first : first + 6])) == 1 for first in (0, 6, 12))
    # Brightness and contrast scale features: the direction tells.
    assert clusters.nearest(5 * features[0]) == numbers[0]
    clusters.save(tmp_path / CLUSTERS_FILE)
    read = load_clusters(tmp_path / CLUSTERS_FILE)
    assert read is not None and np.array_equal(read.centres, clusters.centres)
    assert find_clusters(np.ones((7, 4), np.float32)).centres.shape == (1, 4)
    assert load_clusters(tmp_path / "none") is None
